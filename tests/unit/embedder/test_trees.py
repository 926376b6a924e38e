import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from embedder.trees import BINS, Bins, Trees, at_most, fit_trees, refit_trees, to_arrays


def table(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers, some missing, of which two together tell the class."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(count, 5)).astype(np.float32)
    is_violator = (numbers[:, 0] > 0) ^ (numbers[:, 1] > 0.3)
    numbers[rng.random((count, 5)) < 0.1] = np.nan
    numbers[:, 4] = np.nan
    return numbers, is_violator


def fitted(seed: int = 0) -> Trees:
    numbers, is_violator = table(3000, 1)
    held, held_is_violator = table(600, 2)
    return fit_trees(
        numbers,
        is_violator,
        np.ones(3000),
        held_summary=held,
        held_is_violator=held_is_violator,
        held_weight=np.ones(600),
        seed=seed,
    )


@pytest.mark.parametrize("values", ["many", "few", "mostly one", "infinite"])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_trees_on_bins_are_those_that_the_library_grows_on_the_values(
    values: str, is_weighted: bool
) -> None:
    numbers, is_violator = table(2000, 3)
    unseen, _ = table(9000, 4)
    for each in (numbers, unseen):
        if values == "few":
            each[:, :2] = np.round(3 * each[:, :2])
        elif values == "mostly one":
            each[: len(each) * 9 // 10, 2] = 0.5
        elif values == "infinite":
            each[::50, 1] = np.inf
            each[1::50, 2] = -np.inf
    weight = np.random.default_rng(5).gamma(1.0, size=2000) if is_weighted else np.ones(2000)
    weight[:20] = 0.0
    known = np.arange(4)
    settings = {"max_iter": 30, "max_leaf_nodes": 16, "max_depth": 6, "max_features": 0.5}
    model = HistGradientBoostingClassifier(**settings, random_state=0)
    model.fit(numbers[:, known], is_violator, sample_weight=weight)
    expected = model.decision_function(unseen[:, known])
    bins = Bins.learned(numbers, weight, seed=0)
    assert np.array_equal(bins.known_F, known)
    model = HistGradientBoostingClassifier(**settings, random_state=0)
    model.fit(bins.of(numbers), is_violator, sample_weight=weight)
    trees = to_arrays(model, bins, num_trees=30)
    assert trees.log_odds(unseen) == pytest.approx(
        model.decision_function(bins.of(unseen)), abs=1e-5
    )
    assert trees.log_odds(unseen) == pytest.approx(expected, abs=1e-5)


def test_a_number_that_is_the_same_for_all_is_never_asked_for() -> None:
    """Trees of unequal size are filled up with nodes, which ask for nothing either."""
    numbers, is_violator = table(2000, 3)
    numbers[:, 0] = 7.0
    numbers[:, 1] = np.where(is_violator, 1.0, numbers[:, 1])
    trees = refit_trees(numbers, is_violator, np.ones(2000), num_trees=40, seed=0)
    sizes = (trees.value_TN != 0).sum(axis=1)
    assert len(set(sizes.tolist())) > 1
    assert np.isfinite(trees.log_odds(numbers)).all()


def test_between_bins_the_edge_is_where_the_library_cuts() -> None:
    bins = Bins(np.arange(1), (np.arange(30.0) * 10,))
    assert bins.threshold(0, 20.5) == 200
    assert bins.threshold(0, 21.0) == 210, "nobody was in bin 21, who comes goes with 20"
    assert bins.threshold(0, np.inf) == np.inf


def test_bins_of_very_many_examples_are_those_of_a_draw_by_weight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("embedder.trees.BINNED_BY", 4_000)
    numbers, _ = table(20_000, 6)
    weight = np.where(numbers[:, 3] > 0, 3.0, 0.1)  # those above 0 count for nearly all
    bins = Bins.learned(numbers, weight, seed=0)
    assert all(len(edges) <= BINS - 1 for edges in bins.edges)
    assert np.median(bins.edges[3]) > 0.4
    again = Bins.learned(numbers, weight, seed=0)
    assert all(np.array_equal(*both) for both in zip(bins.edges, again.edges, strict=True))


def test_two_numbers_that_tell_only_together_are_learned() -> None:
    unseen, is_violator = table(4000, 5)
    told = fitted().log_odds(unseen) > 0
    assert (told == is_violator).mean() > 0.85


def test_trees_are_those_of_the_best_look_at_held_out_users() -> None:
    """Where the class is a coin, the first tree is already too many to go on from."""
    rng = np.random.default_rng(6)
    trees = fit_trees(
        rng.normal(size=(800, 5)).astype(np.float32),
        rng.random(800) < 0.5,
        np.ones(800),
        held_summary=rng.normal(size=(800, 5)).astype(np.float32),
        held_is_violator=rng.random(800) < 0.5,
        held_weight=np.ones(800),
        seed=0,
    )
    assert len(trees.value_TN) < 30
    assert len(fitted().value_TN) > 30


def test_tensors_are_all_there_is() -> None:
    trees, (unseen, _) = fitted(), table(50, 7)
    assert (Trees.from_tensors(trees.tensors()).log_odds(unseen) == trees.log_odds(unseen)).all()
    assert all(array.dtype.kind in "fib" for array in trees.tensors().values())


def test_the_same_seed_gives_the_same_trees() -> None:
    first, second = fitted().tensors(), fitted().tensors()
    assert all((first[name] == second[name]).all() for name in first)


def test_nobody_has_no_log_odds() -> None:
    assert fitted().log_odds(np.zeros((0, 5), dtype=np.float32)).shape == (0,)


def test_thresholds_round_down() -> None:
    thresholds = np.array([0.1, 1.0, -0.1, 1e-300])
    assert (at_most(thresholds).astype(np.float64) <= thresholds).all()
    assert at_most(np.array([1.0]))[0] == 1.0


def test_refitted_trees_are_as_many_as_wanted_and_learn_from_all() -> None:
    numbers, is_violator = table(3000, 1)
    trees = refit_trees(numbers, is_violator, np.ones(3000), num_trees=7, seed=0)
    assert len(trees.value_TN) == 7
    again = refit_trees(numbers, is_violator, np.ones(3000), num_trees=40, seed=0)
    unseen, truth = table(4000, 5)
    assert ((again.log_odds(unseen) > 0) == truth).mean() > 0.85
