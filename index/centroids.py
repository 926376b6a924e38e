"""Centroids of very many lists, learned and assigned in two levels.

A k-means of L centroids costs L products for every vector and iteration, and so does putting a
vector into its list: with lists by the root of the vectors, their number to the power of 1.5. Here
vectors are parted into about sqrt(L) groups first, and each group into its share of the lists, as
in the hierarchical k-means of Nister and Stewenius (CVPR 2006). A vector is put into the nearest
list of the nearest few groups; of vectors at a border a few go into the second nearest list, which
is as good for finding them.

Shape key: `L` lists, `G` groups, `M` vectors of the sample, `D` dimensions.
"""

from dataclasses import dataclass
from typing import Any, cast

import faiss
import numpy as np

from index.vectors import Rows, Vectors

ITERATIONS = 10
GROUPS_PROBED = 4


@dataclass(frozen=True)
class Centroids:
    """The centroids of lists, those of a group one after the other.

    Attributes:
        group_GD: Means of the groups.
        list_LD: Means of the lists.
        group_L: The group of each list, ascending.
    """

    group_GD: Vectors
    list_LD: Vectors
    group_L: Rows

    def assigner(self) -> Any:
        """Return what finds the nearest centroid of a vector among those of a few groups."""
        num_groups, dim = self.group_GD.shape
        flat = faiss.IndexFlatL2(dim)
        flat.add(self.group_GD)
        finder = faiss.IndexIVFFlat(flat, dim, num_groups, faiss.METRIC_L2)
        finder.add_core(  # into the groups that they were learned in
            len(self.list_LD),
            faiss.swig_ptr(self.list_LD),
            None,
            faiss.swig_ptr(self.group_L),
        )
        finder.make_direct_map()
        finder.nprobe = min(GROUPS_PROBED, num_groups)
        finder.own_fields = True
        cast(Any, flat).this.disown()  # its stubs lack this
        return finder


def learn_centroids(sample_MD: Vectors, num_lists: int, *, seed: int) -> Centroids:
    """Learn centroids from a sample, M much larger than `num_lists`.

    Each group gets lists by its share of the sample; the same sample gives the same centroids.
    """
    num_groups = round(num_lists**0.5)
    group_GD = _means(sample_MD, num_groups, seed)
    group_M = _nearest(sample_MD, group_GD)
    size_G = np.bincount(group_M, minlength=num_groups)
    lists_G = list_shares(size_G, num_lists)
    order_M = np.argsort(group_M, kind="stable")
    start_G = np.cumsum(size_G) - size_G
    parts = [
        _means(
            np.ascontiguousarray(sample_MD[order_M[start : start + size]]),
            int(wanted),
            seed + group,
        )
        for group, (start, size, wanted) in enumerate(zip(start_G, size_G, lists_G, strict=True))
        if wanted
    ]
    group_L = np.repeat(np.arange(num_groups, dtype=np.int64), lists_G)
    return Centroids(group_GD, np.ascontiguousarray(np.concatenate(parts)), group_L)


def list_shares(size_G: Rows, num_lists: int) -> Rows:
    """Divide the lists among the groups by their size, none where there is nobody.

    No group gets more lists than it has vectors; the largest remainders are rounded up.
    """
    exact_G = num_lists * size_G / size_G.sum()
    lists_G = np.where(size_G > 0, np.maximum(np.floor(exact_G), 1), 0).astype(np.int64)
    lists_G = np.minimum(lists_G, size_G)
    order_G = np.argsort(lists_G - exact_G, kind="stable")  # who lacks most comes first
    while (missing := num_lists - int(lists_G.sum())) != 0:
        step = 1 if missing > 0 else -1
        may = (lists_G < size_G) if step > 0 else (lists_G > 1)
        chosen = order_G[may[order_G]][:: 1 if step > 0 else -1][: abs(missing)]
        lists_G[chosen] += step
    return lists_G


def _means(vectors_MD: Vectors, num: int, seed: int) -> Vectors:
    """Return `num` means of k-means, M >= num."""
    means = faiss.Clustering(vectors_MD.shape[1], num)
    means.seed = seed + 1
    means.niter = ITERATIONS
    means.min_points_per_centroid = 1  # few vectors are no reason to warn
    means.max_points_per_centroid = len(vectors_MD)
    means.train(vectors_MD, faiss.IndexFlatL2(vectors_MD.shape[1]))
    centroids: Vectors = faiss.vector_to_array(means.centroids).reshape(num, -1)
    return centroids


def _nearest(vectors_MD: Vectors, centroid_GD: Vectors) -> Rows:
    flat = faiss.IndexFlatL2(centroid_GD.shape[1])
    flat.add(centroid_GD)
    nearest: Rows = flat.search(vectors_MD, 1)[1][:, 0]
    return nearest
