"""Trains models in a second that are only good for testing."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from embedder.config import EmbedderConfig, FeaturizerConfig, TrainingPlan
from embedder.devices import deterministic
from embedder.embedder import Embedder
from embedder.model_files import write_model
from embedder.supervision import held_out_of_supervision
from embedder.training import Trained, fit_all
from embedder.training_data import ALWAYS_KNOWN_US, Gathered, UserLabels
from store.schema import EventSchema
from store.sequences import Int64s, SequenceBatch

PLAN = TrainingPlan(
    steps=6,
    batch_users=32,
    labelled_users=32,
    slice_events=16,
    evaluate_every=3,
    patience=2,
    hidden=8,
    state=12,
)
CONFIG = EmbedderConfig(
    featurizer=FeaturizerConfig(hash_buckets=64),
    dim_behavior=8,
    dim_conduct=4,
    dim_target=64,
    dim_statistics=16,
    threads=1,
)
AS_OF = datetime(2025, 6, 1, tzinfo=UTC)


def gathered_of(batch: SequenceBatch, label: Int64s | None = None) -> Gathered:
    """Return a batch with labels (1, 0, -1) as a training would gather it."""
    known = np.full(batch.num_users, -1, dtype=np.int64) if label is None else label
    labels = UserLabels(
        known, np.where(known == 1, 0, -1), np.full(batch.num_users, ALWAYS_KNOWN_US)
    )
    ids = pa.array(batch.user_ids, pa.string())
    return Gathered(batch, labels, held_out_of_supervision(ids, share=CONFIG.holdout_share))


def fit_small(
    batch: SequenceBatch,
    schema: EventSchema,
    *,
    label: Int64s | None = None,
    seed: int = 0,
    config: EmbedderConfig = CONFIG,
    plan: TrainingPlan = PLAN,
) -> Trained:
    """Fit a model of a few dimensions in a few steps."""
    with deterministic(1):
        return fit_all(
            gathered_of(batch, label),
            schema,
            config,
            plan,
            seed=seed,
            progress=lambda what, done, total: None,
        )


def train_small(
    batch: SequenceBatch,
    schema: EventSchema,
    models_dir: Path,
    *,
    label: Int64s | None = None,
    seed: int = 0,
    config: EmbedderConfig = CONFIG,
    plan: TrainingPlan = PLAN,
) -> Path:
    """Fit a small model, write it, and return its folder."""
    trained = fit_small(batch, schema, label=label, seed=seed, config=config, plan=plan)
    about = {
        "schema": schema.to_dict(),
        "as_of": AS_OF.isoformat(),
        "created_at": AS_OF.isoformat(),
        "holdout_share": config.holdout_share,
        "metrics": trained.metrics,
    }
    return write_model(models_dir, trained.parts, trained.composer, about=about)


def small_embedder(
    batch: SequenceBatch,
    schema: EventSchema,
    models_dir: Path,
    *,
    label: Int64s | None = None,
    seed: int = 0,
) -> Embedder:
    """Train a small model and load it."""
    return Embedder.load(train_small(batch, schema, models_dir, label=label, seed=seed))
