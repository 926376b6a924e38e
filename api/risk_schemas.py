"""The wire: answers about risk. They are built by us, so tests check them, not every request."""

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from api.schemas import Meta


class RingBody(TypedDict):
    """The ring that a user belongs to, as the others in it tell."""

    id: int
    num_users: Annotated[int, Field(description="members, the user included")]
    num_violators: Annotated[
        int, Field(description="known violators among the others; the own label never counts")
    ]
    violator_rate_lower: Annotated[
        float, Field(description="lower bound of the share of violators, by the others alone")
    ]
    cohesion: Annotated[float, Field(description="mean similarity within the ring")]


class BandRuleBody(TypedDict):
    """What `likely` means for a user; `fitted_on` everyone also where a policy has too few users.

    `policy` is the one whose known violators are most like the user, where it has a precision of
    its own; `precision` holds at its lower 95 % bound; from `likely_log_odds` on one is likely.
    """

    policy: str | None
    precision: float
    likely_log_odds: Annotated[float | None, Field(description="null where nobody can be likely")]
    fitted_on: Literal["policy", "everyone"]


class RiskBody(TypedDict):
    """The risk of one user."""

    user_id: str
    status: Literal["ok", "insufficient_data", "unknown_user"]
    probability: Annotated[
        float | None, Field(description="calibrated; null where the data does not suffice")
    ]
    log_odds: Annotated[float | None, Field(description="the same, never saturated")]
    band: Annotated[
        Literal["likely", "possible", "unlikely", "insufficient_data"],
        Field(description="for people; a person decides"),
    ]
    interval: Annotated[
        tuple[float, float] | None, Field(description="low <= probability <= high, in [0, 1]")
    ]
    num_events: int
    ring: RingBody | None
    known_violator: Annotated[
        bool, Field(description="the user's own label; it never votes on the user's own risk")
    ]
    band_rule: Annotated[
        BandRuleBody | None,
        Field(description="what `likely` means here; null where the data does not suffice"),
    ]


class RiskAnswerBody(RiskBody):
    """The risk of one user, with what it rests on."""

    meta: Meta


class BatchRiskAnswer(TypedDict):
    """The risks of several users, in the order asked."""

    risks: list[RiskBody]
    meta: Meta


class FeaturesAnswer(TypedDict):
    """The neighbor features of several users, in the order asked."""

    features: Annotated[
        list[dict[str, Any]],
        Field(description="`user_id`, `found`, `num_events` and one number per feature"),
    ]
    meta: Meta
