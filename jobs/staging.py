"""A build of any time, written but not published: `rebuild` and `export features` start here."""

import logging
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embedder.embedder import Embedder
from embedder.model_files import MANIFEST, newest_model
from index.build import RINGS_FILE, RISK_DIR, Build, load_build, write_build
from index.build_input import BuildInput
from index.builds import build_dir
from index.errors import BuildCorrupt, BuildIncompatible, BuildMissing, KindUnavailable
from index.kinds import check_available
from index.manifest import BlockSpec
from index.publish import read_live
from index.risk.model import RiskModel
from index.risk.policies import PolicyBand
from index.risk.rings import Rings
from jobs.assembled_risk import find_assembled_rings, fit_assembled_risk
from jobs.assembly import Assembly, assemble
from jobs.settings import Settings
from jobs.terminal import Progress
from store.database import Database
from store.durable import sha256_file
from store.labels import VIOLATOR, LabelStore, LabelView
from store.lake import EventLake
from store.workspace import Workspace

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Staged:
    """A staged build and what it was made from.

    Attributes:
        directory: Its folder; whoever staged it publishes or removes it.
        user_ids: Users with visible events, as the lake said when they were all embedded.
        violators: Users labelled violators at that time, in the lake or not.
        num_embedded: Users embedded anew; the others' vectors were taken over.
        live_id: Id of the build that was live when this began, damaged or not; None for none.
        live: That build; None where it can't be used.
        why_no_risk: Why the build has no risk model; None where it has one.
        policy_bands: What became of the policies that have a precision of their own.
    """

    directory: Path
    user_ids: pa.Array
    violators: frozenset[str]
    num_embedded: int
    live_id: str | None
    live: Build | None
    why_no_risk: str | None
    policy_bands: tuple[PolicyBand, ...]


def stage(
    workspace: Workspace,
    settings: Settings,
    database: Database,
    *,
    as_of: datetime,
    now: datetime,
    progress: Progress,
) -> Staged:
    """Write a build of what was known before `as_of`, with the newest model that knew no more.

    Raises:
        LakeEmpty: If no event is visible.
        LakeMoved: If users came or went while the lake was read.
        embedder.errors.ModelMissing, ModelCorrupt: If there is no model to use.
        index.errors.KindUnavailable: If the settings name an index that can't be had here.
    """
    check_available(settings.index)
    embedder = Embedder.load(newest_model(workspace.models_dir, as_of=as_of))
    labels = LabelStore(database).as_of(as_of)
    live_id, live = _live_build(workspace)
    lake = EventLake(
        workspace,
        memory_limit_mb=settings.ingest.memory_limit_mb,
        threads=settings.ingest.threads,
    ).pinned()
    with assemble(
        workspace, lake, embedder, labels, as_of=as_of, reusable=live, progress=progress
    ) as assembly:
        rings = find_assembled_rings(assembly, settings, progress)
        risk = fit_assembled_risk(
            lake, labels, embedder, assembly, rings, settings, as_of=as_of, progress=progress
        )
        user_ids = lake.user_ids(as_of=as_of, cutoffs=labels.cutoffs())
        build = _describe(workspace, settings, embedder, assembly, rings, as_of=as_of)

        def write_extra(directory: Path) -> None:
            pq.write_table(rings.table, directory / RINGS_FILE)
            if isinstance(risk, RiskModel):
                risk.save(directory / RISK_DIR)

        progress("index", 0, 1)
        directory = write_build(workspace, build, settings.index, now=now, write_extra=write_extra)
        progress("index", 1, 1)
    return Staged(
        directory=directory,
        user_ids=user_ids,
        violators=_violators(labels),
        num_embedded=assembly.num_embedded,
        live_id=live_id,
        live=live,
        why_no_risk=None if isinstance(risk, RiskModel) else str(risk),
        policy_bands=risk.policy_bands if isinstance(risk, RiskModel) else (),
    )


def _describe(
    workspace: Workspace,
    settings: Settings,
    embedder: Embedder,
    assembly: Assembly,
    rings: Rings,
    *,
    as_of: datetime,
) -> BuildInput:
    """Say what the build is made of."""
    ring = pa.array(rings.ring_N, mask=rings.ring_N < 0)
    manifest = workspace.models_dir / embedder.space_id / MANIFEST
    return BuildInput(
        space_id=embedder.space_id,
        model_digest=sha256_file(manifest),
        data_as_of=as_of,
        blocks=tuple(
            BlockSpec(name=block.name, start=block.start, stop=block.stop, weight=block.weight)
            for block in embedder.blocks
        ),
        users=assembly.users.append_column("ring", ring),
        vectors_ND=assembly.vectors_ND,
        made_with={
            "version": version("lookalike"),
            "risk": settings.risk.model_dump(mode="json"),
            "rings": settings.rings.model_dump(mode="json"),
            "rings_bar": {"chance": rings.bar, "chance_share": rings.chance_share},
        },
        purposes=embedder.purposes,
    )


def _live_build(workspace: Workspace) -> tuple[str | None, Build | None]:
    """Load the live build; a damaged one is no help, and a new one is the remedy."""
    live_id: str | None = None
    try:
        pointer = read_live(workspace)
        if pointer is None:
            return None, None
        live_id = pointer.live
        return live_id, load_build(build_dir(workspace, live_id))
    except (BuildCorrupt, BuildIncompatible, BuildMissing, KindUnavailable) as error:
        _log.warning("the live build can't be used, everyone is embedded again: %s", error)
        return live_id, None


def _violators(labels: LabelView) -> frozenset[str]:
    is_violator = pc.fill_null(pc.equal(labels.table["label"], VIOLATOR), False)
    return frozenset(labels.table.filter(is_violator)["user_id"].to_pylist())
