"""When users come and go: first day, ban, and how much they do in between.

Shape key: `U` users of a chunk. Times are microseconds since the first day of the records.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jobs.simulator.cast import NOBODY, Cast, Part
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.styles import REGIONS
from jobs.simulator.traits import Traits

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

DAY_US = 86_400_000_000
HOUR_US = DAY_US // 24
EVENTS_MAX = 2_000
EVENTS_SPREAD = 1.25


@dataclass(frozen=True)
class Lifetimes:
    """When U users are active.

    Attributes:
        start_U: First event.
        stop_U: No event at or after this; the ban, of banned users.
        is_banned_U: Whether the user is banned, at `stop_U`, within the records.
        planned_U: Events the user would have made, ban or no ban.
    """

    start_U: Int64s
    stop_U: Int64s
    is_banned_U: Flags
    planned_U: Int64s


def draw_lifetimes(
    config: SimulatorConfig, cast: Cast, traits: Traits, rng: np.random.Generator
) -> Lifetimes:
    """Draw the lifetimes of all users but the evaders, who wait for a ban."""
    size, end = len(cast.part_U), config.num_days * DAY_US
    from_before_U = (cast.part_U >= Part.HOUSEHOLD_MEMBER) & (rng.random(size) < 0.4)
    arrival_U = np.where(
        from_before_U, rng.exponential(4.0, size), rng.random(size) * config.num_days
    )
    arrival_U = _together(arrival_U, cast, rng)
    first_day_U = np.minimum(arrival_U, config.num_days - 2).astype(np.int64)
    start_U = first_day_U * DAY_US + draw_time_of_day(traits, np.arange(size), rng)
    days_U = _days_active(cast, rng)
    caught_U = cast.is_violator_U & (rng.random(size) < config.share_caught)
    days_U = np.where(cast.is_violator_U & ~caught_U, days_U * 6, days_U)
    stop_U = start_U + (days_U * DAY_US).astype(np.int64)
    planned_U = _planned_events(config, cast, rng)
    return Lifetimes(start_U, np.minimum(stop_U, end), caught_U & (stop_U < end), planned_U)


def choose_predecessors(
    config: SimulatorConfig, cast: Cast, lifetimes: Lifetimes, rng: np.random.Generator
) -> Int64s:
    """Return for every evader the row of a banned user, int64; each has one successor at most.

    Only users who did something before their ban, early enough for a comeback, return. Where
    there are too few of them, the remaining evaders get -1.
    """
    latest = (config.num_days - 8) * DAY_US
    could = lifetimes.is_banned_U & (lifetimes.planned_U >= 6) & (lifetimes.stop_U < latest)
    banned = np.flatnonzero(could & (cast.part_U <= Part.RING_MEMBER))
    num_evaders = len(cast.rows(Part.EVADER))
    chosen = rng.permutation(banned)[:num_evaders]
    missing = np.full(num_evaders - len(chosen), NOBODY, dtype=np.int64)
    return np.concatenate([chosen, missing])


def return_evaders(
    config: SimulatorConfig,
    lifetimes: Lifetimes,
    traits: Traits,
    evaders: Int64s,
    predecessors: Int64s,
    rng: np.random.Generator,
) -> Lifetimes:
    """Return the lifetimes with evaders starting some days after the ban they evade."""
    size, end = len(evaders), config.num_days * DAY_US
    wait_us = ((1 + rng.exponential(3.0, size)) * DAY_US).astype(np.int64)
    back_us = np.minimum(lifetimes.stop_U[predecessors] + wait_us, end - 3 * DAY_US)
    start = back_us // DAY_US * DAY_US + DAY_US + draw_time_of_day(traits, evaders, rng)
    days = np.maximum(rng.lognormal(np.log(3.0), 1.2, size), 0.02)
    caught = rng.random(size) < config.share_evaders_caught
    stop = start + (np.where(caught, days, days * 4) * DAY_US).astype(np.int64)
    start_U, stop_U = lifetimes.start_U.copy(), lifetimes.stop_U.copy()
    is_banned_U = lifetimes.is_banned_U.copy()
    start_U[evaders], stop_U[evaders] = start, np.minimum(stop, end)
    is_banned_U[evaders] = caught & (stop < end)
    return Lifetimes(start_U, stop_U, is_banned_U, lifetimes.planned_U)


def draw_time_of_day(traits: Traits, users: Int64s, rng: np.random.Generator) -> Int64s:
    """Draw one time of day in UTC for each of `users`, microseconds below a day."""
    ahead = np.array([hours for _, hours in REGIONS.values()], dtype=np.float64)
    swing = rng.vonmises(0.0, traits.focus_U[users]) * 12 / np.pi
    local = traits.peak_U[users] + swing
    return (((local - ahead[traits.region_U[users]]) % 24) * HOUR_US).astype(np.int64) % DAY_US


def _together(arrival_U: Floats, cast: Cast, rng: np.random.Generator) -> Floats:
    """Let the members of a ring sign up within days of each other."""
    waves_U = arrival_U[cast.leader_U] + rng.exponential(1.5, len(arrival_U))
    return np.where(cast.ring_U >= 0, waves_U, arrival_U)


def _days_active(cast: Cast, rng: np.random.Generator) -> Floats:
    size = len(cast.part_U)
    innocent = rng.exponential(45.0, size) + 0.5
    violator = rng.lognormal(np.log(2.0), 1.4, size)
    newcomer = rng.lognormal(np.log(0.05), 1.0, size)
    days_U = np.where(cast.is_violator_U, violator, innocent)
    return np.maximum(np.where(cast.part_U == Part.NEWCOMER, newcomer, days_U), 0.01)


def _planned_events(config: SimulatorConfig, cast: Cast, rng: np.random.Generator) -> Int64s:
    """Draw heavy-tailed numbers of events, with the innocent making up the configured mean."""
    size = len(cast.part_U)
    violator = rng.lognormal(np.log(16.0), 1.0, size)
    newcomer = rng.integers(2, 10, size).astype(np.float64)
    few_U = cast.is_violator_U | (cast.part_U == Part.NEWCOMER)
    drawn_U = np.where(cast.is_violator_U, violator, newcomer)
    left = config.events_per_user * size - drawn_U[few_U].sum()
    mean = max(left / max(int((~few_U).sum()), 1), 3.0)
    innocent = rng.lognormal(np.log(mean) - EVENTS_SPREAD**2 / 2, EVENTS_SPREAD, size)
    return np.clip(np.where(few_U, drawn_U, innocent), 2, EVENTS_MAX).astype(np.int64)
