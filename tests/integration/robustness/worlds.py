"""Users of two kinds in data of any shape, and what a workspace makes of them.

Shape key: `N` users, `E` events of all of them together.
"""

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

from index.answers import NeighborAnswer, NeighborRequest, RiskAnswer
from index.config import IndexConfig
from index.service import LookalikeService
from jobs.cli import run
from store.workspace import Workspace

STARTS_AT, DAY = 1_740_787_200, 86_400  # seconds since 1970: March 2025
SHARE_PLANTED, SHARE_TOLD, MEAN_EVENTS = 0.3, 0.6, 16.0
TYPES = np.array(["join", "say", "buy", "leave", "report"])
OFTEN_OTHERS, OFTEN_PLANTED = (0.3, 0.3, 0.2, 0.1, 0.1), (0.05, 0.65, 0.05, 0.15, 0.1)
K = 10
FOUND = 0.55  # share of the planted kind among its nearest; chance gives 0.3

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """Users, the planted kind among them, and the times of their events, in seconds.

    Nothing but the columns of `table` tells the kinds apart, and whether they are hasty.
    """

    planted_N: npt.NDArray[np.bool_]
    user_E: Int64s
    ts_E: npt.NDArray[np.floating[Any]]
    rng: np.random.Generator

    @property
    def ids(self) -> npt.NDArray[np.str_]:
        """Return the id of each user."""
        return np.array([f"u{row:05d}" for row in range(len(self.planted_N))])

    @property
    def planted_E(self) -> npt.NDArray[np.bool_]:
        """Return whether each event is of one of the planted kind."""
        return self.planted_N[self.user_E]

    @property
    def first_E(self) -> Int64s:
        """Return for each event the first event of its user."""
        return np.searchsorted(self.user_E, self.user_E)

    def at(self, ts_E: npt.NDArray[np.floating[Any]]) -> "World":
        """Return the same users with events at other times."""
        return World(self.planted_N, self.user_E, ts_E, self.rng)

    def types(self) -> npt.NDArray[np.str_]:
        """Return one of five types per event, which each kind has a taste for."""
        drawn_E = self.rng.random(len(self.user_E))
        others, planted = np.cumsum(OFTEN_OTHERS), np.cumsum(OFTEN_PLANTED)
        place_E = np.where(
            self.planted_E, np.searchsorted(planted, drawn_E), np.searchsorted(others, drawn_E)
        )
        return TYPES[np.minimum(place_E, len(TYPES) - 1)]

    def shifted(self, by: float) -> npt.NDArray[np.float64]:
        """Return a number per event that is greater for the planted kind."""
        return self.rng.normal(np.where(self.planted_E, by, 0.0), 1.0)

    def table(self, **columns: Any) -> pa.Table:
        """Return the events; `event_type` is always the same unless it is given."""
        times = pa.array((self.ts_E * 1e6).astype(np.int64), pa.timestamp("us", "UTC"))
        given = {"event_type": np.full(len(self.user_E), "act")} | columns
        arrays = {
            name: value if isinstance(value, pa.Array) else pa.array(value, from_pandas=False)
            for name, value in given.items()
        }
        return pa.table({"user_id": pa.array(self.ids[self.user_E]), "ts": times, **arrays})

    def told(self) -> npt.NDArray[np.bool_]:
        """Return whose labels a platform knows, a share of each kind."""
        return np.random.default_rng([1, 99]).random(len(self.planted_N)) < SHARE_TOLD


def make_world(
    sizes: Sequence[int] | Int64s | int, seed: int, *, hasty: float = 1.0, gap: float = 3_000.0
) -> World:
    """Return users with so many events each, or so many users of some sixteen events.

    Args:
        sizes: Events of each user, or the number of users.
        seed: Of all draws.
        hasty: How many times faster the planted kind acts.
        gap: Mean seconds between two events of the others.
    """
    rng = np.random.default_rng(seed)
    if isinstance(sizes, int):
        sizes = np.maximum(rng.poisson(MEAN_EVENTS, sizes), 3)
    num_users = len(sizes)
    planted_N = rng.random(num_users) < SHARE_PLANTED
    user_E = np.repeat(np.arange(num_users), sizes)
    gap_E = rng.exponential(np.where(planted_N[user_E], gap / hasty, gap))
    since_E = np.cumsum(gap_E)
    since_E -= since_E[np.searchsorted(user_E, user_E)]
    ts_E = STARTS_AT + (rng.random(num_users) * 40 * DAY)[user_E] + since_E
    return World(planted_N, user_E, ts_E, rng)


