"""The steps of a search in FAISS's inverted files, and their parameters.

Shape key: `M` vectors, `Q` queries, `P` lists to probe, `K` neighbors, `D` dimensions.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, cast

import faiss
import numpy as np

from index.choice import Reach
from index.mapped_lists import scan_of
from index.vectors import Flags, Floats, Rows, Vectors

FileKind = Literal["ivf_flat", "ivf_sq8", "ivf_rabitq"]

REACHED_UP_TO = 128
"""Neighbors for which lists within reach are enough: what is proven for 100, and a few to spare."""


@dataclass(frozen=True)
class Stages:
    """The steps of a search in lists, to be taken one by one.

    Attributes:
        transform: Widens or rotates queries; None where they stay as they are.
        centroids: Finds the nearest lists.
        lists: Scans them.
    """

    transform: Any
    centroids: Any
    lists: Any

    @classmethod
    def of(cls, file: Any) -> "Stages":
        """Take an index apart, which must outlive its parts."""
        inner, lists = faiss.downcast_index(file), scan_of(file)
        transform = None
        if isinstance(inner, faiss.IndexPreTransform):
            transform = faiss.downcast_VectorTransform(cast(Any, inner.chain).at(0))
        return cls(transform, faiss.downcast_index(lists.quantizer), lists)

    def transformed(self, vectors_MD: Vectors) -> Vectors:
        """Return vectors as the lists get them."""
        given = np.ascontiguousarray(vectors_MD, dtype=np.float32)  # read as such, unchecked
        if self.transform is None:
            return given
        changed = np.empty((len(given), self.transform.d_out), dtype=np.float32)
        self.transform.apply_noalloc(len(given), faiss.swig_ptr(given), faiss.swig_ptr(changed))
        return changed

    def nearest(self, query_QD: Vectors, probes: int) -> tuple[Floats, Rows]:
        """Return how far the centroids nearest to transformed queries are, squared, and which."""
        distance_QP = np.empty((len(query_QD), probes), dtype=np.float32)
        list_QP = np.empty((len(query_QD), probes), dtype=np.int64)
        self.centroids.search_c(
            len(query_QD),
            faiss.swig_ptr(query_QD),
            probes,
            faiss.swig_ptr(distance_QP),
            faiss.swig_ptr(list_QP),
        )
        return distance_QP, list_QP

    def search(self, query_QD: Vectors, k: int, kind: FileKind, probes: int, reach: Reach) -> Rows:
        """Return about the k best of each query in the lists within reach, -1 where are fewer.

        Where those hold too few entries, whatever k is, all lists are scanned: then which lists are
        does not depend on k, and what is proven of ten neighbors holds for fewer.

        The library is called without its checks of arguments, which take a tenth of the time.
        """
        query = self.transformed(query_QD)
        distance_QP, list_QP = self.nearest(query, probes)
        if len(query) == 1:  # in a third of the time
            limit = reach.limits(distance_QP[:, 0])[0]
            within = max(int(distance_QP[0].searchsorted(limit, "right")), 1)
            if self._sizes_L[list_QP[0, 0]] < REACHED_UP_TO:  # else it alone holds enough
                size = self._sizes_L.take(list_QP[0, :within]).sum()
                within = probes if size < REACHED_UP_TO else within
            return self._scan(query, k, scanning_of(kind, within), distance_QP, list_QP)
        list_QP[self.is_beyond(distance_QP, list_QP, reach)] = -1
        return self._scan(query, k, scanning_of(kind, probes), distance_QP, list_QP)

    def is_beyond(self, distance_QP: Floats, list_QP: Rows, reach: Reach) -> Flags:
        """Tell which of the nearest lists are not scanned, of many queries."""
        is_beyond_QP: Flags = distance_QP > reach.limits(distance_QP[:, :1])
        size_Q = np.where(is_beyond_QP, 0, self._sizes_L.take(list_QP)).sum(axis=1)
        is_beyond_QP[size_Q < REACHED_UP_TO] = False
        return is_beyond_QP

    @cached_property
    def _sizes_L(self) -> Rows:
        kept = self.lists.invlists
        return np.array([kept.list_size(number) for number in range(self.lists.nlist)])

    def _scan(
        self, query_QD: Vectors, k: int, params: Any, distance_QP: Floats, list_QP: Rows
    ) -> Rows:
        """Return about the k best of transformed queries in the lists named, none of list -1.

        Of one query the first lists are scanned, as many as the parameters tell.
        """
        score_QK = np.empty((len(query_QD), k), dtype=np.float32)
        found_QK = np.empty((len(query_QD), k), dtype=np.int64)
        self.lists.search_preassigned_c(
            len(query_QD),
            faiss.swig_ptr(query_QD),
            k,
            faiss.swig_ptr(list_QP),
            faiss.swig_ptr(distance_QP),
            faiss.swig_ptr(score_QK),
            faiss.swig_ptr(found_QK),
            False,
            params,
        )
        return found_QK


@lru_cache(maxsize=256)
def probing(kind: FileKind, probes: int) -> Any:
    """Return the parameters of a search; they are only read, so threads may share them."""
    scanning = scanning_of(kind, probes)
    library: Any = faiss  # its stubs lack these
    if kind == "ivf_flat":
        return scanning
    return library.SearchParametersPreTransform(index_params=scanning)


@lru_cache(maxsize=1_024)
def scanning_of(kind: FileKind, probes: int) -> Any:
    """Return the parameters of the lists alone."""
    library: Any = faiss  # its stubs lack these
    if kind == "ivf_rabitq":
        return library.IVFRaBitQSearchParameters(nprobe=probes, qb=8)
    return library.SearchParametersIVF(nprobe=probes)
