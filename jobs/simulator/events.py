"""What users did, event by event, drawn for a whole chunk of users at once.

Shape key: `U` users of a chunk, `S` sessions of all of them, `E` events of all of them, `M` event
types. Times are microseconds since the first day of the records.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.simulator.cast import Cast
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.lifetimes import DAY_US, Lifetimes, draw_time_of_day
from jobs.simulator.styles import DEVICES, EVENT_TYPES, POLICIES, REGIONS, STYLES
from jobs.simulator.traits import NUM_FAVORITES, Traits, mix_weights
from jobs.simulator.world import NUM_TUTORIAL_PLACES, World

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

SECOND_US = 1_000_000
LATE_SHARE = 0.1  # of the events that a ban cut off: a slow queue records them nevertheless
GUIDED_SHARE = 0.35  # of all users begin in the tutorial
LINK_CHANCE = 0.02
JOIN_CHANCE = 0.7  # that the first event at a place is the join itself


@dataclass(frozen=True)
class Sessions:
    """Sessions of all users, in the order of users and time."""

    user_S: Int64s
    start_S: Int64s
    device_S: Int64s
    region_S: Int64s
    party_S: Int64s


@dataclass(frozen=True)
class Plot:
    """The frame of every event: whose, in which session, how manieth, and whether it shows."""

    user_E: Int64s
    session_E: Int64s
    opens_E: Flags  # first event of its session
    position_E: Int64s  # 0 for a user's first event
    shows_E: Flags  # shows the violation, rather than ordinary play


def draw_events(
    config: SimulatorConfig,
    world: World,
    cast: Cast,
    traits: Traits,
    lifetimes: Lifetimes,
    rng: np.random.Generator,
) -> tuple[Int64s, pa.Table]:
    """Draw the events of a chunk.

    Returns:
        The user row of every event, and the table of events without `user_id`; both by time.
    """
    sessions = _draw_sessions(config, traits, lifetimes, rng)
    plot = _draw_plot(config, cast, lifetimes, sessions, rng)
    ts_E = _draw_times(cast, traits, sessions, plot, rng)
    moves_E = plot.opens_E | (rng.random(len(ts_E)) < traits.hops_U[plot.user_E])
    place_E = _draw_places(world, cast, traits, plot, moves_E, rng)
    type_E = _draw_types(cast, traits, plot, moves_E, rng)
    details = _draw_details(cast, traits, plot, type_E, rng)
    late_E = ts_E >= lifetimes.stop_U[plot.user_E]
    recorded_E = lifetimes.is_banned_U[plot.user_E] & (rng.random(len(ts_E)) < LATE_SHARE)
    seen = np.flatnonzero((~late_E | recorded_E) & (ts_E < config.num_days * DAY_US))
    seen = seen[np.argsort(ts_E[seen], kind="stable")]
    columns = _columns(config, world, sessions, plot.session_E, ts_E, type_E, place_E, seen)
    columns |= {name: array.take(pa.array(seen)) for name, array in details.items()}
    return plot.user_E[seen], pa.table(columns)


def _draw_sessions(
    config: SimulatorConfig, traits: Traits, lifetimes: Lifetimes, rng: np.random.Generator
) -> Sessions:
    num_sessions_U = 1 + ((lifetimes.planned_U - 1) / traits.session_U).astype(np.int64)
    user_S = np.repeat(np.arange(len(num_sessions_U)), num_sessions_U)
    opens_S = np.diff(user_S, prepend=-1) > 0
    start_S = np.where(opens_S, lifetimes.start_U[user_S], 0)
    rest = np.flatnonzero(~opens_S)
    start_S[rest] = _session_starts(config, traits, lifetimes, user_S[rest], rng)
    order = np.lexsort((start_S, user_S))
    size = len(user_S)
    away_S = rng.random(size) < 0.02
    other_S = rng.random(size) < 0.15
    return Sessions(
        user_S=user_S,
        start_S=start_S[order],
        device_S=np.where(other_S, rng.integers(0, len(DEVICES), size), traits.device_U[user_S]),
        region_S=np.where(away_S, rng.integers(0, len(REGIONS), size), traits.region_U[user_S]),
        party_S=np.minimum(rng.poisson(traits.party_U[user_S]), 9),
    )


def _session_starts(
    config: SimulatorConfig,
    traits: Traits,
    lifetimes: Lifetimes,
    user_S: Int64s,
    rng: np.random.Generator,
) -> Int64s:
    """Spread sessions over the lifetime, at the user's hours and days where these fit in."""
    first_S, last_S = lifetimes.start_U[user_S], lifetimes.stop_U[user_S]
    anywhere_S = first_S + (rng.random(len(user_S)) * (last_S - first_S)).astype(np.int64)
    day_S = anywhere_S // DAY_US
    weekday_S = (day_S + config.starts_at.weekday()) % 7
    moved_S = (weekday_S < 5) & (rng.random(len(user_S)) < traits.weekend_U[user_S])
    day_S += np.where(moved_S, 5 - weekday_S + rng.integers(0, 2, len(user_S)), 0)
    liked_S = day_S * DAY_US + draw_time_of_day(traits, user_S, rng)
    fits_S = (liked_S >= first_S) & (liked_S < last_S)
    return np.where(fits_S, liked_S, anywhere_S)


