"""Our encoder as it is shipped, with parts off, and learned from altered data.

The risk model is fitted as a build would have it. Where a block is alone or left out, the vector is
composed anew from the same trained parts, and risk is fitted to that, without rings.

Shape key: `B` users of a batch, `D` dimensions of the composite vector.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.encoder.changes import PLAIN, Alteration, without_column
from benchmarks.encoder.config import QUICK_RISK
from benchmarks.encoder.downstream import to_probability, unit
from benchmarks.encoder.methods import Fitted, Judge, Ranker, Unanswerable
from benchmarks.encoder.studies import Study
from benchmarks.encoder.tasks import RetrievalTask, RiskTask
from benchmarks.filling import Filled
from embedder.composite import Block, Composer, lay_out
from embedder.config import EmbedderConfig, TrainingPlan
from embedder.devices import deterministic
from embedder.embedder import Embedder
from embedder.evaluation.metrics import Floats
from embedder.evaluation.ranking import Rows
from embedder.model_files import StoredModel, read_model, write_model
from embedder.opinion import OPINION
from embedder.training import describe_outcome, fit_all
from embedder.training_data import gather
from index.errors import TooFewLabels
from index.purposes import scale_of
from index.risk.fit import fit_risk
from index.risk.model import RiskModel
from index.vectors import Vectors
from jobs.evaluate import fit_trial_risk
from store.roles import infer_schema
from store.schema import EventSchema
from store.sequences import SequenceBatch

CUT_DIMS = (16, 32, 64, 128, 256)
WHITENING_FLOOR = 1e-3  # least variance of a direction, as a share of the greatest
KNN, OPINION_VOTE = "knn_log_odds", "opinion_log_odds"


@dataclass(frozen=True)
class Variant:
    """A training of ours: what is other than as shipped.

    Attributes:
        name: Of the candidate.
        alteration: Of the data.
        config: Changes the settings of the encoder.
        plan: Changes the length of the training.
        in_parts: Whether the parts of the vector are measured too.
    """

    name: str
    alteration: Alteration = PLAIN
    config: Callable[[EmbedderConfig], EmbedderConfig] = lambda config: config
    plan: Callable[[TrainingPlan], TrainingPlan] = lambda plan: plan
    in_parts: bool = False


def fit_ours(study: Study, *, seed: int, variant: Variant) -> Fitted:
    """Train a variant on the learned users."""
    ours = Ours(study, variant, seed=seed)
    judges: dict[str, Judge] = {variant.name: ours.judge}
    rankers: dict[str, Ranker] = {
        variant.name: ours.rank,
        f"{variant.name}.behavior_alone": ours.behavior_alone(),
    }
    if variant.in_parts and seed == study.config.seed:
        judges |= ours.judges_of_parts()
        rankers |= ours.rankers_of_parts()
    return Fitted(judges, rankers)


def fit_without_target(study: Study, *, seed: int) -> Fitted:
    """Train with the target's column empty; which column that is, the study knows."""
    target = study.schema.target
    if target is None:
        raise Unanswerable("no column is the target")
    alteration = Alteration("without_target", without_column(target))
    return fit_ours(study, seed=seed, variant=Variant("ours_without_target", alteration))


