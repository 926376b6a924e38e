"""The loop over candidates is the oracle of the blocked ranking."""

import itertools

import numpy as np
import pytest
from scipy import sparse

from embedder.evaluation.metrics import Floats
from embedder.evaluation.ranking import (
    Ranking,
    Task,
    count_candidates,
    half_radius,
    plain_task,
    rank_answers,
)


def unit_rows(rows: int, dim: int, seed: int) -> Floats:
    drawn = np.random.default_rng(seed).normal(size=(rows, dim))
    units: Floats = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return units


def slow_rank(similarity: Floats, task: Task, query: int) -> float:
    best, wrong = -np.inf, []
    for row, value in enumerate(similarity[query]):
        if row == task.own_Q[query] or task.within_G[row] != task.within_Q[query]:
            continue
        same = task.group_G[row] == task.group_Q[query] != -1
        loose = task.unverified_G[row] == task.unverified_Q[query] != -1
        if same:
            best = max(best, value)
        elif not loose:
            wrong.append(value)
    return 1.0 + sum(1 for value in wrong if value > best)


@pytest.mark.parametrize("as_rows", [np.asarray, sparse.csr_matrix])
def test_ranks_are_those_of_the_loop(as_rows: type) -> None:
    rng = np.random.default_rng(0)
    gallery = unit_rows(600, 8, 1)
    own_Q = np.arange(300, dtype=np.int64)
    group_G = rng.integers(0, 60, 600)
    within_G, loose_G = rng.integers(0, 2, 600), rng.integers(-1, 20, 600)
    task = Task(group_G[:300], group_G, own_Q, within_G[:300], within_G, loose_G[:300], loose_G)
    right_Q, _ = count_candidates(task)
    answerable = np.flatnonzero(right_Q > 0)
    asked = task.rows(answerable)
    found = rank_answers(as_rows(gallery[answerable]), as_rows(gallery), asked)
    similarity = gallery[answerable].astype(np.float64) @ gallery.T.astype(np.float64)
    expected = [slow_rank(similarity, asked, query) for query in range(len(answerable))]
    assert len(answerable) > 256
    assert found.rank_Q.tolist() == expected


def test_identical_answers_are_taken_in_every_order() -> None:
    """One right answer among five identical ones is first once in five times."""
    gallery = np.tile(unit_rows(1, 4, 0), (5, 1))
    task = plain_task(np.array([0]), np.array([0, 1, 2, 3, 4]), np.array([-1]))
    ranking = rank_answers(gallery[:1], gallery, task)
    assert ranking.rank_Q.tolist() == [3.0]
    assert ranking.hit_Q(1)[0] == pytest.approx(0.2)
    assert ranking.hit_Q(4)[0] == pytest.approx(0.8)
    assert ranking.hit_Q(10)[0] == 1.0


@pytest.mark.parametrize(("better", "wrong", "right"), [(0, 3, 1), (1, 2, 2), (2, 0, 1), (0, 4, 3)])
def test_chances_of_tied_answers_are_those_of_all_their_orders(
    better: int, wrong: int, right: int
) -> None:
    orders = list(itertools.permutations([False] * wrong + [True] * right))
    ranks = np.array([better + 1 + order.index(True) for order in orders])
    ranking = Ranking(np.array([better]), np.array([wrong]), np.array([right]), np.array([0.0]))
    assert ranking.rank_Q[0] == pytest.approx(ranks.mean())
    for k in (1, 2, 3, 5):
        assert ranking.hit_Q(k)[0] == pytest.approx(np.mean(ranks <= k))


def test_the_query_itself_is_never_an_answer() -> None:
    gallery = unit_rows(3, 4, 0)
    gallery[1] = -gallery[0]
    task = plain_task(np.array([7]), np.array([7, 7, 1]), np.array([0]))
    assert rank_answers(gallery[:1], gallery, task).rank_Q.tolist() == [2.0]
    assert count_candidates(task)[0].tolist() == [1]
    assert count_candidates(task)[1].tolist() == [2]


def test_purity_is_the_share_of_right_answers_among_as_many_best() -> None:
    angle = np.linspace(0, 1, 6)
    gallery = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    group_G = np.array([0, 0, 1, 0, 1, 0])  # around the query at row 0: right, wrong, right
    task = plain_task(np.array([0]), group_G, np.array([0]))
    assert rank_answers(gallery[:1], gallery, task).purity_Q[0] == pytest.approx(2 / 3)


def test_hub_correction_helps_against_a_hub() -> None:
    """A user near to everyone comes first for everyone, until it pays for its many friends."""
    group = unit_rows(40, 6, 3)
    hub = group.mean(axis=0, keepdims=True)
    hub /= np.linalg.norm(hub)
    query = group + 0.9 * hub
    query = (query / np.linalg.norm(query, axis=1, keepdims=True)).astype(np.float32)
    gallery = np.vstack([query, hub]).astype(np.float32)
    rows = np.arange(40, dtype=np.int64)
    task = plain_task(rows, np.append(rows, 99), np.full(40, -1))
    hubness_G = half_radius(gallery, gallery)
    assert hubness_G[-1] == hubness_G.max()
    asked = (0.7 * query + 0.5 * hub).astype(np.float32)
    plain = rank_answers(asked, gallery, task).rank_Q
    corrected = rank_answers(asked, gallery, task, hubness_G=hubness_G).rank_Q
    assert corrected.mean() < plain.mean()


def test_no_queries_have_no_ranks() -> None:
    nothing = np.empty(0, dtype=np.int64)
    task = plain_task(nothing, np.array([1]), nothing)
    assert rank_answers(unit_rows(1, 3, 0)[:0], unit_rows(1, 3, 0), task).rank_Q.shape == (0,)


def test_nobody_asks_and_nothing_is_counted() -> None:
    nobody, gallery = np.zeros(0, dtype=np.int64), np.arange(3)
    num_right, num_ranked = count_candidates(plain_task(nobody, gallery, nobody))
    assert num_right.tolist() == num_ranked.tolist() == []
