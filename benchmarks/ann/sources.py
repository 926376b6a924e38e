"""Where vectors come from: drawn, embedded, or read from a file.

Every source yields blocks of rows, so that data sets larger than memory are possible.

Shape key: `N` vectors, `D` dimensions, `C` clusters, `S` dimensions of a cluster.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.ann.engines.engine import Ids, Vectors
from embedder.text import CHARACTERS, load_sentence_model
from jobs.errors import UsageError

Blocks = Iterator[Vectors]

ROWS_AT_ONCE = 8_192
DIM, CLUSTER_DIM = 128, 10
VECTORS_PER_CLUSTER, CLUSTERS_MIN, CLUSTER_WIDTH = 1_000, 10, 0.5
SENTENCES_AT_ONCE = 128
SUFFIXES = (".npy", ".fvecs", ".hdf5", ".h5", ".parquet")


def clustered(num: int, *, clusters_for: int, seed: int) -> Blocks:
    """Yield unit vectors of overlapping clusters, those of `clusters_of`."""
    for vectors_ND, _ in clusters_of(num, clusters_for=clusters_for, seed=seed):
        yield vectors_ND


def clusters_of(
    num: int, *, clusters_for: int, seed: int, dim: int = DIM
) -> Iterator[tuple[Vectors, Ids]]:
    """Yield unit vectors of clusters of unequal size, and the cluster of each.

    Clusters overlap, and each lies in a subspace of its own of ten dimensions, so the intrinsic
    dimension is about ten while the vectors have 128, as learned embeddings do.

    Args:
        num: How many.
        clusters_for: The number of vectors that the clusters are made for.
        seed: Of clusters and vectors.
        dim: Of the vectors.
    """
    generator = np.random.default_rng(seed)
    num_clusters = max(CLUSTERS_MIN, clusters_for // VECTORS_PER_CLUSTER)
    centre_CD = _unit(generator.standard_normal((num_clusters, dim), dtype=np.float32))
    axes_CSD = generator.standard_normal((num_clusters, CLUSTER_DIM, dim), dtype=np.float32)
    axes_CSD *= np.float32(CLUSTER_WIDTH / np.sqrt(CLUSTER_DIM * dim))
    weight_C = generator.lognormal(size=num_clusters)
    weight_C /= weight_C.sum()
    for start in range(0, num, ROWS_AT_ONCE):
        size = min(ROWS_AT_ONCE, num - start)
        cluster_N = generator.choice(num_clusters, size, p=weight_C)
        within_NS = generator.standard_normal((size, CLUSTER_DIM), dtype=np.float32)
        offset_ND = np.einsum("ns,nsd->nd", within_NS, axes_CSD[cluster_N])
        yield _unit(centre_CD[cluster_N] + offset_ND), cluster_N


def sentences(file: Path, column: str | None, folder: Path, *, most: int) -> Blocks:
    """Yield the vectors of distinct texts by a sentence model, in an order without meaning.

    Args:
        file: Texts, one a line; or a Parquet file.
        column: The column of the Parquet file.
        folder: Of the sentence model.
        most: How many texts at most.
    """
    texts = _texts(file, column)
    order = np.random.default_rng(0).permutation(len(texts))[:most]
    model = load_sentence_model(str(folder))
    for start in range(0, len(order), SENTENCES_AT_ONCE):
        part = [texts[row][:CHARACTERS] for row in order[start : start + SENTENCES_AT_ONCE]]
        yield model.encode(part, batch_size=SENTENCES_AT_ONCE, show_progress_bar=False)


def read_blocks(path: Path) -> tuple[Blocks, Blocks | None]:
    """Return the vectors of a file, and the queries that it brings, if it brings any.

    `.npy` and `.fvecs` hold a matrix, HDF5 files of ann-benchmarks `train` and `test`, a Parquet
    file of `lookalike export vectors` the column `vector`.

    Raises:
        UsageError: If the file can't be read as what its name says.
    """
    try:
        match path.suffix:
            case ".npy":
                return _slices(np.load(path, mmap_mode="r", allow_pickle=False)), None
            case ".fvecs":
                return _slices(_fvecs(path)), None
            case ".hdf5" | ".h5":
                return _hdf5(path)
            case ".parquet":
                return _parquet(path), None
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{path} can't be read as {path.suffix}: {error}") from error
    raise UsageError(f"{path} must end in one of {', '.join(SUFFIXES)}")


def _fvecs(path: Path) -> Any:
    """Map a file whose rows begin with their dimension, as a matrix without it."""
    flat = np.memmap(path, dtype=np.int32, mode="r")
    dim = int(flat[0])
    return flat.reshape(-1, dim + 1)[:, 1:].view(np.float32)


def _hdf5(path: Path) -> tuple[Blocks, Blocks | None]:
    try:
        import h5py
    except ImportError as error:
        raise UsageError(f"{path} needs the package h5py; install it with pip") from error
    file = h5py.File(path, "r")
    return _slices(file["train"]), _slices(file["test"]) if "test" in file else None


def _parquet(path: Path) -> Blocks:
    file = pq.ParquetFile(path)
    if "vector" not in file.schema_arrow.names:
        raise ValueError("it has no column vector")
    return (
        batch.column(0).flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=["vector"])
        if batch.num_rows
    )


def _texts(file: Path, column: str | None) -> list[str]:
    try:
        if column is None:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            return sorted({line.strip() for line in lines if line.strip()})
        found = pq.read_table(file, columns=[column])[column].unique().drop_null()
        return sorted(str(text) for text in found.to_pylist())
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{file} holds no texts that can be read: {error}") from error


def _slices(matrix: Any) -> Blocks:
    for start in range(0, len(matrix), ROWS_AT_ONCE):
        yield np.asarray(matrix[start : start + ROWS_AT_ONCE], dtype=np.float32)


def _unit(vectors_ND: Vectors) -> Vectors:
    return np.asarray(vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True))