class Ours:
    """A trained encoder, and the risk models fitted to it when they are asked for."""

    def __init__(self, study: Study, variant: Variant, *, seed: int) -> None:
        self._study, self._variant, self._seed = study, variant, seed
        self._filled = study.altered(variant.alteration, seed=seed)
        settings = self._filled.settings
        self._settings = settings.model_copy(update={"risk": QUICK_RISK} if study.quick else {})
        self._model = train_model(
            self._filled,
            variant.config(settings.embedder),
            variant.plan(study.plan),
            seed=seed,
            now=study.now,
            models_dir=study.scratch / "models",
        )
        self._embedder = embedder_of(self._model)
        self._risk: RiskModel | TooFewLabels | None = None
        self._seen: tuple[str, list[Vectors]] = "", []

    def judge(self, task: RiskTask) -> Floats:
        """Return the risk of each user, as a build has it; without rings if anything is altered."""
        whole = self._variant.in_parts
        risk = self._whole_risk() if whole else self._risk_without_rings
        return self._assess(self._embedder, risk, task)

    @cached_property
    def _risk_without_rings(self) -> RiskModel:
        return self._fit_without_rings(self._embedder)

    def rank(self, task: RetrievalTask) -> list[Vectors]:
        """Return the composite vectors; those of the latest task are kept."""
        if self._seen[0] != task.name:
            sides = (task.question.query, task.question.gallery)
            self._seen = task.name, [self._embedder.embed(self._alter(side)) for side in sides]
        return self._seen[1]

    def behavior_alone(self) -> Ranker:
        """Return the block that the behavior network learns, in which its parts show."""
        return self._some([block for block in self._embedder.blocks if block.name == "behavior"])

    def judges_of_parts(self) -> dict[str, Judge]:
        """Return the votes of the stack alone, and risk by some of the blocks."""
        judges: dict[str, Judge] = {"ours.knn": self._voting(KNN)}
        if OPINION in self._block_names:
            judges["ours.opinion_vote"] = self._voting(OPINION_VOTE)
        for name in self._block_names:
            others = [other for other in self._block_names if other != name]
            judges[f"ours.{name}_alone"] = self._by_blocks([name])
            judges[f"ours.without_{name}"] = self._by_blocks(others)
        return judges

    def rankers_of_parts(self) -> dict[str, Ranker]:
        """Return the vector as purposes weigh it, slices of it, cut vectors, and whitened ones."""
        blocks = self._embedder.blocks
        rankers: dict[str, Ranker] = {"ours.whitened": self._whitened()}
        for purpose, weights in self._embedder.purposes.items():
            rankers[f"ours.{purpose}"] = self._weighed(scale_of(blocks, weights))
        for block in blocks:
            others = [other for other in blocks if other != block]
            rankers[f"ours.{block.name}_alone"] = self._some([block])
            rankers[f"ours.without_{block.name}"] = self._some(others)
        for dim in CUT_DIMS:
            if dim < max(block.stop - block.start for block in blocks):
                rankers[f"ours.dims_{dim}"] = self._some([cut(block, dim) for block in blocks])
        (behavior,) = (block for block in blocks if block.name == "behavior")
        for dim in CUT_DIMS:
            if dim < behavior.stop - behavior.start:
                rankers[f"ours.behavior_alone_{dim}"] = self._some([cut(behavior, dim)])
        return rankers

    @property
    def _block_names(self) -> list[str]:
        return [block.name for block in self._embedder.blocks]

    def _alter(self, batch: SequenceBatch) -> SequenceBatch:
        rng = np.random.default_rng([self._seed, 37])
        return self._variant.alteration.change(batch, rng)

    def _whole_risk(self) -> RiskModel:
        if self._risk is None:
            filled = self._filled
            self._risk = fit_trial_risk(
                filled.workspace,
                filled.lake,
                filled.people,
                self._embedder,
                self._settings,
                _in_silence,
            )
        if isinstance(self._risk, TooFewLabels):
            raise Unanswerable(str(self._risk))
        return self._risk

    def _assess(self, embedder: Embedder, risk: RiskModel, task: RiskTask) -> Floats:
        batch = self._alter(task.tested)
        assessed = risk.assess(
            embedder.embed(batch), batch.num_events, own_ids=list(batch.user_ids)
        )
        return np.asarray(assessed.probability, dtype=np.float64)

    def _voting(self, feature: str) -> Judge:
        """Return one input of the stack as a probability."""

        def judge(task: RiskTask) -> Floats:
            risk, batch = self._whole_risk(), self._alter(task.tested)
            vectors, ids = self._embedder.embed(batch), list(batch.user_ids)
            features = risk.features(vectors, batch.num_events, own_ids=ids)
            return to_probability(features[:, risk.feature_names.index(feature)])

        return judge

    def _by_blocks(self, names: Sequence[str]) -> Judge:
        """Return the risk by a vector of some blocks; fitted once, at the first question."""
        fitted: list[tuple[Embedder, RiskModel]] = []

        def judge(task: RiskTask) -> Floats:
            if not fitted:
                composer = only(self._model.composer, names)
                embedder = embedder_of(replace(self._model, composer=composer))
                fitted.append((embedder, self._fit_without_rings(embedder)))
            return self._assess(*fitted[0], task)

        return judge

    def _fit_without_rings(self, embedder: Embedder) -> RiskModel:
        people = self._filled.people
        try:
            return fit_risk(
                self._filled.lake,
                people.labels,
                embedder,
                as_of=people.as_of,
                config=self._settings.risk,
                in_flight=False,  # first events of everybody are asked for, no looks in between
            )
        except TooFewLabels as error:
            raise Unanswerable(str(error)) from error

    def _some(self, blocks: Sequence[Block]) -> Ranker:
        def rank(task: RetrievalTask) -> list[Rows]:
            return [slices(rows, blocks) for rows in self.rank(task)]

        return rank

    def _weighed(self, scale_D: Vectors) -> Ranker:
        def rank(task: RetrievalTask) -> list[Rows]:
            return [unit(rows * np.sqrt(scale_D)) for rows in self.rank(task)]

        return rank

    def _whitened(self) -> Ranker:
        """Return vectors whitened by the spread of the learned users' (Su et al. 2021)."""
        fitted: list[Whitening] = []

        def rank(task: RetrievalTask) -> list[Rows]:
            if not fitted:
                learned = self._embedder.embed(self._alter(self._study.learners), as_newcomers=True)
                fitted.append(Whitening.fit(learned))
            return [fitted[0].rows(rows) for rows in self.rank(task)]

        return rank


