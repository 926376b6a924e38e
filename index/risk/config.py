"""Settings of the risk model and of the rings."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, Field

Precision = Annotated[float, Field(gt=0.5, lt=1)]


class RiskConfig(BaseModel, frozen=True, extra="forbid"):
    """How neighbors of equal age become a calibrated risk."""

    events_min: int = Field(2, ge=1, description="below so many events: insufficient_data")
    neighbors: int = Field(200, ge=10, le=2000, description="neighbors that vote")
    label_share: float = Field(
        0.3,
        gt=0,
        lt=1,
        description="share of a similarity that conduct and opinion, learned from labels, have "
        "among neighbors that vote; in a search they have [embedder] conduct_weight",
    )
    bandwidth_rank: int = Field(
        10, ge=1, description="distance to this neighbor is the Gaussian bandwidth"
    )
    prior_votes: float = Field(2.0, gt=0, description="strength of the Beta prior, in neighbors")
    gallery_violators_max: int = Field(
        20_000, ge=10, description="most known violators kept as references"
    )
    gallery_others_max: int = Field(
        20_000, ge=10, description="most other users kept as references"
    )
    labels_min: int = Field(
        30, ge=10, description="fewest held-out labels of each class to fit a risk model on"
    )
    folds: int = Field(5, ge=2, le=20, description="folds of users for out-of-fold calibration")
    likely_precision: float = Field(
        0.95, gt=0.5, lt=1, description='precision that "likely" must have, at its lower bound'
    )
    likely_events_min: int = Field(
        3,
        ge=1,
        description='below so many events a user is "possible" at most: so few tell little, and '
        "where no silence is told, one who goes on is judged like those who stopped there",
    )
    likely_precision_by_policy: Mapping[str, Precision] = Field(
        default_factory=dict,
        description='policy to the precision that "likely" must have for users most like its known '
        "violators, as in: spam = 0.99; other policies have likely_precision, and too few "
        "users of a policy are told in the answers",
    )
    possible_probability: float = Field(
        0.3, gt=0, lt=1, description='probability from which a user is "possible"'
    )
    interval: float = Field(0.9, gt=0.5, lt=1, description="coverage of the probability's interval")
    seed: int = Field(0, ge=0, description="seed of samples and folds")


class RingsConfig(BaseModel, frozen=True, extra="forbid"):
    """How groups of users are found who are closer to each other than chance."""

    events_min: int = Field(2, ge=1, description="users of fewer events are in no ring")
    neighbors: int = Field(10, ge=2, le=100, description="neighbors of a user in the graph")
    references: int = Field(
        4_000, ge=100, le=100_000, description="random users that tell how close strangers are"
    )
    chance_share: float = Field(
        0.25, gt=0, lt=1, description="share of users in rings whom chance may explain, at most"
    )
    size_min: int = Field(3, ge=2, description="fewest users of a ring")
    size_max: int = Field(1000, ge=3, description="a larger group is a crowd, not a ring")
    resolution: float = Field(
        1.0, gt=0, description="resolution of the communities per 100 linked users"
    )
    exact_users_max: int = Field(
        30_000, ge=100, description="above so many users the graph is built with an inverted file"
    )
    seed: int = Field(0, ge=0, description="seed of samples and communities")
