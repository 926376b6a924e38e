"""Fits the opinion: wording and trees on users told, their blend with the network on others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from embedder.network import SliceEncoder
from embedder.objectives import VIOLATOR_SCALE
from embedder.opinion import Opinion
from embedder.profiles import Floats
from embedder.sentences import Read, Sentences
from embedder.slices import Spans, drawn, looks_at
from embedder.summary import Summarizer
from embedder.training_set import TrainingSet, encode_spans
from embedder.trees import Bools, LogOdds, fit_trees, refit_trees
from embedder.wording import Wording, fit_wording
from store.sequences import Int64s, SequenceBatch

USERS_OF_A_CLASS_MAX, BLEND_MIN = 20_000, 30
EQUAL_BLEND = (0.5, 0.5, 0.0)


@dataclass(frozen=True)
class Examples:
    """Looks at users of known class: summary, class and weight of each, and which events it saw."""

    summary_BF: Floats
    is_violator: Bools
    weight_B: LogOdds
    spans: Spans


@dataclass(frozen=True)
class Lesson:
    """What an opinion is fitted on.

    Attributes:
        data: Users told and held out.
        batch: The same users, with their strings.
        strings: Columns whose wording is learned.
        summarizer: Says what the trees read.
        sentences: The sentence model, where one is set; told nothing of labels.
        seed: Of the draws.
    """

    data: TrainingSet
    batch: SequenceBatch
    strings: Sequence[str]
    summarizer: Summarizer
    sentences: Sentences | None
    seed: int

    @cached_property
    def spoken(self) -> Read | None:
        """The embedded strings of the batch."""
        return None if self.sentences is None else self.sentences.read(self.batch)

    def read(self, told: Int64s) -> tuple[Wording, Floats]:
        """Return the wording learned from some users, and its codes of everybody's events."""
        is_told_N = np.isin(np.arange(self.batch.num_users), told)
        rng = np.random.default_rng([self.seed, 29])
        return fit_wording(self.batch, self.strings, self.data.kind_N >= 0, is_told_N, rng)

    def examples(self, users: Int64s, codes_EC: Floats) -> Examples:
        """Return some users at every age they reached."""
        looks = looks_at(self.data.events.offsets, users)
        summary = self.summarizer.summarize(self.data.events, codes_EC, looks.spans)
        if self.spoken is not None:
            summary = np.concatenate([summary, self.spoken.means(looks.spans)], axis=1)
        return Examples(summary, self.data.kind_N[looks.user] >= 0, looks.weight, looks.spans)


def fit_opinion(
    lesson: Lesson, network: SliceEncoder, head: nn.Linear, device: torch.device
) -> Opinion:
    """Fit wording, trees, and their blend with the head of a trained conduct network.

    How many trees there are and the blend are found on held-out users; then wording and trees are
    fitted once more, on those as well.

    Args:
        lesson: What to fit on.
        network, head: The conduct network and the head it was trained with.
        device: Of the network.
    """
    data, rng = lesson.data, np.random.default_rng([lesson.seed, 23])
    classes = data.violators, data.others
    told = np.sort(np.concatenate([drawn(users, USERS_OF_A_CLASS_MAX, rng) for users in classes]))
    wording, codes_EC = lesson.read(told)
    learned = lesson.examples(told, codes_EC)
    held = lesson.examples(data.validation_labelled, codes_EC)
    trees = fit_trees(
        learned.summary_BF,
        learned.is_violator,
        learned.weight_B,
        held_summary=held.summary_BF,
        held_is_violator=held.is_violator,
        held_weight=held.weight_B,
        seed=lesson.seed,
    )
    head_D = head.weight.detach().cpu().numpy()[0].astype(np.float32) * VIOLATOR_SCALE
    head_bias = float(head.bias.detach().cpu()[0]) * VIOLATOR_SCALE
    opinion = Opinion(
        wording, lesson.summarizer, trees, head_D, head_bias, EQUAL_BLEND, lesson.sentences
    )
    conduct_BD = encode_spans(network, data.featurizer, data.events, held.spans, device)
    blend = fit_blend(opinion, conduct_BD, held)
    everyone = np.sort(np.concatenate([told, data.validation_labelled]))
    wording, codes_EC = lesson.read(everyone)
    learned = lesson.examples(everyone, codes_EC)
    trees = refit_trees(
        learned.summary_BF,
        learned.is_violator,
        learned.weight_B,
        num_trees=len(trees.value_TN),
        seed=lesson.seed,
    )
    return replace(opinion, wording=wording, trees=trees, blend=blend)


def fit_blend(opinion: Opinion, conduct_BD: Floats, held: Examples) -> tuple[float, float, float]:
    """Return the blend that tells held-out users best; an equal one where there are too few."""
    violators = np.unique(held.spans.first[held.is_violator])
    others = np.unique(held.spans.first[~held.is_violator])
    if min(len(violators), len(others)) < BLEND_MIN:
        return EQUAL_BLEND
    told_BM = np.stack(opinion.of_each(conduct_BD, held.summary_BF), axis=1)
    model = LogisticRegression(C=1.0).fit(told_BM, held.is_violator, sample_weight=held.weight_B)
    of_head, of_trees = np.maximum(model.coef_[0], 0.0).tolist()
    if of_head + of_trees <= 0:
        return EQUAL_BLEND
    return of_head, of_trees, float(model.intercept_[0])


def describe_opinion(opinion: Opinion) -> dict[str, Any]:
    """Return what the manifest tells of it."""
    of_head, of_trees, _ = opinion.blend
    return {
        "num_trees": len(opinion.trees.value_TN),
        "weight_of_head": round(of_head, 4),
        "weight_of_trees": round(of_trees, 4),
    }
