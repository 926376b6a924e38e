"""The places of the platform, and how to draw what people visit.

Shape key: `P` places, `G` genres.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jobs.simulator.config import SimulatorConfig
from jobs.simulator.styles import GENRES

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

POPULARITY_EXPONENT = 0.9
NUM_TUTORIAL_PLACES = 3


@dataclass(frozen=True)
class World:
    """Places with a genre and a heavy-tailed popularity.

    Attributes:
        names: P opaque ids, which tell nothing of popularity or genre.
        genre_P: Row of the genre in `GENRES`; the first few places are the tutorial.
        popularity_P: Relative visits before anybody's taste.
    """

    names: list[str]
    genre_P: Int64s
    popularity_P: Floats

    def taste(self, genres: Mapping[str, float]) -> Floats:
        """Return the cumulative share of visits of a taste, float64 of length P."""
        factor_G = np.array([genres.get(name, 0.4) for name in GENRES])
        weight_P = self.popularity_P * factor_G[self.genre_P]
        cumulative_P: Floats = np.cumsum(weight_P) / weight_P.sum()
        return cumulative_P

    def draw(self, taste_P: Floats, size: int, rng: np.random.Generator) -> Int64s:
        """Draw rows of places of a taste, independently."""
        rows = np.searchsorted(taste_P, rng.random(size), side="right")
        return np.minimum(rows, len(taste_P) - 1).astype(np.int64)


def make_world(config: SimulatorConfig, rng: np.random.Generator) -> World:
    """Return the places of a platform of this size."""
    num_places = config.places
    genre_P = rng.integers(1, len(GENRES), num_places)
    genre_P[:NUM_TUTORIAL_PLACES] = 0
    rank_P = np.arange(1, num_places + 1) + 3.0
    popularity_P = rank_P**-POPULARITY_EXPONENT * rng.lognormal(0.0, 0.3, num_places)
    names = opaque_ids("p", np.arange(num_places), config.seed)
    return World(names, genre_P, popularity_P)


def opaque_ids(prefix: str, numbers: Int64s, seed: int) -> list[str]:
    """Return distinct ids for distinct numbers; their order and digits say nothing.

    The two multiplications by odd numbers and the shift are one-to-one on 48 bits.
    """
    mask = np.uint64((1 << 48) - 1)
    offset = np.random.default_rng([seed, 48]).integers(1 << 48)
    mixed = (numbers.astype(np.uint64) + np.uint64(offset)) * np.uint64(0x9E3779B97F4B) & mask
    mixed ^= mixed >> np.uint64(24)
    mixed = mixed * np.uint64(0xBF58476D1CE5) & mask
    return [f"{prefix}{number:012x}" for number in mixed.tolist()]
