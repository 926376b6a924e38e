"""What a run of the benchmark measures, and on what."""

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, Field

from embedder.config import PLANS, Preset, TrainingPlan
from embedder.evaluation.config import EvaluationConfig
from index.risk.config import RiskConfig

QUICK_PLAN = TrainingPlan(
    steps=6,
    batch_users=32,
    labelled_users=32,
    slice_events=16,
    evaluate_every=3,
    patience=2,
    hidden=8,
    state=12,
)
QUICK_USERS, QUICK_EVENTS_PER_USER = 1_500, 15.0
QUICK_RISK = RiskConfig(labels_min=10)


class BenchmarkConfig(BaseModel, frozen=True, extra="forbid"):
    """Parameters of one run; written into its results.

    A column that a data set does not have is passed over there.
    """

    data: tuple[Path, ...] = Field((), description="folders of events and labels; else simulated")
    users: int = Field(10_000, ge=QUICK_USERS, description="simulated users, without data")
    cut: datetime | None = Field(None, description="methods learn from users of earlier times")
    until: datetime | None = Field(None, description="users first seen from then on do not exist")
    strict_type: str | None = Field(None, description="strict track: the only type of event")
    strict_columns: tuple[str, ...] = Field((), description="strict track: the columns kept")
    without: tuple[str, ...] = Field((), description="columns that a further track lacks, each")
    within: str | None = Field(None, description="groups: candidates share this column's value")
    unverified: str | None = Field(
        None, description="groups: label column; who shares it alone is not ranked"
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="each a training of its own")
    methods: tuple[str, ...] = Field((), description="names of candidates; all if empty")
    parts: bool = Field(False, description="what the behavior network learns from, part by part")
    preset: Preset = Field("fast", description="sizes and length of every training")
    quick: bool = Field(False, description="a small platform and a few steps, to try it out")

    @property
    def plan(self) -> TrainingPlan:
        """Sizes and length of every training, ours and the recipes'."""
        return QUICK_PLAN if self.quick else PLANS[self.preset]

    @property
    def evaluation(self) -> EvaluationConfig:
        """How tasks are made and intervals drawn; everything random there has the first seed."""
        resamples = 50 if self.quick else 500
        return EvaluationConfig(
            seed=self.seeds[0],
            num_resamples=resamples,
            within=self.within,
            group_unverified=self.unverified,
        )

    def identity(self) -> dict[str, object]:
        """Return what rows of one folder must agree on; seeds and methods may be added later."""
        return self.model_dump(mode="json", exclude={"seeds", "methods"}) | {
            "tasks_seed": self.seeds[0]
        }