def _draw_plot(
    config: SimulatorConfig,
    cast: Cast,
    lifetimes: Lifetimes,
    sessions: Sessions,
    rng: np.random.Generator,
) -> Plot:
    num_U = lifetimes.planned_U
    user_E = np.repeat(np.arange(len(num_U)), num_U)
    start_of_U = np.cumsum(num_U) - num_U
    position_E = np.arange(len(user_E)) - start_of_U[user_E]
    sessions_U = np.bincount(sessions.user_S, minlength=len(num_U))
    local_E = np.floor(rng.random(len(user_E)) * sessions_U[user_E]).astype(np.int64)
    local_E[start_of_U] = 0
    session_E = np.sort((np.cumsum(sessions_U) - sessions_U)[user_E] + local_E)
    opens_E = np.diff(session_E, prepend=-1) > 0
    blatancy_U = rng.beta(4 * config.blatancy, 4 * (1 - config.blatancy), len(num_U))
    onset_U = 0.3 + rng.exponential(1.2, len(num_U))
    chance_E = blatancy_U[user_E] * -np.expm1(-(position_E + 1) / onset_U[user_E])
    shows_E = cast.is_violator_U[user_E] & (rng.random(len(user_E)) < chance_E)
    return Plot(user_E, session_E, opens_E, position_E, shows_E)


def _draw_times(
    cast: Cast, traits: Traits, sessions: Sessions, plot: Plot, rng: np.random.Generator
) -> Int64s:
    """Add up log-normal gaps from the start of each session; clocks tick in seconds."""
    pace_E = traits.pace_U[plot.user_E].copy()
    spread_E = traits.cadence_U[plot.user_E].copy()
    showing = np.flatnonzero(plot.shows_E)
    policy = cast.policy_U[plot.user_E[showing]]
    pace_E[showing] += _log_of_policy("pace_factor")[policy]
    spread_E[showing] *= _of_policy("cadence")[policy]
    gap_E = np.exp(pace_E + spread_E * rng.standard_normal(len(pace_E)))
    gap_us_E = (np.minimum(gap_E, 7200.0) * SECOND_US).astype(np.int64)
    gap_us_E[plot.opens_E] = 0
    elapsed_E = np.cumsum(gap_us_E)
    before_S = np.zeros(len(sessions.user_S), dtype=np.int64)
    before_S[plot.session_E[plot.opens_E]] = elapsed_E[plot.opens_E]
    ts_E = sessions.start_S[plot.session_E] + elapsed_E - before_S[plot.session_E]
    return ts_E // SECOND_US * SECOND_US


def _draw_places(
    world: World,
    cast: Cast,
    traits: Traits,
    plot: Plot,
    moves_E: Flags,
    rng: np.random.Generator,
) -> Int64s:
    """Draw a place for each move; between moves users stay where they are."""
    moves = np.flatnonzero(moves_E)
    user = plot.user_E[moves]
    rank = (rng.random(len(moves)) ** 1.8 * NUM_FAVORITES).astype(np.int64)
    place = traits.favorites_UV[user, rank]
    explores = rng.random(len(moves)) < traits.explores_U[user]
    for row, style in enumerate(STYLES):
        chosen = np.flatnonzero(explores & (traits.style_U[user] == row))
        place[chosen] = world.draw(world.taste(style.genres), len(chosen), rng)
    luck = rng.random(len(moves))
    for row, policy in enumerate(POLICIES):
        hunts = plot.shows_E[moves] & (cast.policy_U[user] == row) & (luck < policy.hunts)
        chosen = np.flatnonzero(hunts)
        place[chosen] = world.draw(world.taste(policy.genres), len(chosen), rng)
    guided_U = rng.random(len(traits.style_U)) < GUIDED_SHARE
    guided = np.flatnonzero(guided_U[user] & (plot.position_E[moves] < 2))
    place[guided] = rng.integers(0, NUM_TUTORIAL_PLACES, len(guided))
    place_E: Int64s = place[np.cumsum(moves_E) - 1]
    return place_E