@dataclass(frozen=True)
class Whitening:
    """Centre and rotation that give all directions the same spread."""

    mean_D: Vectors
    rotation_DD: Vectors

    @classmethod
    def fit(cls, vectors_BD: Vectors) -> "Whitening":
        """Measure the spread; directions with nearly none are not blown up without bound."""
        mean = vectors_BD.mean(axis=0)
        centred = (vectors_BD - mean).astype(np.float64)
        values, basis = np.linalg.eigh(centred.T @ centred / len(centred))
        bounded = np.maximum(values, WHITENING_FLOOR * values[-1])
        return cls(mean, (basis / np.sqrt(bounded)).astype(np.float32))

    def rows(self, vectors_BD: Vectors) -> Vectors:
        """Return whitened unit rows."""
        return unit((vectors_BD - self.mean_D) @ self.rotation_DD)


def train_model(
    filled: Filled,
    config: EmbedderConfig,
    plan: TrainingPlan,
    *,
    seed: int,
    now: datetime,
    models_dir: Path,
) -> StoredModel:
    """Train as `lookalike train` does, with a plan that may be no preset."""
    view = filled.people.labels
    schema = infer_schema(
        filled.lake, as_of=now, config=filled.settings.schema_, cutoffs=view.cutoffs()
    )
    columns = [column.name for column in schema.columns]
    gathered = gather(filled.lake, view, as_of=now, config=config, columns=columns, seed=seed)
    with deterministic(config.threads):
        trained = fit_all(gathered, schema, config, plan, seed=seed, progress=_in_silence)
    about = {
        "created_at": now.isoformat(),
        "as_of": now.isoformat(),
        "seed": seed,
        "schema": schema.to_dict(),
        "holdout_share": config.holdout_share,
        "config": config.model_dump(),
        "plan": plan.model_dump(),
        **describe_outcome(gathered, trained),
    }
    return read_model(write_model(models_dir, trained.parts, trained.composer, about=about))


def embedder_of(model: StoredModel) -> Embedder:
    """Return the model at work."""
    manifest = model.manifest
    return Embedder(
        model.parts,
        model.composer,
        space_id=manifest["space_id"],
        schema=EventSchema.from_dict(manifest["schema"]),
        as_of=datetime.fromisoformat(manifest["as_of"]),
        manifest=manifest,
    )


def only(composer: Composer, names: Sequence[str]) -> Composer:
    """Return a composer of some blocks, whose weights stand to each other as before."""
    dims = {block.name: block.stop - block.start for block in composer.blocks}
    weights = {
        block.name: block.weight if block.name in names else 0.0 for block in composer.blocks
    }
    return replace(composer, blocks=lay_out(dims, weights), purposes={})


def cut(block: Block, dim: int) -> Block:
    """Return the first dimensions of a block, at the weight of the whole."""
    return replace(block, stop=min(block.stop, block.start + dim))


def slices(vectors_BD: Vectors, blocks: Sequence[Block]) -> Vectors:
    """Return the vectors of some blocks, each of unit length times the root of its weight."""
    parts = [
        unit(vectors_BD[:, block.start : block.stop]) * np.float32(np.sqrt(block.weight))
        for block in blocks
    ]
    return unit(np.concatenate(parts, axis=1))


def _in_silence(what: str, done: int, total: int) -> None:
    """Draw nothing."""
