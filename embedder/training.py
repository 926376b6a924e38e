"""Training: from the lake and the labels of a workspace to a model folder.

The order-free twin and a sequence model are both trained; the latter is shipped only where it beats
its twin on held-out users beyond chance. Block weights are learned on the same held-out users.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from embedder.audit import FieldFinding, audit_fields
from embedder.composing import fit_composer
from embedder.composite import Composer
from embedder.config import PLANS, BackboneName, EmbedderConfig, Preset, TrainingPlan
from embedder.devices import deterministic, pick_device
from embedder.featurizer import ALWAYS, EncodedEvents, Featurizer, fit_featurizer
from embedder.fitting import FittedNetwork, Progress, fit_network
from embedder.model_files import read_manifest, write_model
from embedder.objectives import Gains, Objective, behavior_objective, conduct_objective
from embedder.opinion_fitting import Lesson, describe_opinion, fit_opinion
from embedder.parts import Parts
from embedder.profiles import (
    Floats,
    ProfileModel,
    event_chunks,
    fit_profiles,
    fit_rotation,
    profile_slots,
    rows_of_users,
)
from embedder.purposes import fit_purposes
from embedder.selection import Behind, choose_network
from embedder.sentences import fit_sentences
from embedder.slices import drawn
from embedder.summary import fit_summarizer
from embedder.text import TextModel, fit_text
from embedder.training_data import Gathered, gather
from embedder.training_set import TrainingSet
from embedder.weighting import learn_field_weights
from embedder.wording import worded_columns
from store.config import SchemaConfig
from store.database import Database
from store.labels import LabelStore
from store.lake import EventLake
from store.roles import infer_schema
from store.schema import EventSchema, Role
from store.sequences import Int64s, SequenceBatch
from store.workspace import Workspace

VALIDATION_SHARE, VALIDATION_MAX, LABELLED_VALIDATION_MAX = 0.1, 2000, 1000
HALVES_MIN, TEXT_USERS = 4, 4000


class MakeObjective(Protocol):
    """Makes an objective with fresh heads."""

    def __call__(
        self, data: TrainingSet, plan: TrainingPlan, device: torch.device, *, dim: int
    ) -> Objective:
        """Return the objective."""


@dataclass(frozen=True)
class TrainReport:
    """What a training made and measured."""

    space_id: str
    model_dir: Path
    manifest: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return what the command line prints."""
        keys = (
            "as_of",
            "preset",
            "seed",
            "num_users",
            "num_events",
            "seconds",
            "metrics",
            "field_weights",
            "audit",
        )
        return {"space_id": self.space_id, **{key: self.manifest[key] for key in keys}}


def train(
    workspace: Workspace,
    *,
    as_of: datetime,
    preset: Preset,
    seed: int,
    config: EmbedderConfig,
    schema_config: SchemaConfig,
    plan: TrainingPlan | None = None,
    models_dir: Path | None = None,
    now: datetime | None = None,
    progress: Progress = lambda what, done, total: None,
) -> TrainReport:
    """Train on what was known at a time and write the model.

    Args:
        workspace: Where events and labels are.
        as_of: Events and labels at or after it are not seen.
        preset: Sizes and length of the training.
        seed: Of every random choice.
        config: Of the vector.
        schema_config: Roles of columns.
        plan: Sizes and length in place of the preset's; the manifest has it.
        models_dir: Where to write; the workspace's models if not given.
        now: The time that the manifest gives; the clock's if not given.
        progress: Told what is done, how far, of how much.

    Raises:
        NotEnoughData: If there is too little to learn from.
        LakeEmpty: If no event is visible.
    """
    begun, plan = monotonic(), plan or PLANS[preset]
    lake = EventLake(workspace)
    view = LabelStore(Database(workspace.ops_url)).as_of(as_of)
    schema = infer_schema(lake, as_of=as_of, config=schema_config, cutoffs=view.cutoffs())
    progress("read events", 0, 1)
    gathered = gather(
        lake,
        view,
        as_of=as_of,
        config=config,
        columns=[column.name for column in schema.columns],
        seed=seed,
    )
    with deterministic(config.threads):
        trained = fit_all(gathered, schema, config, plan, seed=seed, progress=progress)
    about = {
        "created_at": (now or datetime.now(UTC)).isoformat(),
        "as_of": as_of.isoformat(),
        "preset": preset,
        "seed": seed,
        "seconds": round(monotonic() - begun, 1),
        "schema": schema.to_dict(),
        "holdout_share": config.holdout_share,
        "config": config.model_dump(),
        "plan": plan.model_dump(),
        **describe_outcome(gathered, trained),
    }
    folder = write_model(
        models_dir or workspace.models_dir, trained.parts, trained.composer, about=about
    )
    manifest = read_manifest(folder)
    return TrainReport(manifest["space_id"], folder, manifest)


