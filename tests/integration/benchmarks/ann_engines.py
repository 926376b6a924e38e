"""Engines that misbehave, for workers that are started for real."""

import os
import time
from pathlib import Path

import numpy as np

from benchmarks.ann.engines.engine import Flags, Ids, Params, Vectors


class ScanEngine:
    """An exact scan."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        np.save(folder / "vectors.npy", vectors_ND)

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        self._vectors_ND = np.load(folder / "vectors.npy", allow_pickle=False)

    def tune(self, effort: Params) -> None:
        """Nothing to tune."""

    def search(self, query_QD: Vectors, k: int) -> Ids:
        return np.argsort(-(query_QD @ self._vectors_ND.T), axis=1)[:, :k]

    def close(self) -> None:
        """Nothing was started."""


class HalfBlindEngine(ScanEngine):
    """Finds nothing for every other query, and says that it is sure of it."""

    def search(self, query_QD: Vectors, k: int) -> Ids:
        ids_QK = super().search(query_QD, k)
        ids_QK[query_QD[:, 0] > 0] = 0
        return ids_QK


class ChanceEngine(HalfBlindEngine):
    """Is blind in every second build."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        super().build(vectors_ND, flags_NF, folder, params, threads=threads)
        earlier = [path for path in folder.parent.iterdir() if path.is_dir() and path != folder]
        (folder / "blind.txt").write_text("yes" if len(earlier) % 2 else "no", encoding="utf-8")

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        super().load(folder, params, threads=threads)
        self._is_blind = (folder / "blind.txt").read_text(encoding="utf-8") == "yes"

    def search(self, query_QD: Vectors, k: int) -> Ids:
        return super().search(query_QD, k) if self._is_blind else self._seeing(query_QD, k)

    def _seeing(self, query_QD: Vectors, k: int) -> Ids:
        return ScanEngine.search(self, query_QD, k)


class CrashingEngine(ScanEngine):
    """Dies in a search, with last words."""

    def search(self, query_QD: Vectors, k: int) -> Ids:
        os.write(2, b"segmentation of the worst kind\n")
        os._exit(7)


class CrashingBuildEngine(ScanEngine):
    """Dies in its build."""

    def build(
        self, vectors_ND: Vectors, flags_NF: Flags, folder: Path, params: Params, *, threads: int
    ) -> None:
        os.abort()


class EndlessEngine(ScanEngine):
    """Never ends a search."""

    def search(self, query_QD: Vectors, k: int) -> Ids:
        while True:
            time.sleep(1)


class PrintingEngine(ScanEngine):
    """Prints where answers are expected."""

    def load(self, folder: Path, params: Params, *, threads: int) -> None:
        print('{"done": "nonsense"}')
        os.write(1, b'{"done": "nonsense"}\n')
        super().load(folder, params, threads=threads)
