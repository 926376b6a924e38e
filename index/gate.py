"""The gate: what a staged build must show before it may go live.

Shape key: `N` users, `Q` queries, `K` neighbors, `D` dimensions.
"""

import json
import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.approximate import ApproximateIndex
from index.build import RISK_DIR, Build
from index.config import GateConfig
from index.errors import BuildCorrupt
from index.exact import ExactIndex
from index.questions import ask
from index.tuning import POOR_RECALL, quality_of
from index.users import UserTable
from index.vectors import Vectors, first_faulty_row, row_blocks

REPORT_FILE = "report.json"
ERASED_USERS = "erased_users"
"""The check that nobody may overrule."""

Verdict = Literal["passed", "forced", "refused"]
Ids = Any  # pa.Array or pa.ChunkedArray; pyarrow has no types


@dataclass(frozen=True)
class Check:
    """One demand: what was measured, and what it had to be; counts are whole, shares are not."""

    name: str
    passed: bool
    value: int | float
    threshold: int | float
    detail: str


@dataclass(frozen=True)
class GateReport:
    """What the gate said; `was_forced` when an operator overruled it."""

    checks: tuple[Check, ...]
    was_forced: bool = False

    @property
    def passed(self) -> bool:
        """True when every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Names of the checks that did not pass."""
        return tuple(check.name for check in self.checks if not check.passed)

    @property
    def may_go_live(self) -> bool:
        """True when the gate passed or was overruled, and nobody erased is in the build."""
        return self.passed or (self.was_forced and ERASED_USERS not in self.reasons)

    @property
    def verdict(self) -> Verdict:
        """One of "passed", "forced", "refused"."""
        if self.passed:
            return "passed"
        return "forced" if self.may_go_live else "refused"

    def forced(self) -> "GateReport":
        """Return this report, overruled."""
        return replace(self, was_forced=True)

    def with_check(self, check: Check) -> "GateReport":
        """Return this report with a check, in place of an earlier one of that name."""
        others = (earlier for earlier in self.checks if earlier.name != check.name)
        return replace(self, checks=(*others, check))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return {
            "verdict": self.verdict,
            "passed": self.passed,
            "was_forced": self.was_forced,
            "checks": [asdict(check) for check in self.checks],
        }

    def to_json(self) -> bytes:
        """Return the content of `report.json`."""
        return json.dumps(self.to_dict(), indent=1).encode() + b"\n"


