"""Who is who: the part that every user of a chunk plays, and whom they take after.

Shape key: `U` users of a chunk.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from jobs.simulator.config import SimulatorConfig
from jobs.simulator.styles import POLICIES

Int64s = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
NOBODY = -1


class Part(IntEnum):
    """What a user is in truth; the first three are violators."""

    LONER = 0
    RING_MEMBER = 1
    EVADER = 2
    NEWCOMER = 3
    HOUSEHOLD_MEMBER = 4
    ORDINARY = 5


@dataclass(frozen=True)
class Cast:
    """The parts of U users; -1 stands for none.

    Attributes:
        part_U: A `Part`.
        policy_U: Row in `POLICIES`, of violators. An evader's is settled with its predecessor.
        ring_U: Number of the ring within the chunk.
        household_U: Number of the household within the chunk.
        leader_U: Row of the user whose habits a ring or household member shares.
    """

    part_U: Int64s
    policy_U: Int64s
    ring_U: Int64s
    household_U: Int64s
    leader_U: Int64s

    @property
    def is_violator_U(self) -> Flags:
        """Whether the user breaks rules, caught or not."""
        return self.part_U <= Part.EVADER

    def rows(self, part: Part) -> Int64s:
        """Return the rows of the users who play this part, ascending."""
        return np.flatnonzero(self.part_U == part)


def make_cast(config: SimulatorConfig, size: int, rng: np.random.Generator) -> Cast:
    """Distribute the parts over the users of a chunk."""
    part_U = _parts(config, size)
    ring_U = np.full(size, NOBODY, dtype=np.int64)
    household_U = ring_U.copy()
    members = np.flatnonzero(part_U == Part.RING_MEMBER)
    ring_U[members] = _ring_numbers(len(members), config.ring_size_max, rng)
    homes = np.flatnonzero(part_U == Part.HOUSEHOLD_MEMBER)
    household_U[homes] = np.arange(len(homes)) // 2
    leader_U = np.where(ring_U >= 0, _leaders(ring_U), _leaders(household_U))
    policy_U = _policies(part_U, size, rng)
    policy_U = np.where(ring_U >= 0, policy_U[leader_U], policy_U)
    return Cast(part_U, policy_U, ring_U, household_U, leader_U)


def _parts(config: SimulatorConfig, size: int) -> Int64s:
    shares = (
        config.share_loners,
        config.share_ring_members,
        config.share_evaders,
        config.share_newcomers,
        config.share_household_members,
    )
    counts = [round(share * size) for share in shares]
    counts.append(size - sum(counts))
    return np.repeat(np.arange(len(counts), dtype=np.int64), counts)


def _ring_numbers(num_members: int, size_max: int, rng: np.random.Generator) -> Int64s:
    """Split members into consecutive rings of 4 to `size_max`; the last takes what is left."""
    sizes = rng.integers(4, size_max + 1, num_members // 4 + 1)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    starts = starts[starts <= max(num_members - 4, 0)]
    return np.searchsorted(starts, np.arange(num_members), side="right") - 1


def _leaders(group_U: Int64s) -> Int64s:
    """Return the row of the first member of each user's group; -1 without a group."""
    groups, first = np.unique(group_U, return_index=True)
    return np.where(group_U >= 0, first[np.searchsorted(groups, group_U)], NOBODY)


def _policies(part_U: Int64s, size: int, rng: np.random.Generator) -> Int64s:
    weight = np.array([policy.weight for policy in POLICIES], dtype=np.float64)
    drawn = rng.choice(len(POLICIES), size=size, p=weight / weight.sum())
    return np.where(part_U <= Part.EVADER, drawn, NOBODY)
