"""What people do on the platform: play styles of the innocent, signatures of the violators.

Each violation has an innocent style that resembles it: traders trade like scammers, socializers
chat like spammers and harassers, competitors climb and are reported like cheaters.
"""

from dataclasses import dataclass

EVENT_TYPES = (
    "join",
    "leave",
    "chat",
    "trade",
    "friend_request",
    "purchase",
    "gift",
    "level_up",
    "build",
    "report_received",
    "invite",
)
GENRES = ("tutorial", "arena", "market", "hangout", "adventure", "sandbox", "racing", "puzzle")
DEVICES = ("phone", "desktop", "tablet", "console", "headset")
DEVICE_WEIGHTS = (0.5, 0.25, 0.1, 0.12, 0.03)
# region: (share of users, hours ahead of UTC)
REGIONS = {
    "north_america_east": (0.22, -5),
    "north_america_west": (0.13, -8),
    "south_america": (0.14, -3),
    "europe_west": (0.17, 1),
    "europe_east": (0.08, 3),
    "south_asia": (0.10, 5),
    "east_asia": (0.11, 9),
    "oceania": (0.05, 10),
}


@dataclass(frozen=True)
class PlayStyle:
    """How one kind of innocent user plays.

    Attributes:
        weight: Relative number of users.
        mix: Relative frequency of the event types that stand out; all others count 0.3.
        genres: How much more than others these genres attract.
        session_events: Mean events of a session.
        pace_seconds: Median gap between two events of a session.
        explores: Chance that a new place is none of the user's favorites.
        hops: Chance that an event is at another place than the one before.
    """

    name: str
    weight: float
    mix: dict[str, float]
    genres: dict[str, float]
    session_events: float
    pace_seconds: float
    explores: float
    hops: float


@dataclass(frozen=True)
class Policy:
    """What a violation looks like, in the events that show it.

    Attributes:
        mix: As in a play style; other event types count 0.1 here.
        genres: Where violators of this policy hunt.
        hunts: Chance that a showing event is at such a place, not at an own favorite.
        pace_factor: Gap of showing events relative to the user's own.
        cadence: Spread of the log gap, as a share of the innocent one; a bot's is small.
        amount_factor: Money moved, relative to the innocent.
        chat_length: Median characters of a message.
        link_chance: Chance that a message has a link; .02 for the innocent.
    """

    name: str
    weight: float
    mix: dict[str, float]
    genres: dict[str, float]
    hunts: float
    pace_factor: float
    cadence: float
    amount_factor: float
    chat_length: float
    link_chance: float


STYLES = (
    PlayStyle(
        "explorer", 3, {"join": 3, "leave": 2, "level_up": 2}, {"adventure": 5}, 7, 150, 0.6, 0.5
    ),
    PlayStyle(
        "loyalist", 3, {"join": 1.5, "level_up": 3, "chat": 2}, {"puzzle": 4}, 9, 110, 0.1, 0.12
    ),
    PlayStyle(
        "trader", 2, {"trade": 5, "friend_request": 1.5, "chat": 2}, {"market": 9}, 8, 70, 0.25, 0.3
    ),
    PlayStyle(
        "socializer",
        3,
        {"chat": 6, "friend_request": 2, "invite": 2, "report_received": 0.4},
        {"hangout": 9},
        11,
        40,
        0.2,
        0.2,
    ),
    PlayStyle(
        "competitor",
        3,
        {"level_up": 5, "chat": 1.5, "report_received": 0.6},
        {"arena": 8, "racing": 4},
        10,
        60,
        0.2,
        0.25,
    ),
    PlayStyle(
        "builder", 2, {"build": 6, "purchase": 1.5, "invite": 1}, {"sandbox": 9}, 12, 90, 0.1, 0.1
    ),
)
POLICIES = (
    Policy(
        "scam",
        3,
        {"trade": 4, "friend_request": 3, "chat": 3, "gift": 0.6},
        {"market": 6, "hangout": 3},
        0.4,
        0.8,
        1.0,
        2.5,
        45.0,
        0.25,
    ),
    Policy(
        "spam",
        3,
        {"chat": 6, "invite": 2, "join": 2, "friend_request": 1.5},
        {"hangout": 4, "market": 2, "arena": 2},
        0.6,
        0.45,
        0.35,
        1.0,
        60.0,
        0.4,
    ),
    Policy(
        "harassment",
        2,
        {"chat": 6, "report_received": 1.2, "friend_request": 1},
        {"hangout": 4, "arena": 3},
        0.2,
        0.8,
        1.0,
        1.0,
        18.0,
        0.03,
    ),
    Policy(
        "cheating",
        2,
        {"level_up": 6, "report_received": 0.9, "join": 1},
        {"arena": 8, "racing": 3},
        0.3,
        0.6,
        0.6,
        1.0,
        24.0,
        0.02,
    ),
)
