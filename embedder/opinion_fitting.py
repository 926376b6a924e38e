"""Fits the opinion: trees on the users whose labels were told, the blend on held-out ones."""

from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from embedder.network import SliceEncoder
from embedder.objectives import VIOLATOR_SCALE
from embedder.opinion import Opinion
from embedder.profiles import Floats
from embedder.slices import drawn, looks_at
from embedder.summary import fit_summarizer
from embedder.training_set import TrainingSet, encode_spans
from embedder.trees import fit_trees

USERS_OF_A_CLASS_MAX, BLEND_MIN = 20_000, 30
EQUAL_BLEND = (0.5, 0.5, 0.0)


def fit_opinion(
    data: TrainingSet,
    idf_V: Floats,
    network: SliceEncoder,
    head: nn.Linear,
    device: torch.device,
    *,
    seed: int,
) -> Opinion:
    """Fit the trees, and the blend with the head of a trained conduct network.

    Args:
        data: Users told and held out.
        idf_V: How rare each slot is among users.
        network, head: The conduct network and the head it was trained with.
        device: Of the network.
        seed: Of the draws.
    """
    rng = np.random.default_rng([seed, 23])
    summarizer = fit_summarizer(data.featurizer, idf_V)
    classes = data.violators, data.others
    told = np.sort(np.concatenate([drawn(users, USERS_OF_A_CLASS_MAX, rng) for users in classes]))
    looks = looks_at(data.events.offsets, told)
    held = looks_at(data.events.offsets, data.validation_labelled)
    held_summary = summarizer.summarize(data.events, held.spans)
    held_is_violator = data.kind_N[held.user] >= 0
    trees = fit_trees(
        summarizer.summarize(data.events, looks.spans),
        data.kind_N[looks.user] >= 0,
        looks.weight,
        held_summary=held_summary,
        held_is_violator=held_is_violator,
        held_weight=held.weight,
        seed=seed,
    )
    head_D = head.weight.detach().cpu().numpy()[0].astype(np.float32) * VIOLATOR_SCALE
    head_bias = float(head.bias.detach().cpu()[0]) * VIOLATOR_SCALE
    opinion = Opinion(summarizer, trees, head_D, head_bias, EQUAL_BLEND)
    violators = int((data.kind_N[data.validation_labelled] >= 0).sum())
    if min(violators, len(data.validation_labelled) - violators) < BLEND_MIN:
        return opinion
    conduct = encode_spans(network, data.featurizer, data.events, held.spans, device)
    told_BM = np.stack(opinion.of_each(conduct, held_summary), axis=1)
    model = LogisticRegression(C=1.0).fit(told_BM, held_is_violator, sample_weight=held.weight)
    of_head, of_trees = np.maximum(model.coef_[0], 0.0).tolist()
    if of_head + of_trees <= 0:
        return opinion
    blend = of_head, of_trees, float(model.intercept_[0])
    return Opinion(summarizer, trees, head_D, head_bias, blend)


def describe_opinion(opinion: Opinion) -> dict[str, Any]:
    """Return what the manifest tells of it."""
    of_head, of_trees, _ = opinion.blend
    return {
        "num_trees": len(opinion.trees.value_TN),
        "weight_of_head": round(of_head, 4),
        "weight_of_trees": round(of_trees, 4),
    }
