from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.build import load_build, write_build
from index.build_input import BuildInput
from index.config import IndexConfig
from index.errors import BuildCorrupt, BuildInvalid
from index.manifest import MANIFEST_FILE, BlockSpec, read_manifest, write_manifest
from index.vectors import Vectors
from store.workspace import Workspace
from tests.index_fakes import (
    DIM,
    NOW,
    SPACE_ID,
    build_input,
    unit_vectors,
    users_table,
    write_rings_and_risk,
)

WITH_GRAPH = IndexConfig(kind="hnsw")


def test_build_comes_back_as_it_was_handed_over(workspace: Workspace) -> None:
    vectors = unit_vectors(50)
    given = build_input(vectors, violators=[4, 40])
    staged = write_build(workspace, given, WITH_GRAPH, now=NOW, write_extra=write_rings_and_risk)
    build = load_build(staged)
    assert np.array_equal(build.vectors_ND, vectors)
    assert build.users.table.column("user_id").to_pylist() == given.users["user_id"].to_pylist()
    assert build.violator_rows.tolist() == [4, 40]
    assert np.array_equal(build.violators.vectors_ND, vectors[[4, 40]])
    manifest = build.manifest
    assert (manifest.num_users, manifest.num_violators, manifest.dim) == (50, 2, DIM)
    assert (manifest.space_id, manifest.index) == (SPACE_ID, "hnsw")
    assert manifest.config == WITH_GRAPH
    assert {"rings.parquet", "risk/model.json", "hnsw.faiss"} <= set(manifest.files)


def test_vectors_are_mapped_and_can_not_be_written(workspace: Workspace) -> None:
    staged = write_build(workspace, build_input(unit_vectors(5)), IndexConfig(), now=NOW)
    vectors = load_build(staged).vectors_ND
    assert not vectors.flags.writeable
    assert not vectors.flags.owndata


def test_same_input_gives_the_same_files(workspace: Workspace) -> None:
    given = build_input(unit_vectors(300), violators=[1])
    first, second = (write_build(workspace, given, WITH_GRAPH, now=NOW) for _ in range(2))
    assert read_manifest(first).files == read_manifest(second).files


def test_small_builds_are_searched_exactly_and_say_why(workspace: Workspace) -> None:
    config = IndexConfig(exact_up_to=5, exact_budget_ms=0)
    small = write_build(workspace, build_input(unit_vectors(5)), config, now=NOW)
    large = write_build(workspace, build_input(unit_vectors(6)), config, now=NOW)
    assert load_build(small).approximate is None
    assert "exact_up_to" in read_manifest(small).choice.reason
    assert read_manifest(large).choice.candidates


def test_hub_correction_can_be_left_out(workspace: Workspace) -> None:
    config = IndexConfig(kind="hnsw", hub_correction=False)
    vectors = unit_vectors(60)
    build = load_build(write_build(workspace, build_input(vectors), config, now=NOW))
    assert build.everyone.penalty_N is None
    assert build.approximate is not None
    found = build.approximate.search(vectors[:5], k=1)
    assert found.rows_QK.ravel().tolist() == [0, 1, 2, 3, 4]


def test_build_without_violators_has_an_empty_view(workspace: Workspace) -> None:
    build = load_build(write_build(workspace, build_input(unit_vectors(5)), IndexConfig(), now=NOW))
    assert build.violators.search(unit_vectors(1), k=2).rows_QK.tolist() == [[-1, -1]]


def test_one_user_is_a_build(workspace: Workspace) -> None:
    vectors = unit_vectors(1)
    build = load_build(write_build(workspace, build_input(vectors), WITH_GRAPH, now=NOW))
    assert build.everyone.search(vectors, k=1).rows_QK.tolist() == [[0]]


def not_unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors * 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (build_input(not_unit(unit_vectors(3))), "not finite or not of length 1"),
        (build_input(unit_vectors(0)), "make no build"),
        (replace(build_input(unit_vectors(3)), users=users_table(2)), "2 users and 3 vectors"),
        (replace(build_input(unit_vectors(3)), blocks=()), "blocks"),
        (
            replace(
                build_input(unit_vectors(3)),
                blocks=(BlockSpec(name="a", start=1, stop=DIM, weight=1),),
            ),
            "blocks",
        ),
        (replace(build_input(unit_vectors(3)), data_as_of=NOW.replace(tzinfo=None)), "time zone"),
    ],
    ids=["not_unit", "empty", "other_users", "no_blocks", "gap", "no_zone"],
)
def test_what_can_be_no_build_is_refused(
    workspace: Workspace, given: BuildInput, message: str
) -> None:
    with pytest.raises(BuildInvalid, match=message):
        write_build(workspace, given, IndexConfig(), now=NOW)
    assert list(workspace.builds_dir.iterdir()) == []


def test_failing_extra_leaves_nothing_behind(workspace: Workspace) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_build(
            workspace, build_input(unit_vectors(3)), IndexConfig(), now=NOW, write_extra=fail
        )
    assert list(workspace.builds_dir.iterdir()) == []


def test_files_that_do_not_fit_together_are_refused(workspace: Workspace) -> None:
    """Checksums alone do not catch a manifest that was written for other files."""
    staged = write_build(workspace, build_input(unit_vectors(5)), IndexConfig(), now=NOW)
    manifest = read_manifest(staged)
    write_manifest(staged, manifest.model_copy(update={"num_users": 6}))
    with pytest.raises(BuildCorrupt, match="do not fit together"):
        load_build(staged)


def test_missing_folder_is_refused(workspace: Workspace) -> None:
    with pytest.raises(BuildCorrupt, match=MANIFEST_FILE):
        load_build(workspace.builds_dir / "b1")
