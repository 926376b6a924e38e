"""`lookalike rebuild`: embed what changed, build, pass the gate, publish."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from index.build import load_build
from index.builds import discard
from index.errors import MilvusError
from index.forgetting import forget_in_builds
from index.gate import ERASED_USERS, GateReport, gate
from index.milvus.collections import MilvusCollections, collections_of
from index.publish import publish
from index.risk.policies import PolicyBand
from jobs.settings import Settings
from jobs.staging import Staged, stage
from jobs.terminal import Progress, table
from store.database import Database
from store.durable import make_writable
from store.engine import remove_abandoned_scratch
from store.erasures import erased_users
from store.workspace import Workspace


@dataclass(frozen=True)
class RebuildReport:
    """What became of a rebuild; `is_live` is False when the gate refused the build."""

    build_id: str
    is_live: bool
    space_id: str
    data_as_of: datetime
    num_users: int
    num_violators: int
    num_embedded: int
    why_no_risk: str | None
    policy_bands: tuple[PolicyBand, ...]
    gate: GateReport

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return {
            **vars(self),
            "data_as_of": self.data_as_of.isoformat(),
            "policy_bands": [asdict(band) for band in self.policy_bands],
            "gate": self.gate.to_dict(),
        }

    def lines(self) -> list[str]:
        """Return what a person wants to read."""
        checks = table(
            ("check", "passed", "value", "threshold", "detail"),
            [
                [check.name, check.passed, check.value, check.threshold, check.detail]
                for check in self.gate.checks
            ],
        )
        failed = f", not passed: {', '.join(self.gate.reasons)}" if self.gate.reasons else ""
        return [
            f"{self.num_users:,} users, {self.num_violators:,} known violators, "
            f"{self.num_embedded:,} embedded anew, space {self.space_id}",
            *([f"no risk model: {self.why_no_risk}"] if self.why_no_risk else []),
            *(f"policy {band.policy}: {band.sentence()}" for band in self.policy_bands),
            *checks,
            f"build {self.build_id} {'is live' if self.is_live else 'was refused'}"
            f" (gate: {self.gate.verdict}{failed})",
        ]


def run(
    workspace: Workspace,
    settings: Settings,
    *,
    as_of: datetime,
    now: datetime,
    force: bool,
    progress: Progress,
) -> RebuildReport:
    """Make a build of what was known before `as_of`, and publish it if the gate lets it pass.

    It is made once more where nothing stood against it but that users were erased meanwhile.

    Args:
        workspace: Where everything is.
        settings: All sections.
        as_of: Nothing at or after this time is seen.
        now: When the build counts as made.
        force: Publish although the gate refuses, or another build went live meanwhile.
        progress: Shown to whoever waits.

    Raises:
        FolderUnusable: If no build can be written.
        MilvusError: If the vectors are to be in Milvus, and can't be published there.
    """
    make_writable(workspace.builds_dir)
    remove_abandoned_scratch(workspace)
    database = Database(workspace.ops_url)
    database.migrate()
    collections = collections_of(settings.index)
    for is_last in (False, True):
        staged = stage(workspace, settings, database, as_of=as_of, now=now, progress=progress)
        try:
            report = _publish(
                workspace,
                settings,
                staged,
                database,
                collections,
                now=now,
                force=force,
                progress=progress,
            )
        finally:
            with suppress(MilvusError):  # the folder stays, and `builds prune` drops the collection
                discard(staged.directory, collections)  # there only if it was not published
        if is_last or report.is_live or report.gate.reasons != (ERASED_USERS,):
            break
    return report


def _publish(
    workspace: Workspace,
    settings: Settings,
    staged: Staged,
    database: Database,
    collections: MilvusCollections | None,
    *,
    now: datetime,
    force: bool,
    progress: Progress,
) -> RebuildReport:
    """Ask the gate, and publish."""
    build = load_build(staged.directory)
    if collections is not None and build.manifest.index == "milvus":
        progress("load into Milvus", 0, 1)
        build = collections.load(build)
        progress("load into Milvus", 1, 1)
    report = gate(
        build,
        staged.live,
        settings.gate,
        known_users=staged.user_ids,
        erased_users=erased_users(database),
        violators=staged.violators,
    )
    published = publish(
        workspace,
        staged.directory,
        report,
        now=now,
        judged_against=staged.live_id,
        force=force,
        collections=collections,
        erased_users=lambda: erased_users(database),
    )
    if erased := erased_users(database):  # what was live may hold them, and must not come back
        forget_in_builds(workspace, erased, collections=collections)
    if collections is not None and not published.is_live:
        collections.drop(published.build_id)  # a refused build can't be promoted
    return RebuildReport(
        build_id=published.build_id,
        is_live=published.is_live,
        space_id=build.manifest.space_id,
        data_as_of=build.manifest.data_as_of,
        num_users=build.manifest.num_users,
        num_violators=build.manifest.num_violators,
        num_embedded=staged.num_embedded,
        why_no_risk=staged.why_no_risk,
        policy_bands=staged.policy_bands,
        gate=published.report,
    )
