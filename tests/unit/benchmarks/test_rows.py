"""What was measured is kept, and the figures are those of slow formulas."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.commits import commit_facts
from benchmarks.encoder.figures import figures_of
from benchmarks.encoder.methods import Family
from benchmarks.encoder.rows import (
    CORRECTED,
    PLAIN,
    Row,
    RowStore,
    pack_rankings,
    unpack_ranking,
)
from benchmarks.encoder.tasks import RetrievalTask, RiskTask
from embedder.evaluation.config import EvaluationConfig
from embedder.evaluation.ranking import Ranking, plain_task
from embedder.evaluation.retrieval import ask
from jobs.errors import UsageError
from tests.unit.evaluation.sequences import at, make_batch

CONFIG = EvaluationConfig(num_resamples=200)
NUM_USERS = 60
TESTED = make_batch({f"u{row:02}": at(range(1 + row % 4)) for row in range(NUM_USERS)})
IS_POSITIVE = np.arange(NUM_USERS) % 3 == 0
ALTERED = {"ours_short": "ours"}
TASK = RiskTask("risk_first_3", "Risk", 3, TESTED, IS_POSITIVE, {"users": NUM_USERS})


def row_of(method: str, family: Family, seed: int = 0, why_not: str | None = None) -> Row:
    return Row(method.partition(".")[0], method, family, seed, 1.0, 2.0, why_not)


def said(strength: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=NUM_USERS)
    return np.asarray(1 / (1 + np.exp(-(strength * IS_POSITIVE + noise))))


@pytest.fixture
def store(tmp_path: Path) -> RowStore:
    store = RowStore(tmp_path / "rows" / "study")
    store.claim({"cut": "then"})
    store.write_task(TASK)
    return store


def fill(store: RowStore) -> dict[str, np.ndarray]:
    answers = {"count": said(0.5, 1), "tfidf": said(2.0, 2), "ours": said(4.0, 3)}
    families: dict[str, Family] = {"count": "floor", "tfidf": "floor", "ours": "ours"}
    for name, probability in answers.items():
        store.write(TASK.name, row_of(name, families[name]), {"probability": probability})
    return answers


def test_rows_come_back_as_they_were_written(store: RowStore) -> None:
    answers = fill(store)
    assert {row.method for row in store.rows(TASK.name)} == set(answers)
    for row in store.rows(TASK.name):
        assert np.array_equal(store.arrays(TASK.name, row)["probability"], answers[row.method])
    assert store.has(TASK.name, "ours", 0)
    assert not store.has(TASK.name, "ours", 1)


def test_an_interrupted_row_does_not_count(store: RowStore) -> None:
    fill(store)
    (path,) = store._folder.rglob("ours.0.json")
    path.unlink()
    assert not store.has(TASK.name, "ours", 0)
    assert "ours" not in {row.method for row in store.rows(TASK.name)}


def test_rows_keep_the_commit_of_the_run_that_wrote_them(store: RowStore, tmp_path: Path) -> None:
    fill(store)
    folder = tmp_path / "rows" / "study"
    later = RowStore(folder, "b" * 40)
    later.write(TASK.name, row_of("ours", "ours", seed=1), {"probability": said(1.0, 9)})
    rows = {(row.method, row.seed): row.commit for row in RowStore(folder, "c").rows(TASK.name)}
    assert rows["ours", 1] == "b" * 40
    assert rows["ours", 0] is None
    text = next(folder.rglob("ours.0.json")).read_text()
    next(folder.rglob("ours.0.json")).write_text(text.replace(',\n "commit": null', ""))
    assert {row.commit for row in store.rows(TASK.name)} == {None, "b" * 40}


def test_a_result_names_all_commits_that_measured_some_of_it() -> None:
    assert commit_facts("b", ["b", "b"]) == {"commit": "b"}
    assert commit_facts(None, [None]) == {"commit": None}
    assert commit_facts("b", ["b", "a", None]) == {"commit": "b", "commits": [None, "a", "b"]}


def test_rows_of_another_run_are_refused(store: RowStore) -> None:
    store.claim({"cut": "then"})
    with pytest.raises(UsageError, match="another folder"):
        store.claim({"cut": "now"})


def test_the_best_floor_is_the_measure_and_figures_are_those_of_scikit_learn(
    store: RowStore,
) -> None:
    answers = fill(store)
    figures = figures_of(TASK, store, CONFIG, ALTERED)
    assert figures["best_floor"] == "tfidf"
    assert [row["method"] for row in figures["rows"]] == ["count", "tfidf", "ours"]
    aucs = {name: roc_auc_score(IS_POSITIVE, answer) for name, answer in answers.items()}
    answered = TESTED.num_events >= 2
    for row in figures["rows"]:
        name, auc = row["method"], row["metrics"]["auc"]
        assert auc["value"] == pytest.approx(aucs[name], abs=1e-5)
        assert auc["low"] < auc["value"] < auc["high"]
        assert row["metrics"]["auc_answered"]["value"] == pytest.approx(
            roc_auc_score(IS_POSITIVE[answered], answers[name][answered]), abs=1e-5
        )
        lead = row["lead_on_best_floor"].get("auc")
        if name == "tfidf":
            assert lead is None
        else:
            assert lead["value"] == pytest.approx(aucs[name] - aucs["tfidf"], abs=2e-5)
            assert lead["low"] <= lead["value"] <= lead["high"]


def test_seeds_are_averaged_and_told_apart(store: RowStore) -> None:
    fill(store)
    second = said(1.0, 9)
    store.write(TASK.name, row_of("ours", "ours", seed=1), {"probability": second})
    (row,) = (
        row for row in figures_of(TASK, store, CONFIG, ALTERED)["rows"] if row["method"] == "ours"
    )
    first = roc_auc_score(IS_POSITIVE, said(4.0, 3))
    other = roc_auc_score(IS_POSITIVE, second)
    assert row["seeds"] == [0, 1]
    assert row["metrics"]["auc"]["by_seed"] == pytest.approx([first, other], abs=1e-5)
    assert row["metrics"]["auc"]["value"] == pytest.approx((first + other) / 2, abs=1e-5)


def test_an_altered_training_is_compared_in_pairs_on_the_seeds_of_both(store: RowStore) -> None:
    fill(store)
    others = {("ours", 2): said(3.0, 4), ("ours_short", 0): said(2.0, 5)}
    others[("ours_short", 1)] = said(0.0, 6)  # a seed that the unaltered training does not have
    others |= {("ours.half", 2): said(1.0, 7), ("ours_short.half", 2): said(1.5, 8)}
    others |= {("ours_short", 2): said(1.0, 9), ("ours_short.alone", 0): said(1.0, 10)}
    for (name, seed), probability in others.items():
        store.write(TASK.name, row_of(name, "ours", seed), {"probability": probability})
    rows = {row["method"]: row for row in figures_of(TASK, store, CONFIG, ALTERED)["rows"]}
    gaps = [
        roc_auc_score(IS_POSITIVE, others["ours_short", seed]) - roc_auc_score(IS_POSITIVE, before)
        for seed, before in ((0, said(4.0, 3)), (2, others["ours", 2]))
    ]
    assert rows["ours_short"]["altered_from"] == "ours"
    lead = rows["ours_short"]["lead_on_unaltered"]["auc"]
    assert lead["by_seed"] == pytest.approx(gaps, abs=2e-5)
    assert lead["value"] == pytest.approx(np.mean(gaps), abs=2e-5)
    assert lead["low"] < lead["value"] < lead["high"] < 0
    assert rows["ours_short.half"]["altered_from"] == "ours.half"
    for name in ("tfidf", "ours", "ours.half", "ours_short.alone"):
        assert "lead_on_unaltered" not in rows[name]


def test_without_a_floor_there_is_no_lead_on_one(store: RowStore) -> None:
    for name, strength in (("ours", 4.0), ("ours_short", 2.0)):
        store.write(TASK.name, row_of(name, "ours"), {"probability": said(strength, 3)})
    figures = figures_of(TASK, store, CONFIG, ALTERED)
    assert figures["best_floor"] is None
    assert [row["lead_on_best_floor"] for row in figures["rows"]] == [{}, {}]


def test_a_method_without_an_answer_says_why(store: RowStore) -> None:
    fill(store)
    store.write(TASK.name, row_of("ours_labels_1", "ours", why_not="too few labels"), {})
    figures = figures_of(TASK, store, CONFIG, ALTERED)
    assert figures["not_answered"] == {"ours_labels_1": "too few labels"}


def ranking_of(ranks: list[int]) -> Ranking:
    size = len(ranks)
    nothing, one = np.zeros(size, dtype=np.int64), np.ones(size, dtype=np.int64)
    return Ranking(np.array(ranks) - 1, nothing, one, np.zeros(size))


def test_members_of_a_group_are_resampled_together(tmp_path: Path) -> None:
    """Pairs that fare alike: intervals of figures and of leads are wider by the root of two."""
    pair, alone = np.repeat(np.arange(150), 2), np.arange(300)
    batch = make_batch({f"u{row:03}": at([0.0]) for row in range(300)})
    rng = np.random.default_rng(0)
    ranks = {name: np.repeat(rng.integers(1, 4, 150), 2).tolist() for name in ("tfidf", "ours")}
    ranks["ours_short"] = np.repeat(rng.integers(1, 4, 150), 2).tolist()
    widths = {}
    for name, group in (("pairs", pair), ("alone", alone)):
        task = RetrievalTask(
            name, "Groups", ask(batch, batch, plain_task(group, group, alone - 999))
        )
        store = RowStore(tmp_path / name)
        for method, ranked in ranks.items():
            row = row_of(method, "floor" if method == "tfidf" else "ours")
            store.write(name, row, pack_rankings(ranking_of(ranked), ranking_of(ranked)))
        figures = figures_of(
            task, store, CONFIG.model_copy(update={"num_resamples": 2000}), ALTERED
        )
        assert figures["resampled"] == "groups"
        found = {row["method"]: row for row in figures["rows"]}
        estimates = [
            found["ours"]["metrics"]["mrr"],
            found["ours"]["lead_on_best_floor"]["mrr"],
            found["ours_short"]["lead_on_unaltered"]["mrr"],
        ]
        widths[name] = np.array([estimate["high"] - estimate["low"] for estimate in estimates])
    assert widths["pairs"] / widths["alone"] == pytest.approx(np.sqrt(2), rel=0.1)


def test_rankings_are_measured_both_ways(tmp_path: Path) -> None:
    same = np.arange(4, dtype=np.int64)
    batch = make_batch({f"u{row}": at([0.0]) for row in range(4)})
    task = RetrievalTask("groups", "Groups", ask(batch, batch, plain_task(same, same, same - 9)))
    plain, corrected = ranking_of([1, 2, 4, 11]), ranking_of([1, 1, 1, 2])
    arrays = pack_rankings(plain, corrected)
    assert np.array_equal(unpack_ranking(arrays, PLAIN).rank_Q, plain.rank_Q)
    assert np.array_equal(unpack_ranking(arrays, CORRECTED).rank_Q, corrected.rank_Q)
    store = RowStore(tmp_path)
    store.write(task.name, row_of("tfidf", "floor"), arrays)
    (row,) = figures_of(task, store, CONFIG, ALTERED)["rows"]
    value = {key: figure["value"] for key, figure in row["metrics"].items()}
    assert value["hit_at_1"] == 0.25
    assert value["hit_at_10"] == 0.75
    assert value["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 4 + 1 / 11) / 4, abs=1e-5)
    assert value["mrr_csls"] == pytest.approx(3.5 / 4)
