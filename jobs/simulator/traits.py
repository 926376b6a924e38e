"""The habits of users: when, where, how fast and at what they play, and who shares them.

Shape key: `U` users of a chunk, `C` children (users who take after another), `V` favorite places
of a user, `M` event types.
"""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from jobs.simulator.cast import Cast, Part
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.styles import DEVICE_WEIGHTS, EVENT_TYPES, REGIONS, STYLES
from jobs.simulator.world import NUM_TUTORIAL_PLACES, World

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

NUM_FAVORITES = 10


@dataclass(frozen=True)
class Traits:
    """Habits of U users.

    Attributes:
        style_U: Row in `STYLES`.
        region_U: Row in `REGIONS`, which sets the time zone.
        device_U: Row in `DEVICES` of the main device.
        peak_U: Favorite local hour, 0 to 24.
        focus_U: How much play gathers around that hour (von Mises concentration).
        weekend_U: Chance that a session moves to the weekend.
        pace_U: Log of the median gap in seconds within a session.
        cadence_U: Spread of that log gap.
        session_U: Mean events of a session.
        explores_U: Chance that a new place is none of the favorites.
        hops_U: Chance to change the place before an event.
        party_U: Mean number of friends along.
        money_U: Log of the median amount in trades and purchases.
        chat_U: Log of the median message length.
        mix_UM: Share of every event type, rows sum to 1.
        favorites_UV: Rows of favorite places, most visited first.
    """

    style_U: Int64s
    region_U: Int64s
    device_U: Int64s
    peak_U: Floats
    focus_U: Floats
    weekend_U: Floats
    pace_U: Floats
    cadence_U: Floats
    session_U: Floats
    explores_U: Floats
    hops_U: Floats
    party_U: Floats
    money_U: Floats
    chat_U: Floats
    mix_UM: Floats
    favorites_UV: Int64s

    def replace_rows(self, rows: Int64s, other: "Traits") -> "Traits":
        """Return these traits with `rows` taken from `other`, whose users are those rows."""
        merged = {field.name: getattr(self, field.name).copy() for field in fields(self)}
        for name, values in merged.items():
            values[rows] = getattr(other, name)
        return Traits(**merged)

    def rows(self, rows: Int64s) -> "Traits":
        """Return the traits of some users."""
        return Traits(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Likeness:
    """How much children take after their parents; the rest is their own."""

    places: float
    hours: float
    pace: float
    device: float
    region: float
    mix: float


RING = Likeness(places=0.6, hours=0.7, pace=0.2, device=0.5, region=0.95, mix=0.2)
HOUSEHOLD = Likeness(places=0.5, hours=0.8, pace=0.4, device=0.7, region=1.0, mix=0.5)


def draw_traits(world: World, cast: Cast, rng: np.random.Generator) -> Traits:
    """Draw the habits of users who share them with nobody."""
    size = len(cast.part_U)
    style_U = _choose([style.weight for style in STYLES], size, rng)
    style_U[cast.rows(Part.NEWCOMER)] = 0
    return Traits(
        style_U=style_U,
        region_U=_choose([share for share, _ in REGIONS.values()], size, rng),
        device_U=_choose(DEVICE_WEIGHTS, size, rng),
        peak_U=rng.normal(18.5, 3.5, size) % 24,
        focus_U=rng.gamma(4.0, 0.5, size),
        weekend_U=rng.beta(1.5, 4.0, size),
        pace_U=np.log(_of_style("pace_seconds")[style_U]) + rng.normal(0, 0.5, size),
        cadence_U=rng.gamma(20.0, 0.05, size),
        session_U=_of_style("session_events")[style_U] * rng.lognormal(0, 0.4, size),
        explores_U=np.clip(_of_style("explores")[style_U] * rng.lognormal(0, 0.4, size), 0, 0.9),
        hops_U=np.clip(_of_style("hops")[style_U] * rng.lognormal(0, 0.4, size), 0.02, 0.9),
        party_U=rng.gamma(1.0, 1.0, size),
        money_U=rng.normal(4.0, 1.0, size),
        chat_U=rng.normal(3.2, 0.4, size),
        mix_UM=_jitter(_style_mix()[style_U], 0.6, rng),
        favorites_UV=_favorites(world, style_U, rng),
    )


def make_newcomers(traits: Traits, rows: Int64s, rng: np.random.Generator) -> Traits:
    """Return the traits with these users sent to the tutorial: all of them look the same."""
    own = traits.rows(rows)
    changed = Traits(
        **{field.name: getattr(own, field.name) for field in fields(own)}
        | {
            "explores_U": np.full(len(rows), 0.03),
            "favorites_UV": rng.integers(0, NUM_TUTORIAL_PLACES, own.favorites_UV.shape),
            "mix_UM": _jitter(np.tile(_style_mix()[0], (len(rows), 1)), 0.1, rng),
        }
    )
    return traits.replace_rows(rows, changed)


def inherit(
    traits: Traits, children: Int64s, parents: Int64s, like: Likeness, rng: np.random.Generator
) -> Traits:
    """Return the traits with those of `children` drawn near their parents'."""
    own, model, size = traits.rows(children), traits.rows(parents), len(children)

    def keep(name: str, chance: float) -> npt.NDArray[np.float64]:
        """Take the parent's value with this chance, else the own."""
        mine, theirs = getattr(own, name), getattr(model, name)
        kept: npt.NDArray[np.float64] = np.where(rng.random(mine.shape) < chance, theirs, mine)
        return kept

    def near(name: str, spread: float) -> Floats:
        """Move the parent's value by a normal step."""
        values: Floats = getattr(model, name) + rng.normal(0, spread, size)
        return values

    drawn = Traits(
        style_U=model.style_U,
        region_U=keep("region_U", like.region).astype(np.int64),
        device_U=keep("device_U", like.device).astype(np.int64),
        peak_U=near("peak_U", like.hours) % 24,
        focus_U=model.focus_U * rng.lognormal(0, 0.2, size),
        weekend_U=np.clip(near("weekend_U", 0.08), 0, 0.9),
        pace_U=near("pace_U", like.pace),
        cadence_U=model.cadence_U * rng.lognormal(0, like.pace / 3, size),
        session_U=model.session_U * rng.lognormal(0, like.pace / 2, size),
        explores_U=np.clip(near("explores_U", 0.05), 0.02, 0.9),
        hops_U=np.clip(near("hops_U", 0.05), 0.02, 0.9),
        party_U=np.abs(near("party_U", 0.4)),
        money_U=near("money_U", 0.5),
        chat_U=near("chat_U", 0.2),
        mix_UM=_jitter(model.mix_UM, like.mix, rng),
        favorites_UV=keep("favorites_UV", like.places).astype(np.int64),
    )
    return traits.replace_rows(children, drawn)


def evader_likeness(config: SimulatorConfig) -> Likeness:
    """Return how much an evader is still like the banned predecessor."""
    return Likeness(
        places=config.evader_kept_places,
        hours=1.2,
        pace=config.evader_pace_change,
        device=0.6,
        region=0.9,
        mix=0.4,
    )


def mix_weights(mix: dict[str, float], floor: float) -> Floats:
    """Return the shares of the event types, float64 of length M."""
    weight_M = np.array([mix.get(name, floor) for name in EVENT_TYPES])
    if "report_received" not in mix:
        weight_M[EVENT_TYPES.index("report_received")] = 0.05
    shares_M: Floats = weight_M / weight_M.sum()
    return shares_M


def _style_mix() -> Floats:
    return np.stack([mix_weights(style.mix, 0.3) for style in STYLES])


def _of_style(name: str) -> Floats:
    return np.array([getattr(style, name) for style in STYLES], dtype=np.float64)


def _choose(
    weights: "list[float] | tuple[float, ...]", size: int, rng: np.random.Generator
) -> Int64s:
    share = np.asarray(weights, dtype=np.float64)
    return rng.choice(len(share), size=size, p=share / share.sum()).astype(np.int64)


def _jitter(mix_UM: Floats, spread: float, rng: np.random.Generator) -> Floats:
    moved_UM = mix_UM * rng.lognormal(0, spread, mix_UM.shape)
    shares_UM: Floats = moved_UM / moved_UM.sum(axis=1, keepdims=True)
    return shares_UM


def _favorites(world: World, style_U: Int64s, rng: np.random.Generator) -> Int64s:
    favorites_UV = np.empty((len(style_U), NUM_FAVORITES), dtype=np.int64)
    for row, style in enumerate(STYLES):
        users = np.flatnonzero(style_U == row)
        drawn = world.draw(world.taste(style.genres), len(users) * NUM_FAVORITES, rng)
        favorites_UV[users] = drawn.reshape(len(users), NUM_FAVORITES)
    return favorites_UV
