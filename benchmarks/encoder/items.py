"""Users as the mean of their targets, each target known by the targets around it.

Skip-gram with negative sampling (item2vec: Barkan & Koenigstein 2016) factorises shifted pointwise
mutual information (Levy & Goldberg 2014), so that is done: counts within a window, positive mutual
information, a truncated SVD. There is nothing to tune and nothing to wait for.

Shape key: `B` users of a batch, `E` events of all of them, `M` known targets, `D` dimensions.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD

from benchmarks.encoder.downstream import ranker, regression_judge, unit
from benchmarks.encoder.methods import Fitted, Unanswerable
from benchmarks.encoder.studies import Study
from embedder.evaluation.metrics import Int64s
from embedder.evaluation.sample import owners
from embedder.featurizer import column_of
from embedder.hashing import MISSING, Hashes, hash_column, mix
from index.vectors import Vectors
from store.sequences import SequenceBatch

WINDOW, DIM, USERS_MIN, TARGETS_MIN, TARGETS_MAX = 5, 64, 2, 10, 50_000


@dataclass(frozen=True)
class Items:
    """Vectors of the known targets.

    Attributes:
        target: The column.
        known_M: Hashes of the targets, ascending.
        vectors_MD: A vector of each.
    """

    target: str
    known_M: Hashes
    vectors_MD: Vectors

    def rows(self, batch: SequenceBatch) -> Vectors:
        """Return the mean over each user's events, unit rows; zero without a known target."""
        item_E, known_E = find_items(batch, self.target, self.known_M)
        ones = np.ones(int(known_E.sum()), dtype=np.float32)
        shape = (batch.num_users, len(self.known_M))
        counts = sparse.coo_matrix((ones, (owners(batch)[known_E], item_E[known_E])), shape=shape)
        return unit(counts.tocsr() @ self.vectors_MD)


def fit_items(study: Study, *, seed: int) -> Fitted:
    """Learn the targets from the learned users' sequences."""
    target = study.schema.target
    if target is None:
        raise Unanswerable("no column is the target")
    items = learn_items(study.learners, target, seed=seed)
    return Fitted({"items": regression_judge(study, items.rows)}, {"items": ranker(items.rows)})


def learn_items(batch: SequenceBatch, target: str, *, seed: int) -> Items:
    """Factorise the mutual information of targets that are near each other in a sequence."""
    known_M = common_targets(batch, target)
    if len(known_M) < TARGETS_MIN:
        raise Unanswerable(f"only {len(known_M)} targets are shared by users")
    counts = count_near(batch, target, known_M)
    total = counts.sum()
    of_item = np.asarray(counts.sum(axis=1)).ravel()
    pairs = counts.tocoo()
    information = np.log(pairs.data * total / (of_item[pairs.row] * of_item[pairs.col]))
    positive = np.maximum(information, 0.0)
    matrix = sparse.coo_matrix((positive, (pairs.row, pairs.col)), shape=counts.shape).tocsr()
    svd = TruncatedSVD(min(DIM, len(known_M) - 1), n_iter=3, random_state=seed)
    vectors_MD = svd.fit_transform(matrix) / np.sqrt(np.maximum(svd.singular_values_, 1e-9))
    return Items(target, known_M, np.asarray(vectors_MD, dtype=np.float32))


def common_targets(batch: SequenceBatch, target: str) -> Hashes:
    """Return the targets that several users have, the most shared of them if there are many."""
    hash_E = hash_column(column_of(batch, target))
    pair = mix(hash_E ^ mix(owners(batch).astype(np.uint64) + np.uint64(1)))
    first = np.unique(pair, return_index=True)[1]
    values, users = np.unique(hash_E[first], return_counts=True)
    shared = (users >= USERS_MIN) & (values != MISSING)
    values, users = values[shared], users[shared]
    most = np.argsort(-users, kind="stable")[:TARGETS_MAX]
    return np.sort(values[most])


def find_items(
    batch: SequenceBatch, target: str, known_M: Hashes
) -> tuple[Int64s, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """Return the place of each event's target among the known ones, and whether it is one."""
    hash_E = hash_column(column_of(batch, target))
    place_E = np.minimum(np.searchsorted(known_M, hash_E), len(known_M) - 1)
    return place_E.astype(np.int64), known_M[place_E] == hash_E


def count_near(batch: SequenceBatch, target: str, known_M: Hashes) -> sparse.csr_matrix:
    """Return how often two targets are within the window of one user, in either order."""
    item_E, known_E = find_items(batch, target, known_M)
    item, user = item_E[known_E], owners(batch)[known_E]
    counts = sparse.csr_matrix((len(known_M), len(known_M)))
    for apart in range(1, WINDOW + 1):
        near = (user[apart:] == user[:-apart]) & (item[apart:] != item[:-apart])
        first, second = item[:-apart][near], item[apart:][near]
        ones = np.ones(len(first))
        counts = counts + sparse.coo_matrix((ones, (first, second)), shape=counts.shape).tocsr()
    return counts + counts.T