@dataclass(frozen=True)
class Trained:
    """The outcome of fitting, before it is written."""

    parts: Parts
    composer: Composer
    audit: tuple[FieldFinding, ...]
    field_weights: dict[str, float]
    metrics: dict[str, Any]


def describe_outcome(gathered: Gathered, trained: Trained) -> dict[str, Any]:
    """Return what the manifest tells of the data, the figures and the libraries."""
    return {
        "num_users": gathered.batch.num_users,
        "num_events": len(gathered.batch.ts_us),
        "num_violators": int((gathered.labels.label == 1).sum()),
        "audit": [finding.to_dict() for finding in trained.audit],
        "field_weights": trained.field_weights,
        "metrics": trained.metrics,
        "versions": {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def fit_all(
    gathered: Gathered,
    schema: EventSchema,
    config: EmbedderConfig,
    plan: TrainingPlan,
    *,
    seed: int,
    progress: Progress,
) -> Trained:
    """Fit fields, profiles, both networks, the choice between them and the block weights."""
    batch, device = gathered.batch, pick_device("auto")
    rng = np.random.default_rng([seed, 1])
    audit = audit_fields(batch, schema, config.featurizer)
    left_out = [finding.name for finding in audit if finding.left_out]
    featurizer = fit_featurizer(batch, schema, config.featurizer, left_out=left_out)
    events = featurizer.encode(batch, counted_before_us=ALWAYS)
    progress("learn field weights", 0, 1)
    profiles, field_weights = fit_field_profiles(featurizer, events, config, rng)
    data = training_set(gathered, featurizer, events, rng)
    learner = Learner(data, seed, device, progress)
    behavior, figures = learner.best("behavior", behavior_objective, plan, dim=config.dim_behavior)
    metrics: dict[str, Any] = {"behavior": figures}
    conduct, opinion = None, None
    if data.supervised:
        told, metrics["conduct"] = learner.best(
            "conduct", conduct_objective, plan.conduct, dim=config.dim_conduct
        )
        progress("learn opinion", 0, 1)
        head = told.heads.get_submodule("violator")
        assert isinstance(head, nn.Linear)
        summarizer = fit_summarizer(featurizer, profiles.idf_V)
        strings = worded_columns(schema)
        folder = config.text_model
        sentences = fit_sentences(batch, strings, folder) if folder else None
        lesson = Lesson(data, batch, strings, summarizer, sentences, seed)
        opinion = fit_opinion(lesson, told.network, head, device)
        metrics["opinion"] = describe_opinion(opinion)
        conduct = told.network
    text = fit_text_part(batch, schema, config, rng)
    parts = Parts(featurizer, profiles, behavior.network, conduct, opinion, text)
    progress("weigh blocks", 0, 1)
    composer = fit_composer(parts, batch, data, config, device, rng)
    purposes = fit_purposes(parts, batch, data, composer.blocks, device, rng)
    composer = replace(composer, purposes=purposes)
    metrics["block_weights"] = {block.name: round(block.weight, 4) for block in composer.blocks}
    metrics["purpose_weights"] = {
        purpose: {name: round(weight, 4) for name, weight in weights.items()}
        for purpose, weights in purposes.items()
    }
    return Trained(parts, composer, audit, field_weights, metrics)


@dataclass(frozen=True)
class Learner:
    """Trains the backbones of a plan for an objective and keeps the better one."""

    data: TrainingSet
    seed: int
    device: torch.device
    progress: Progress

    def best(
        self, role: str, make: MakeObjective, plan: TrainingPlan, *, dim: int
    ) -> tuple[FittedNetwork, dict[str, Any]]:
        """Return the shipped network and the figures of all on held-out users."""
        twin = self.fit(role, plan.backbones[0], make, plan, dim)
        metrics: dict[str, Any] = {twin.backbone: describe_fit(twin)}
        shipped = twin
        for name in plan.backbones[1:]:
            behind = Behind(twin.looks, self.seed)
            sequence = self.fit(role, name, make, plan, dim, lost=behind)
            choice = choose_network(twin, sequence, seed=self.seed)
            metrics[name] = describe_fit(sequence)
            metrics[f"{name}_over_{twin.backbone}"] = list(choice.gain)
            shipped = choice.shipped
        metrics |= {"num_queries": len(twin.gains_Q), "shipped": shipped.backbone}
        return shipped, metrics

    def fit(
        self,
        role: str,
        backbone: BackboneName,
        make: MakeObjective,
        plan: TrainingPlan,
        dim: int,
        *,
        lost: Callable[[int, Gains], bool] = lambda look, gains: False,
    ) -> FittedNetwork:
        """Train one backbone from its own draw of weights."""
        torch.manual_seed(self.seed)
        objective = make(self.data, plan, self.device, dim=dim)
        return fit_network(
            backbone,
            objective,
            plan,
            num_slots=self.data.featurizer.num_slots,
            dim=dim,
            seed=self.seed,
            device=self.device,
            progress=lambda done, total: self.progress(f"train {role}, {backbone}", done, total),
            lost=lost,
        )


def describe_fit(fitted: FittedNetwork) -> dict[str, Any]:
    """Return what the manifest tells of a trained network."""
    return {"steps": fitted.steps, "mean_gain": round(fitted.score, 4)}


def fit_field_profiles(
    featurizer: Featurizer, events: EncodedEvents, config: EmbedderConfig, rng: np.random.Generator
) -> tuple[ProfileModel, dict[str, float]]:
    """Fit frequencies, learn the field weights, then the rotation for these weights."""
    profiles = fit_profiles(featurizer, events, dim_target=config.dim_target)
    profiles, field_weights = learn_field_weights(featurizer, events, profiles, rng)

    def histograms() -> Iterator[Floats]:
        for users in event_chunks(events.offsets):
            yield chunk_histograms(featurizer, events, profiles, users)

    return fit_rotation(histograms, profiles, dim=config.dim_statistics), field_weights


def chunk_histograms(
    featurizer: Featurizer, events: EncodedEvents, profiles: ProfileModel, users: Int64s
) -> Floats:
    """Return the histograms of consecutive users."""
    rows, user_E = rows_of_users(events.offsets, users)
    slots = profile_slots(featurizer, events, rows, events.offsets[users][user_E])
    return profiles.histograms(slots, user_E, len(users))


def training_set(
    gathered: Gathered,
    featurizer: Featurizer,
    events: EncodedEvents,
    rng: np.random.Generator,
) -> TrainingSet:
    """Return what the networks train on; a tenth of the users is held out for validation."""
    size, labels = gathered.batch.num_events, gathered.labels
    validation = rng.random(len(size)) < VALIDATION_SHARE
    told = ~gathered.held_out & ~validation
    halved = np.flatnonzero(validation & (size >= HALVES_MIN))
    labelled = np.flatnonzero(validation & ~gathered.held_out & (labels.label >= 0))
    return TrainingSet(
        featurizer,
        events,
        np.flatnonzero((size >= 2) & ~validation),
        np.flatnonzero(told & (labels.label == 1)),
        np.flatnonzero(told & (labels.label == 0)),
        labels.kind,
        drawn(halved, VALIDATION_MAX, rng),
        drawn(labelled, LABELLED_VALIDATION_MAX, rng),
    )


def fit_text_part(
    batch: SequenceBatch, schema: EventSchema, config: EmbedderConfig, rng: np.random.Generator
) -> TextModel | None:
    """Fit the text block where there are text columns and a sentence model is set."""
    columns = schema.with_role(Role.TEXT)
    if not columns or not config.text_model:
        return None
    users = np.sort(rng.choice(batch.num_users, min(TEXT_USERS, batch.num_users), replace=False))
    return fit_text(batch.take(users), columns, config.text_model, dim=config.dim_text)
