"""Users and vectors of a large platform, drawn block by block, so that memory is bounded.

    FOLDER/vectors.npy   N by D, float32, unit rows
    FOLDER/same_as.npy   the first row that each row is a copy of, the row itself where it is none
    FOLDER/cluster.npy   the cluster of each row
    FOLDER/queries.npy   Q by D, held out: drawn as the vectors are, never stored

Vectors are those of the benchmark of nearest neighbors: overlapping clusters of unequal size, each
in ten dimensions of its own. Some users are copies of a few of their block, half of these to the
last bit and half but for float noise, and one vector has users all over.

Shape key: `N` users, `D` dimensions, `Q` queries, `M` users of a block.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.ann.sources import clusters_of
from benchmarks.large.config import LargeConfig
from index.vectors import Rows, Vectors

VECTORS, SAME_AS, CLUSTER, QUERIES = "vectors.npy", "same_as.npy", "cluster.npy", "queries.npy"
COPIES_SHARE = 0.02
ORIGINALS_PER_BLOCK = 20
CROWD_SHARE = 0.001
NOISE = 2e-7
BAD_CLUSTERS = 20
"""One cluster of so many is of violators."""
VIOLATORS_THERE, VIOLATORS_ELSEWHERE, BENIGN = 0.15, 0.003, 0.02
POLICIES = ("spam", "fraud", "cheating", "harassment", "evasion")
FIRST_US, SPAN_US = 1_700_000_000_000_000, 365 * 86_400 * 1_000_000
EVENTS_MEAN = 40


def draw_vectors(config: LargeConfig, folder: Path) -> None:
    """Write vectors, queries and what the truth is told by."""
    num, generator = config.users, np.random.default_rng([config.seed, 1])
    vectors_ND = _array(folder / VECTORS, np.float32, (num, config.dim))
    same_as_N = _array(folder / SAME_AS, np.int64, (num,))
    cluster_N = _array(folder / CLUSTER, np.int32, (num,))
    query_QD = np.empty((config.queries, config.dim), np.float32)
    start = 0
    for block_MD, cluster_M in clusters_of(
        num + config.queries, clusters_for=num, seed=config.seed, dim=config.dim
    ):
        stop = min(start + len(block_MD), num)
        kept = max(stop - start, 0)
        if kept:
            source_M = _copies(kept, generator)
            crowd = (generator.random(kept) < CROWD_SHARE) & (start > 0)
            own_MD = _with_noise(block_MD[source_M], source_M, generator)
            own_MD[crowd] = vectors_ND[0]
            vectors_ND[start:stop] = own_MD
            same_as_N[start:stop] = np.where(crowd, 0, start + source_M)
            cluster_N[start:stop] = cluster_M[:kept]
        first = start + kept - num
        query_QD[first : first + len(block_MD) - kept] = block_MD[kept:]
        start += len(block_MD)
    np.save(folder / QUERIES, query_QD)


def _copies(num: int, generator: np.random.Generator) -> Rows:
    """Return which row of a block each row shows; that row shows itself."""
    source_M = np.arange(num)
    copies = np.flatnonzero(generator.random(num) < COPIES_SHARE)
    originals = np.setdiff1d(source_M, copies)[:ORIGINALS_PER_BLOCK]
    if len(originals):
        source_M[copies] = generator.choice(originals, len(copies))
    return source_M


def _with_noise(copied_MD: Vectors, source_M: Rows, generator: np.random.Generator) -> Vectors:
    """Move every other copy by what another batch of the encoder would."""
    copies = np.flatnonzero(source_M != np.arange(len(source_M)))[::2]
    shape = (len(copies), copied_MD.shape[1])
    noise = generator.standard_normal(shape, dtype=np.float32)
    copied_MD[copies] += noise * np.float32(NOISE / shape[1] ** 0.5)
    return copied_MD


def draw_users(config: LargeConfig, cluster_N: npt.NDArray[np.int32]) -> pa.Table:
    """Return the users as a rebuild reads them from the lake, with labels; no object per user."""
    num, generator = config.users, np.random.default_rng([config.seed, 2])
    ids = _ids(num, generator)
    num_events_N = 1 + generator.geometric(1 / EVENTS_MEAN, num)
    first_us_N = FIRST_US + generator.integers(0, SPAN_US, num)
    last_us_N = first_us_N + generator.integers(1, SPAN_US, num)
    is_bad = cluster_N % BAD_CLUSTERS == 0
    share = np.where(is_bad, VIOLATORS_THERE, VIOLATORS_ELSEWHERE).astype(np.float32)
    chance_N = generator.random(num, dtype=np.float32)
    is_violator, is_benign = chance_N < share, chance_N > 1 - BENIGN
    code_N = (cluster_N // BAD_CLUSTERS % len(POLICIES)).astype(np.int8)
    policy = pa.array(POLICIES, pa.large_string()).take(pa.array(code_N, mask=~is_violator))
    no_label = ~(is_violator | is_benign)
    return pa.table(
        {
            "user_id": ids,
            "num_events": num_events_N,
            "first_ts_us": first_us_N,
            "last_ts_us": last_us_N,
            "fingerprint": generator.integers(-(2**62), 2**62, num),
            "label": pa.array(is_violator.astype(np.int8), mask=no_label),
            "policy": policy,
            "occurred_at_us": pa.array(last_us_N, mask=~is_violator),
            "known_at_us": pa.array(last_us_N + 1, mask=no_label),
        }
    )


def _ids(num: int, generator: np.random.Generator) -> pa.Array:
    """Return ids of sixteen hexadecimal digits, ascending, each once."""
    number_N = np.unique(generator.integers(0, 2**63, num + num // 1000 + 10, dtype=np.uint64))
    number_N = np.sort(generator.choice(number_N, num, replace=False))
    digit_N16 = np.empty((num, 16), np.uint8)
    for place in range(16):
        nibble_N = ((number_N >> np.uint64(4 * (15 - place))) & np.uint64(15)).astype(np.uint8)
        digit_N16[:, place] = nibble_N + np.where(nibble_N < 10, 48, 87).astype(np.uint8)
    offset_N = np.arange(0, 16 * (num + 1), 16, dtype=np.int64)
    buffers = [None, pa.py_buffer(offset_N), pa.py_buffer(digit_N16)]
    return pa.Array.from_buffers(pa.large_string(), num, buffers)


def read_array(path: Path, *, mapped: bool = False) -> Any:
    """Return an array that a step wrote."""
    return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)


def _array(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    return np.lib.format.open_memmap(path, "w+", dtype, shape)
