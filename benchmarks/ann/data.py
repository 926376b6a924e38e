"""A data set as all methods get it: stored vectors, held-out queries, filters, true neighbors.

    data/NAME/vectors.npy     N by D, float32, unit rows
    data/NAME/queries.npy     Q by D, held out: drawn anew, brought by the file, or taken out of it
    data/NAME/flags.npy       which rows each filter lets through, N by F
    data/NAME/truth*.npy      true inner products of the nearest, Q by K
    data/NAME/about.json      what it is; written last

Copies of a group of identical vectors lie in `data/NAME/VARIANT/` likewise.

Shape key: `N` stored vectors, `Q` queries, `K` neighbors, `D` dimensions, `F` filters.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ann.engines.engine import Flags, Ids, Vectors
from benchmarks.ann.recall import Floats
from benchmarks.ann.sources import Blocks
from benchmarks.ann.truth import intrinsic_dimension, make_filters, true_products
from index.distinct import group_identical
from jobs.errors import UsageError
from store.durable import write_atomic

TRUE_K = 100
GROUPS, GROUP_SIZE, GROUP_SHARE = 20, 1_000, 0.01
ONE_GROUP_SIZE, ONE_GROUP_SHARE = 10_000, 0.1
NEAR_GROUP = 0.1  # how far queries near a group are from its vector
VARIANTS = ("twenty_groups", "one_group")
ASKED = "queries_asked"

Facts = dict[str, Any]


@dataclass(frozen=True)
class DataSet:
    """A folder of arrays.

    Attributes:
        name: Of the data set.
        folder: Where the arrays are.
        about: What `about.json` says.
    """

    name: str
    folder: Path
    about: Facts

    @cached_property
    def vectors_ND(self) -> Vectors:
        """Stored vectors, mapped."""
        vectors: Vectors = _mapped(self.vectors_file)
        return vectors

    @cached_property
    def query_QD(self) -> Vectors:
        """Held-out queries."""
        return np.asarray(_mapped(self.queries_file))

    @cached_property
    def flags_NF(self) -> Flags:
        """What each filter lets through."""
        flags: Flags = _mapped(self.flags_file)
        return flags

    @property
    def vectors_file(self) -> Path:
        """File of the stored vectors."""
        return self.folder / "vectors.npy"

    @property
    def queries_file(self) -> Path:
        """File of the queries."""
        return self.folder / "queries.npy"

    @property
    def flags_file(self) -> Path:
        """File of the filters."""
        return self.folder / "flags.npy"

    def truth(self) -> Floats:
        """Return the true inner products of the nearest of all rows, kept for the next time."""
        return self._kept("truth.npy", lambda: self._products(None))

    def truth_of_filter(self, number: int) -> Floats:
        """Return those among the rows that a filter lets through."""
        flags = self.flags_NF
        return self._kept(
            f"truth_filter_{number}.npy", lambda: self._products(np.asarray(flags[:, number]))
        )

    def truth_without(self, removed: Ids) -> Floats:
        """Return those among the rows that are left when some are removed."""
        passes_N = np.ones(len(self.vectors_ND), dtype=np.bool_)
        passes_N[removed] = False
        return self._kept(f"truth_without_{len(removed)}.npy", lambda: self._products(passes_N))

    def _products(self, passes_N: Any) -> Floats:
        k = min(TRUE_K, len(self.vectors_ND))
        return true_products(self.vectors_ND, self.query_QD, k=k, passes_N=passes_N)

    def _kept(self, name: str, compute: Callable[[], Floats]) -> Floats:
        path = self.folder / name
        if not path.exists():
            _save(path, compute())
        kept: Floats = np.load(path, allow_pickle=False)
        return kept


def make_data_set(
    name: str,
    folder: Path,
    source: Callable[[], tuple[Blocks, Blocks | None]],
    *,
    queries: int,
    rows_max: int | None,
    seed: int,
) -> DataSet:
    """Write the arrays of a data set, unless they are there.

    Rows are scaled to length one, as our index stores them; rows that can't be are left out.
    Where the source brings no queries, random rows are taken out of the stored ones.

    Args:
        name: Of the data set.
        folder: For its arrays.
        source: Opens the blocks of vectors, and of queries where it has its own.
        queries: How many queries.
        rows_max: Read no more rows; None for all.
        seed: Of the choice of queries and filters.

    Raises:
        UsageError: If there are too few vectors for so many queries, or the folder has the arrays
            of another number.
    """
    about_file = folder / "about.json"
    if not about_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(seed)
        blocks, own_queries = source()
        vectors_ND, left_out = _collected(blocks, rows_max)
        if own_queries is None:
            vectors_ND, query_QD = _held_out(vectors_ND, queries, generator)
        else:
            query_QD = _collected(own_queries, queries)[0]
        if len(vectors_ND) < 2 * TRUE_K or not len(query_QD):
            raise UsageError(f"{name} has too few vectors: {len(vectors_ND):,}")
        filters, flags_NF = make_filters(vectors_ND, generator)
        _save(folder / "vectors.npy", vectors_ND)
        _save(folder / "queries.npy", query_QD)
        _save(folder / "flags.npy", flags_NF)
        about = _described(DataSet(name, folder, {}), filters, left_out) | {ASKED: queries}
        write_atomic(about_file, (json.dumps(about, indent=1) + "\n").encode())
    about = json.loads(about_file.read_text(encoding="utf-8"))
    asked = about.pop(ASKED, queries)
    if asked != queries:
        raise UsageError(
            f"{folder} has data for {asked:,} queries, not {queries:,}; choose another folder"
        )
    return DataSet(name, folder, about)


def with_copies(data: DataSet, variant: str, *, seed: int) -> DataSet:
    """Return the same vectors with groups of identical ones, and queries near the groups.

    `twenty_groups` has 20 groups of 1,000 vectors, `one_group` one of 10,000; where these would be
    more than a hundredth or a tenth of all for a group, it is that share.
    """
    folder = data.folder / variant
    about_file = folder / "about.json"
    if not about_file.exists():
        folder.mkdir(exist_ok=True)
        generator = np.random.default_rng([seed, VARIANTS.index(variant)])
        num = len(data.vectors_ND)
        if variant == "one_group":
            groups, size = 1, min(ONE_GROUP_SIZE, round(num * ONE_GROUP_SHARE))
        else:
            groups, size = GROUPS, min(GROUP_SIZE, round(num * GROUP_SHARE))
        rows = generator.choice(num, (groups, size), replace=False)
        vectors_ND = np.array(data.vectors_ND)
        vectors_ND[rows[:, 1:]] = vectors_ND[rows[:, :1]]
        half = len(data.query_QD) // 2
        near = vectors_ND[rows[generator.integers(groups, size=half), 0]]
        noise = generator.standard_normal(near.shape, dtype=np.float32)
        noise *= np.float32(NEAR_GROUP / np.sqrt(near.shape[1]))
        query_QD = np.concatenate([data.query_QD[: len(data.query_QD) - half], near + noise])
        _save(folder / "vectors.npy", vectors_ND)
        _save(folder / "queries.npy", unit_rows(query_QD)[0])
        _save(folder / "flags.npy", np.zeros((num, 0), dtype=np.bool_))
        about = {"groups": groups, "group_size": size, "queries_near_groups": half}
        write_atomic(about_file, (json.dumps(about, indent=1) + "\n").encode())
    about = json.loads(about_file.read_text(encoding="utf-8"))
    return DataSet(f"{data.name}, {variant}", folder, about)


def unit_rows(vectors_ND: Any) -> tuple[Vectors, int]:
    """Return rows scaled to length one, and how many were left out: all zero or not finite."""
    wide = np.asarray(vectors_ND, dtype=np.float64)
    length = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    good = np.isfinite(length) & (length > 0)
    return (wide[good] / length[good, None]).astype(np.float32), int((~good).sum())


def _collected(blocks: Blocks, most: int | None) -> tuple[Vectors, int]:
    """Return the unit rows of blocks, and how many rows were left out."""
    parts, left_out, num = [], 0, 0
    for block in blocks:
        part, bad = unit_rows(block)
        parts.append(part)
        left_out, num = left_out + bad, num + len(part)
        if most is not None and num >= most:
            break
    if not parts:
        return np.zeros((0, 1), dtype=np.float32), left_out
    return np.concatenate(parts)[:most], left_out


def _held_out(
    vectors_ND: Vectors, queries: int, generator: np.random.Generator
) -> tuple[Vectors, Vectors]:
    """Take random rows out of the vectors, as queries."""
    taken = min(queries, len(vectors_ND) // 4)
    is_query_N = np.zeros(len(vectors_ND), dtype=np.bool_)
    is_query_N[generator.choice(len(vectors_ND), taken, replace=False)] = True
    return vectors_ND[~is_query_N], vectors_ND[is_query_N]


def _described(data: DataSet, filters: list[Facts], left_out: int) -> Facts:
    """Return what there is to say of the data."""
    truth = data.truth()
    num, dim = data.vectors_ND.shape
    return {
        "num_vectors": num,
        "dim": dim,
        "num_queries": len(data.query_QD),
        "rows_left_out": left_out,
        "num_distinct": group_identical(data.vectors_ND).num_entries,
        "queries_equal_to_a_stored_vector": round(float((truth[:, 0] >= 1 - 1e-7).mean()), 4),
        "intrinsic_dimension": intrinsic_dimension(truth),
        "filters": filters,
    }


def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _save(path: Path, array: Any) -> None:
    """Write an array under its name when it is whole."""
    staged = path.with_suffix(".tmp.npy")
    np.save(staged, array)
    staged.replace(path)