def read_report(directory: Path) -> GateReport:
    """Return the report that was stored in a build.

    Raises:
        BuildCorrupt: If there is none, or it is damaged.
    """
    path = directory / REPORT_FILE
    try:
        fields = json.loads(path.read_bytes())
        checks = tuple(Check(**check) for check in fields["checks"])
        return GateReport(checks, bool(fields["was_forced"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildCorrupt(f"{path} can't be read: {error}") from error


def gate(
    staged: Build,
    previous: Build | None,
    config: GateConfig,
    *,
    known_users: Ids,
    erased_users: Collection[str],
    violators: Collection[str],
) -> GateReport:
    """Check a staged build.

    Args:
        staged: The build as loaded from its folder.
        previous: The build that is live now, if any.
        config: Thresholds.
        known_users: Ids of all users the lake shows at the build's time.
        erased_users: Ids that must not appear anywhere again.
        violators: Ids labelled violators at the build's time; those known to the lake must be in
            the violators' view.
    """
    checks = [
        _check_vectors(staged),
        _check_age(staged, previous),
        _check_size(staged, previous, config),
        _check_risk(staged, previous),
        check_erased(staged.users, erased_users),
        _check_known(staged, known_users),
        _check_violators(staged, known_users, violators),
    ]
    if staged.approximate is not None:
        checks += _check_recall(staged.everyone, staged.approximate, config)
    return GateReport(tuple(checks))


def _check_vectors(staged: Build) -> Check:
    row = first_faulty_row(staged.vectors_ND)
    detail = "all vectors are finite and of length 1"
    if row is not None:
        detail = f"the vector of row {row} is not finite or not of length 1"
    return Check("vectors_are_unit", row is None, int(row is not None), 0, detail)


def _check_age(staged: Build, previous: Build | None) -> Check:
    """Refuse to go back in time: that would take the days since away from everyone.

    The value is by how many seconds the build is older than the live one.
    """
    ours = staged.manifest.data_as_of
    detail = f"data as of {ours:%Y-%m-%d %H:%M:%SZ}"
    if previous is None:
        return Check("older_than_live", True, 0, 0, detail)
    live = previous.manifest.data_as_of
    seconds = max(0, math.ceil((live - ours).total_seconds()))
    detail += f", the live build's as of {live:%Y-%m-%d %H:%M:%SZ}"
    return Check("older_than_live", seconds == 0, seconds, 0, detail)


def _check_size(staged: Build, previous: Build | None, config: GateConfig) -> Check:
    now = len(staged.users)
    before = 0 if previous is None else len(previous.users)
    lost = max(0.0, 1 - now / before) if before else 0.0
    detail = f"{now:,} users, {before:,} in the live build" if previous else f"{now:,} users"
    return Check("users_lost_share", lost <= config.shrink_max, lost, config.shrink_max, detail)


def _check_risk(staged: Build, previous: Build | None) -> Check:
    """Refuse to take risk away from those who had it yesterday."""
    has_now = (staged.directory / RISK_DIR).is_dir()
    had = previous is not None and (previous.directory / RISK_DIR).is_dir()
    lost = had and not has_now
    detail = "a risk model is there" if has_now else "there is no risk model"
    if lost:
        detail += ", the live build has one"
    return Check("risk_lost", not lost, int(lost), 0, detail)


def check_erased(users: UserTable, erased_users: Collection[str]) -> Check:
    """Refuse a build that holds one of these users."""
    erased = pa.array(list(erased_users), pa.large_string())
    found = int(pc.sum(pc.is_in(users.ids, value_set=erased)).as_py() or 0)
    detail = f"{found:,} of {len(erased_users):,} erased users are in the build"
    return Check(ERASED_USERS, found == 0, found, 0, detail)


def _check_known(staged: Build, known_users: Ids) -> Check:
    known = pc.is_in(staged.users.ids, value_set=known_users.cast(pa.large_string()))
    unknown = len(staged.users) - int(pc.sum(known).as_py() or 0)
    detail = f"{unknown:,} users of the build have no events in the lake"
    return Check("unknown_users", unknown == 0, unknown, 0, detail)


def _check_violators(staged: Build, known_users: Ids, violators: Collection[str]) -> Check:
    labelled = pa.array(sorted(violators), pa.large_string())
    in_view = staged.users.ids.take(pa.array(staged.violator_rows))
    expected = pc.is_in(labelled, value_set=known_users.cast(pa.large_string()))
    found = pc.is_in(labelled, value_set=in_view)
    missing = int(pc.sum(pc.and_not(expected, found)).as_py() or 0)
    missing += _num_different(staged.violators.vectors_ND, staged)
    detail = f"{missing:,} of {len(labelled):,} known violators are missing from their view"
    return Check("violators_missing", missing == 0, missing, 0, detail)


def _num_different(view_VD: Vectors, staged: Build) -> int:
    """Count the rows of the violators' view that aren't the vectors of these users."""
    rows = staged.violator_rows
    return sum(
        int((view_VD[block] != staged.vectors_ND[rows[block]]).any(axis=1).sum())
        for block in row_blocks(len(rows), view_VD.shape[1] * 4)
    )


def _check_recall(
    exact: ExactIndex, approximate: ApproximateIndex, config: GateConfig
) -> list[Check]:
    """Ask what tuning asked, of other users."""
    generator = np.random.default_rng([config.seed, config.queries, 1])
    questions = ask(exact, num=config.queries, generator=generator)
    quality = quality_of(exact, approximate, questions, confidence=config.confidence)
    checks = [
        Check(
            f"recall_at_{k}_lower_bound",
            bound >= config.recall_min,
            bound,
            config.recall_min,
            f"recall@{k} is {quality.recall[k]:.4f} over {quality.num_queries:,} queries",
        )
        for k, bound in quality.recall_bound.items()
    ]
    poor = Check(
        "poor_queries_upper_bound",
        quality.poor_bound <= config.poor_share_max,
        quality.poor_bound,
        config.poor_share_max,
        f"{quality.num_poor:,} of {quality.num_queries:,} queries have a recall "
        f"below {POOR_RECALL}",
    )
    return [*checks, poor]
