"""Published recipes, and networks that were never trained, as candidates.

As the papers have it, boosted trees judge risk from the vectors, a model for each number of events;
the supervised network says it itself.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.encoder.downstream import neighbor_judge, ranker, tree_judge
from benchmarks.encoder.methods import Fitted, Judge, Unanswerable
from benchmarks.encoder.studies import Study
from embedder.config import BackboneName
from embedder.evaluation.metrics import Floats
from embedder.evaluation.recipe_fitting import RecipeName, fit_recipe, untrained_vectors
from embedder.evaluation.recipes import RecipeData, prepare
from index.vectors import Vectors
from store.sequences import SequenceBatch

LABELS_MIN = 30

Encode = Callable[[SequenceBatch], Vectors]


def fit_published(study: Study, *, seed: int, recipe: RecipeName) -> Fitted:
    """Train a recipe on the learned users."""
    data = prepare_recipe(study, seed=seed)
    if recipe == "supervised" and min(len(data.violators), len(data.others)) < LABELS_MIN:
        raise Unanswerable("there are too few labels to learn from")
    config = study.learned.settings.embedder
    fitted = fit_recipe(recipe, data, study.plan, seed=seed, threads=config.threads)
    of_students = partial(fitted.vectors, counted=True)
    if recipe != "supervised":
        return tested_by(study, recipe, fitted.vectors, of_students=of_students, seed=seed)
    judges: dict[str, Judge] = {recipe: lambda task: fitted.probabilities(task.tested)}
    return Fitted(judges, {recipe: ranker(fitted.vectors)})


def tested_by(
    study: Study, name: str, of_newcomers: Encode, *, of_students: Encode, seed: int
) -> Fitted:
    """Return trees and neighbors that judge by unit vectors, and a ranker by their cosine.

    Trees learn from vectors of students who were counted before, as `of_students` reads them.
    """
    judges = {
        f"{name}.trees": tree_judge(study, of_newcomers, seed=seed, of_students=of_students),
        f"{name}.neighbors": neighbor_judge(study, of_newcomers),
    }
    return Fitted(judges, {name: ranker(of_newcomers)})


def fit_untrained(study: Study, *, seed: int, backbone: BackboneName) -> Fitted:
    """Read users with a network as it is drawn."""
    data, config = prepare_recipe(study, seed=seed), study.learned.settings.embedder
    vectors = untrained_vectors(backbone, data, study.plan, dim=config.dim_behavior, seed=seed)

    def of_newcomers(batch: SequenceBatch) -> Vectors:
        return vectors(batch, False)

    def of_students(batch: SequenceBatch) -> Floats:
        return np.asarray(vectors(batch, True), dtype=np.float64)

    name = f"untrained_{backbone}"
    judge = tree_judge(study, of_newcomers, seed=seed, of_students=of_students)
    return Fitted({name: judge}, {name: ranker(of_newcomers)})


def prepare_recipe(study: Study, *, seed: int) -> RecipeData:
    """Encode the learned users with their labels."""
    people = study.learned.people
    assert list(study.learners.user_ids) == people.user_ids, "everyone is read, in order"
    config = study.learned.settings.embedder.featurizer
    return prepare(study.learners, study.schema, people.label_N, config, seed=seed)