def _draw_types(
    cast: Cast, traits: Traits, plot: Plot, moves_E: Flags, rng: np.random.Generator
) -> Int64s:
    policy_mix = np.stack([mix_weights(policy.mix, 0.1) for policy in POLICIES])
    threshold_RM = np.cumsum(np.vstack([traits.mix_UM, policy_mix]), axis=1).astype(np.float32)
    num_users = len(traits.mix_UM)
    row_E = np.where(plot.shows_E, num_users + cast.policy_U[plot.user_E], plot.user_E)
    drawn_E = rng.random(len(row_E), dtype=np.float32)
    type_E = np.zeros(len(row_E), dtype=np.int64)
    for column in range(len(EVENT_TYPES) - 1):
        type_E += drawn_E > threshold_RM[row_E, column]
    arrives_E = moves_E & ~plot.shows_E & (rng.random(len(row_E)) < JOIN_CHANCE)
    type_E[arrives_E] = EVENT_TYPES.index("join")
    return type_E


def _draw_details(
    cast: Cast, traits: Traits, plot: Plot, type_E: Int64s, rng: np.random.Generator
) -> dict[str, pa.Array]:
    """Draw the attributes that only some event types have; elsewhere they are null."""
    size = len(type_E)
    policy_E = np.where(plot.shows_E, cast.policy_U[plot.user_E], -1)
    money_E = traits.money_U[plot.user_E] + np.append(_log_of_policy("amount_factor"), 0)[policy_E]
    amount_E = np.maximum(np.rint(np.exp(money_E + 0.8 * rng.standard_normal(size))), 1)
    typical_E = np.append(_log_of_policy("chat_length"), 0)[policy_E]
    typical_E = np.where(plot.shows_E, typical_E, traits.chat_U[plot.user_E])
    length_E = np.rint(np.exp(typical_E + 0.5 * rng.standard_normal(size))) + 1
    link_E = rng.random(size) < np.append(_of_policy("link_chance"), LINK_CHANCE)[policy_E]
    chats_E = type_E == EVENT_TYPES.index("chat")
    pays_E = np.isin(type_E, [EVENT_TYPES.index(name) for name in ("trade", "purchase", "gift")])
    return {
        "amount": pa.array(amount_E.astype(np.int32), mask=~pays_E),
        "message_length": pa.array(length_E.astype(np.int16), mask=~chats_E),
        "has_link": pa.array(link_E, mask=~chats_E),
    }


def _columns(
    config: SimulatorConfig,
    world: World,
    sessions: Sessions,
    session_E: Int64s,
    ts_E: Int64s,
    type_E: Int64s,
    place_E: Int64s,
    seen: Int64s,
) -> dict[str, pa.Array]:
    session = session_E[seen]
    first_us = int(config.starts_at.timestamp()) * SECOND_US
    clock = pa.array(ts_E[seen] + first_us).cast(pa.timestamp("us", tz="UTC"))
    return {
        "ts": clock,
        "event_type": _named(type_E[seen], EVENT_TYPES),
        "place": _named(place_E[seen], world.names),
        "device": _named(sessions.device_S[session], DEVICES),
        "region": _named(sessions.region_S[session], tuple(REGIONS)),
        "party_size": pa.array(sessions.party_S[session].astype(np.int8)),
    }


def _named(rows: Int64s, names: "list[str] | tuple[str, ...]") -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(rows.astype(np.int32)), pa.array(names))


def _of_policy(name: str) -> Floats:
    return np.array([getattr(policy, name) for policy in POLICIES], dtype=np.float64)


def _log_of_policy(name: str) -> Floats:
    return np.log(_of_policy(name))
