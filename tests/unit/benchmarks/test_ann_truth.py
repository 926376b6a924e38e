"""True neighbors in bounded memory, intrinsic dimension, filters, and groups of copies."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.ann import truth as truth_module
from benchmarks.ann.data import DataSet, make_data_set, with_copies
from benchmarks.ann.engines.engine import Vectors
from benchmarks.ann.sources import clustered, read_blocks
from benchmarks.ann.truth import intrinsic_dimension, make_filters, true_products
from jobs.errors import UsageError


def data_set(folder: Path, *, num: int = 2_000) -> DataSet:
    return make_data_set(
        "small",
        folder,
        lambda: (clustered(num + 100, clusters_for=num, seed=3), None),
        queries=100,
        rows_max=None,
        seed=0,
    )


def test_products_are_those_of_a_plain_sort_whatever_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = np.concatenate(list(clustered(3_000, clusters_for=3_000, seed=0)))
    stored, queries = vectors[:2_900], vectors[2_900:]
    plain = np.sort(queries.astype(np.float64) @ stored.T.astype(np.float64), axis=1)[:, ::-1]
    for block_bytes in (1, 200_000, 10**9):
        monkeypatch.setattr(truth_module, "BLOCK_BYTES", block_bytes)
        found = true_products(stored, queries, k=100)
        assert np.allclose(found, plain[:, :100], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dim", [3, 8])
def test_the_intrinsic_dimension_is_that_of_the_subspace_not_of_the_vectors(dim: int) -> None:
    generator = np.random.default_rng(dim)
    axes = np.linalg.qr(generator.normal(size=(64, dim + 1)))[0].T
    points = generator.normal(size=(12_000, dim + 1))
    points /= np.linalg.norm(points, axis=1, keepdims=True)  # a sphere of `dim` dimensions
    vectors = (points @ axes).astype(np.float32)
    found = intrinsic_dimension(true_products(vectors[:11_000], vectors[11_000:], k=30))
    assert found["two_nn"] == pytest.approx(dim, rel=0.2)
    assert found["mle"] == pytest.approx(dim, rel=0.2)
    assert found["queries"] == 1_000


def test_queries_that_equal_a_stored_vector_tell_nothing_of_the_dimension() -> None:
    assert intrinsic_dimension(np.ones((5, 30))) == {"two_nn": None, "mle": None, "queries": 0}


def test_filters_pass_the_share_they_promise_and_correlated_ones_what_is_near(
    tmp_path: Path,
) -> None:
    vectors = data_set(tmp_path).vectors_ND
    about, flags = make_filters(vectors, np.random.default_rng(1))
    assert flags.shape == (len(vectors), len(about))
    assert flags.sum(axis=0).tolist() == [one["rows"] for one in about]
    assert [one["share"] for one in about if one["kind"] == "random"][-1] == 1.0
    place = next(
        number
        for number, one in enumerate(about)
        if one["kind"] == "correlated" and one["share"] == 0.1
    )
    inside = vectors[flags[:, place]]
    random_place = next(number for number, one in enumerate(about) if one["share"] == 0.1)
    assert (inside @ inside.T).mean() > (vectors[flags[:, random_place]] @ inside.T).mean() + 0.1


def test_queries_are_held_out_and_vectors_have_length_one(tmp_path: Path) -> None:
    data = data_set(tmp_path)
    assert data.vectors_ND.shape == (2_000, 128)
    assert data.query_QD.shape == (100, 128)
    assert np.allclose(np.linalg.norm(data.vectors_ND, axis=1), 1, atol=1e-6)
    assert (data.truth()[:, 0] < 1 - 1e-6).all(), "no query is stored"
    assert data.about["queries_equal_to_a_stored_vector"] == 0
    assert data.about["num_distinct"] == 2_000
    assert 5 < data.about["intrinsic_dimension"]["mle"] < 15


def test_a_data_set_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    first = data_set(tmp_path)
    again = make_data_set(
        "small", tmp_path, lambda: (iter(()), None), queries=100, rows_max=None, seed=0
    )
    assert again.about == first.about
    assert np.array_equal(again.vectors_ND, first.vectors_ND)


def test_a_data_set_of_another_number_of_queries_is_refused(tmp_path: Path) -> None:
    data_set(tmp_path)
    with pytest.raises(UsageError, match="has data for 100 queries, not 300"):
        make_data_set(
            "small", tmp_path, lambda: (iter(()), None), queries=300, rows_max=None, seed=0
        )


@pytest.mark.parametrize(
    ("variant", "groups", "size"), [("twenty_groups", 20, 20), ("one_group", 1, 200)]
)
def test_copies_are_scaled_down_with_the_data(
    tmp_path: Path, variant: str, groups: int, size: int
) -> None:
    copies = with_copies(data_set(tmp_path), variant, seed=0)
    assert (copies.about["groups"], copies.about["group_size"]) == (groups, size)
    _, counts = np.unique(np.asarray(copies.vectors_ND), axis=0, return_counts=True)
    assert sorted(counts.tolist())[-groups:] == [size] * groups
    assert len(counts) == 2_000 - groups * (size - 1)
    near = copies.truth()[-copies.about["queries_near_groups"] :]
    assert (near[:, 0] > 0.98).all()
    assert np.allclose(near[:, :10], near[:, :1]), "the nearest ten are copies of one another"


def rows(seed: int) -> Vectors:
    return np.random.default_rng(seed).normal(size=(900, 12)).astype(np.float32)


def test_rows_that_have_no_length_are_left_out(tmp_path: Path) -> None:
    vectors = rows(0)
    vectors[5], vectors[7, 3] = 0, np.nan
    np.save(tmp_path / "some.npy", vectors)
    data = make_data_set(
        "some",
        tmp_path / "data",
        lambda: read_blocks(tmp_path / "some.npy"),
        queries=100,
        rows_max=800,
        seed=0,
    )
    assert data.about["rows_left_out"] == 2
    assert data.about["num_vectors"] == 700


def test_fvecs_are_read_as_they_were_written(tmp_path: Path) -> None:
    vectors = rows(1)
    dims = np.full((len(vectors), 1), 12, dtype=np.int32)
    np.hstack([dims, vectors.view(np.int32)]).tofile(tmp_path / "some.fvecs")
    blocks, queries = read_blocks(tmp_path / "some.fvecs")
    assert np.array_equal(np.concatenate(list(blocks)), vectors)
    assert queries is None


@pytest.mark.parametrize("name", ["some.csv", "missing.npy", "broken.parquet"])
def test_a_file_that_cannot_be_read_is_wrong_usage(tmp_path: Path, name: str) -> None:
    (tmp_path / "some.csv").write_text("1,2\n")
    (tmp_path / "broken.parquet").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=name.replace(".", r"\.")):
        read_blocks(tmp_path / name)
