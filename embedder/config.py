"""Configuration of the encoder and its training."""

from typing import Literal

from pydantic import BaseModel, Field

Preset = Literal["fast", "standard", "large"]
BackboneName = Literal["twin", "gru", "transformer"]

CONDUCT_STEPS_MAX = 180
BENIGN_MIN = 50  # of models that were trained before it could be set, too


class FeaturizerConfig(BaseModel, frozen=True, extra="forbid"):
    """How columns become slots of the embedding table."""

    vocabulary_max: int = Field(512, ge=8, description="a category with more values is hashed")
    vocabulary_min_users: int = Field(
        2, ge=1, description="users that must share a value before it gets a slot"
    )
    hash_buckets: int = Field(
        8192, ge=64, description="rows of the hashed embedding table per column"
    )
    number_knots: int = Field(16, ge=2, le=64, description="quantile knots of a number column")
    shared_share_min: float = Field(
        0.5,
        ge=0,
        le=1,
        description="field audit: least share of events whose value several users have",
    )


class EmbedderConfig(BaseModel, frozen=True, extra="forbid"):
    """The composite vector and how it is learned; the defaults hold across domains."""

    featurizer: FeaturizerConfig = Field(FeaturizerConfig(), description="how columns become slots")
    dim_behavior: int = Field(
        64, ge=4, le=512, description="dimensions of the learned behavior block"
    )
    dim_conduct: int = Field(
        32, ge=4, le=256, description="dimensions of the block learned from labels"
    )
    dim_target: int = Field(
        512, ge=64, le=2048, multiple_of=64, description="dimensions of the target sketch"
    )
    dim_statistics: int = Field(
        128, ge=4, le=512, description="most dimensions of the statistics block"
    )
    dim_text: int = Field(96, ge=4, le=1024, description="most dimensions of the text block")
    shrink_events: float = Field(
        1.0,
        ge=0,
        description="pseudo-events by which a short user is drawn to the population's mean",
    )
    holdout_share: float = Field(
        0.2, gt=0, lt=0.9, description="share of users whose labels only risk is fitted on"
    )
    benign_min: int = Field(
        BENIGN_MIN,
        ge=0,
        description="with fewer benign labels than this, everyone who is not a known violator "
        "counts as benign, to a training and to the risk on its model; with more, unlabelled users "
        "count for nothing; 0: they never do",
    )
    conduct_weight: float = Field(
        0.02,
        ge=0,
        le=1,
        description="share of the similarity that conduct and opinion have, when there are labels: "
        "little, since labels hardly tell users apart; risk weighs them anew; at 0 the vector has "
        "neither, and risk no opinion",
    )
    text_model: str = Field(
        "",
        description="folder of a vetted sentence-transformers model, for the text block and the "
        "opinion, which hears targets that are words, too; empty: neither",
    )
    max_training_events: int = Field(
        2_000_000, ge=1_000, description="events kept in memory while training"
    )
    threads: int = Field(2, ge=1, description="torch threads while training and embedding")


class LossConfig(BaseModel, frozen=True, extra="forbid"):
    """What the networks learn from beside their main task; the defaults hold across domains."""

    contrast_weight: float = Field(0.1, ge=0, description="of one-sided contrast between labels")
    matryoshka: bool = Field(True, description="whether leading dimensions must work alone")
    apart_share: float = Field(0.5, ge=0, le=1, description="share of pairs apart in time")


class TrainingPlan(BaseModel, frozen=True, extra="forbid"):
    """Sizes, length and losses of one training run, fixed by the preset."""

    steps: int = Field(description="most optimizer steps of the behavior network")
    batch_users: int = Field(description="users in a contrastive batch")
    labelled_users: int = Field(description="labelled prefixes in a batch")
    slice_events: int = Field(description="most events of a slice")
    evaluate_every: int = Field(description="steps between two looks at the validation users")
    patience: int = Field(description="looks without improvement before stopping")
    hidden: int = Field(description="width of the event layer")
    state: int = Field(description="width of the pooled state")
    layers: int = Field(2, ge=1, description="layers of a transformer")
    rate_top: float = Field(4e-3, gt=0, description="highest learning rate; less for wide networks")
    backbones: tuple[BackboneName, ...] = Field(
        ("twin", "gru"),
        min_length=1,
        max_length=2,
        description="one is shipped as it is; a second only where it beats the first beyond chance",
    )
    bfloat16: bool = Field(False, description="whether a GPU multiplies in bfloat16")
    losses: LossConfig = Field(LossConfig(), description="what is learned from")

    @property
    def conduct(self) -> "TrainingPlan":
        """The plan of the conduct network: never long, for labels are few and learned by heart."""
        return self.model_copy(
            update={
                "steps": min(self.steps, CONDUCT_STEPS_MAX),
                "evaluate_every": min(self.evaluate_every, CONDUCT_STEPS_MAX // 4),
            }
        )


PLANS: dict[Preset, TrainingPlan] = {
    "fast": TrainingPlan(
        steps=240,
        batch_users=192,
        labelled_users=192,
        slice_events=32,
        evaluate_every=60,
        patience=3,
        hidden=48,
        state=96,
    ),
    "standard": TrainingPlan(
        steps=800,
        batch_users=256,
        labelled_users=256,
        slice_events=48,
        evaluate_every=100,
        patience=4,
        hidden=64,
        state=128,
    ),
    "large": TrainingPlan(
        steps=3000,
        batch_users=512,
        labelled_users=512,
        slice_events=64,
        evaluate_every=250,
        patience=4,
        hidden=128,
        state=256,
        layers=4,
        rate_top=1e-3,
        backbones=("twin", "transformer"),
        bfloat16=True,
    ),
}
