"""What an evaluation measures, and how sure it wants to be."""

from typing import Annotated

from pydantic import BaseModel, Field

Share = Annotated[float, Field(gt=0, lt=1)]


class EvaluationConfig(BaseModel, frozen=True, extra="forbid"):
    """Parameters of `lookalike evaluate` and `lookalike audit`."""

    seed: int = Field(0, ge=0, description="seed of training, floors, samples and bootstrap")
    num_resamples: int = Field(500, ge=50, le=10_000, description="bootstrap resamples")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="coverage of every interval")
    min_positives: int = Field(
        20, ge=2, description="below so many positives, or queries with an answer, nothing is said"
    )
    prefixes: tuple[int, ...] = Field(
        (3, 5, 10, 20), min_length=1, description="first events of a user at which risk is measured"
    )
    base_rates: tuple[Share, ...] = Field(
        (0.01, 0.001), description="shares of violators that precision is also told for"
    )
    precision_targets: tuple[Share, ...] = Field(
        (0.5, 0.8, 0.9, 0.95, 0.99), description="precisions at which recall is measured"
    )
    false_positive_rates: tuple[Share, ...] = Field(
        (0.05, 0.01, 0.001, 0.0001),
        description="shares of benign users over a threshold at which recall is measured",
    )
    detection_users: int = Field(
        6_000, ge=100, description="early detection: most test users looked at after every event"
    )
    cut_share: float = Field(
        0.7, gt=0, lt=1, description="share of the known violators that training may learn from"
    )
    maturity_days: float = Field(
        30.0, ge=0, description="a benign user first seen later than this before the end is young"
    )
    half_min_events: int = Field(
        5, ge=1, description="split halves: least events on either side of the gap"
    )
    half_gap_hours: float = Field(24.0, ge=0, description="split halves: pause between the halves")
    group_min_events: int = Field(
        5, ge=1, description="groups: least events of a query or a candidate"
    )
    within: str | None = Field(
        None, description="groups: only candidates with the same dominant value of this column"
    )
    group_unverified: str | None = Field(
        None,
        description="groups: extra label column; users who share only its value are not ranked",
    )
    max_users: int = Field(
        20_000, ge=100, description="a task draws a sample of this many users where there are more"
    )
    max_events: int = Field(
        2_000, ge=10, description="only so many first events of a user are looked at"
    )
    acknowledged_leaks: tuple[str, ...] = Field(
        (),
        description="leak audit: columns, or COLUMN=VALUE, that are known to betray the label and "
        "are meant to; they warn and refuse no figures",
    )