def labels_of(
    world: World, chosen_N: npt.NDArray[np.bool_], policies: Sequence[str] = ("spam",)
) -> pa.Table:
    """Return labels of some users: the planted are violators, of the policies in turn."""
    rows = np.flatnonzero(chosen_N)
    is_violator = world.planted_N[rows]
    place = np.cumsum(is_violator) - 1
    policy = [
        policies[min(at, len(policies) - 1)] if violates else None
        for at, violates in zip(place.tolist(), is_violator.tolist(), strict=True)
    ]
    return pa.table(
        {
            "user_id": world.ids[rows],
            "label": is_violator.astype(np.int64),
            "policy": pa.array(policy, pa.string()),
        }
    )


def invoke(*arguments: object, status: int = 0) -> dict[str, Any]:
    """Run `lookalike --json …`, check the exit status, and return the one object it prints."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        actual = run(["--json", *map(str, arguments)])
    assert actual == status, err.getvalue()
    report: dict[str, Any] = json.loads(out.getvalue())
    return report


@dataclass(frozen=True)
class Made:
    """A workspace with a live build, and what the commands reported."""

    root: Path
    trained: Mapping[str, Any]
    rebuilt: Mapping[str, Any]

    @classmethod
    def of(cls, root: Path, events: pa.Table, labels: pa.Table | None = None) -> "Made":
        """Ingest, train and rebuild."""
        invoke("init", "-w", root)
        ingest(root, "events", events)
        if labels is not None:
            ingest(root, "labels", labels)
        trained = invoke("train", "--preset", "fast", "-w", root)
        return cls(root, trained, invoke("rebuild", "-w", root))

    @property
    def left_out(self) -> list[str]:
        """What the field audit refused."""
        return [field["name"] for field in self.trained["audit"] if field["left_out"]]

    def service(self) -> LookalikeService:
        """Open the live build; all of its vectors are unit vectors."""
        service = LookalikeService.open(Workspace.open(self.root), config=IndexConfig())
        lengths = np.linalg.norm(np.asarray(service.build.vectors_ND), axis=1)
        np.testing.assert_allclose(lengths, 1.0, atol=1e-5)
        return service


def ingest(root: Path, kind: str, table: pa.Table) -> dict[str, Any]:
    """Ingest a table as a Parquet file, and return the report of the file."""
    file = root / f"{kind}-{len(list(root.glob('*.parquet')))}.parquet"
    pq.write_table(table, file)
    report = invoke("ingest", kind, file, "-w", root)
    one: dict[str, Any] = report["files"][0] if "files" in report else report
    return one


def neighbors(
    service: LookalikeService, user_ids: Sequence[str], *, known_violators: bool = False
) -> dict[str, list[str]]:
    """Return the nearest users of each user; their similarities are explained without a gap."""
    request = NeighborRequest(k=K, known_violators=known_violators, explain=True)
    found = {}
    for answer in service.neighbors_of_users(user_ids, request):
        assert isinstance(answer, NeighborAnswer)
        for hit in answer.hits:
            assert hit.channels is not None
            assert abs(sum(hit.channels.values()) - hit.similarity) < 1e-4
        found[str(answer.user_id)] = [hit.user_id for hit in answer.hits]
    return found


def share_of_kind(service: LookalikeService, world: World, count: int = 100) -> float:
    """Return the share of the planted kind among the nearest of some of its users."""
    planted = set(world.ids[world.planted_N].tolist())
    near = neighbors(service, sorted(planted)[:count])
    return float(np.mean([hit in planted for hits in near.values() for hit in hits]))


def risk_auc(service: LookalikeService, world: World, asked_N: npt.NDArray[np.bool_]) -> float:
    """Return the AUC of the risk over those of some users who get one; all of it is finite."""
    rows = np.flatnonzero(asked_N)
    answers = service.risk_of_users(world.ids[rows].tolist())
    scored = [
        (row, answer.log_odds, answer.probability)
        for row, answer in zip(rows.tolist(), answers, strict=True)
        if isinstance(answer, RiskAnswer) and answer.log_odds is not None
    ]
    row, log_odds, probability = map(np.array, zip(*scored, strict=True))
    assert np.isfinite(log_odds).all()
    assert ((probability >= 0) & (probability <= 1)).all()
    return float(roc_auc_score(world.planted_N[row], log_odds))
