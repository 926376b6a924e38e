"""What the demo asks of its simulated platform, whose truth it knows.

Queries are evaders and ring members whom training had no label for. Shape key: `N` users.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embedder.evaluation.methods import TFIDF_TARGET, retrieval_methods
from embedder.evaluation.metrics import Int64s
from embedder.evaluation.ranking import NO_GROUP, plain_task
from embedder.evaluation.results import TaskResult, not_measurable
from embedder.evaluation.retrieval import measure_retrieval
from index.build import Build
from jobs.measure import Trial
from jobs.people import People
from store.schema import EventSchema
from store.sequences import SequenceBatch

EVADERS, RINGS = "evaders", "rings"
EVADERS_TITLE = "Ban evaders who came back after training find the account they were banned with"
RINGS_TITLE = "Ring members unknown to training find the others of their ring among all users"


class BuiltVectors:
    """Stands for the encoder where users are whole: gives the vectors that a build serves."""

    def __init__(self, build: Build, schema: EventSchema) -> None:
        self._build = build
        self.schema = schema

    def embed(self, batch: SequenceBatch) -> npt.NDArray[np.float32]:
        """Return the vectors of users of the build, whatever events the batch has of them."""
        known = self._build.users.table["user_id"].cast(pa.string())
        rows = pc.index_in(pa.array(batch.user_ids, pa.string()), value_set=known)
        assert not rows.null_count, "the build has all users of the lake"
        vectors: npt.NDArray[np.float32] = self._build.vectors_ND[rows.to_numpy()]
        return vectors


def measure_evaders(trial: Trial, truth_file: Path) -> TaskResult:
    """Search known violators for the banned account of every evader first seen after the cut."""
    people = trial.people
    predecessor_N = _rows_named(people, truth_file, "evader_of")
    long_N = people.num_events_N >= trial.config.group_min_events
    query = np.flatnonzero(long_N & (predecessor_N >= 0) & (people.first_us_N >= trial.cut_us))
    gallery = np.flatnonzero(long_N & people.is_violator_N)
    return _measure(
        EVADERS, EVADERS_TITLE, trial, query, gallery, predecessor_N, np.arange(len(long_N))
    )


def measure_rings(trial: Trial, truth_file: Path) -> TaskResult:
    """Search everyone for the other members of every ring member that training did not know."""
    people = trial.people
    ring_N = _codes(people, truth_file, "ring")
    long_N = people.num_events_N >= trial.config.group_min_events
    taught_N = people.is_violator_N & (people.known_us_N < trial.cut_us)
    query = np.flatnonzero(long_N & (ring_N != NO_GROUP) & ~taught_N)
    return _measure(RINGS, RINGS_TITLE, trial, query, np.flatnonzero(long_N), ring_N, ring_N)


def _measure(
    name: str,
    title: str,
    trial: Trial,
    query: Int64s,
    gallery: Int64s,
    asked_N: Int64s,
    group_N: Int64s,
) -> TaskResult:
    """Rank the gallery for every query; an answer is right when its group is what was asked."""
    batch = trial.read(np.union1d(query, gallery))
    if batch is None:
        return not_measurable(name, title, "there are no users to search", {})
    people_row = {row: place for place, row in enumerate(np.union1d(query, gallery).tolist())}
    gallery_row = {row: place for place, row in enumerate(gallery.tolist())}
    own = np.array([gallery_row.get(row, -1) for row in query.tolist()], dtype=np.int64)
    methods = retrieval_methods(trial.embedder)
    return measure_retrieval(
        name,
        title,
        query=batch.take(_look_up(people_row, query)),
        gallery=batch.take(_look_up(people_row, gallery)),
        task=plain_task(asked_N[query], group_N[gallery], own),
        methods={key: method for key, method in methods.items() if key != TFIDF_TARGET},
        config=trial.config,
    )


def _look_up(place: dict[int, int], rows: Int64s) -> Int64s:
    return np.array([place[row] for row in rows.tolist()], dtype=np.int64)


def _truth(people: People, truth_file: Path, column: str) -> pa.Array:
    """Return a column of the truth in the order of the users."""
    truth = pq.read_table(truth_file, columns=["user_id", column]).combine_chunks()
    place = pc.index_in(pa.array(people.user_ids, pa.string()), value_set=truth["user_id"])
    return truth[column].combine_chunks().take(place)


def _rows_named(people: People, truth_file: Path, column: str) -> Int64s:
    """Return the row of the user whom a column of the truth names; -1 for nobody."""
    named = _truth(people, truth_file, column)
    place = pc.index_in(named, value_set=pa.array(people.user_ids, pa.string()), skip_nulls=True)
    rows: Int64s = pc.fill_null(place, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return rows


def _codes(people: People, truth_file: Path, column: str) -> Int64s:
    """Return a number per distinct value of a column of the truth; -1 for none."""
    encoded = _truth(people, truth_file, column).dictionary_encode()
    codes: Int64s = pc.fill_null(encoded.indices, NO_GROUP).to_numpy(zero_copy_only=False)
    return codes.astype(np.int64)
