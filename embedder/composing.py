"""Fits how the blocks are weighted, on halves of users held out of training, and what is usual."""

from collections.abc import Mapping

import numpy as np
import torch

from embedder.composite import LABEL_BLOCKS, Composer, lay_out, mean_units, unit_rows
from embedder.config import EmbedderConfig
from embedder.embedder import bounded_runs, raw_blocks
from embedder.parts import Parts
from embedder.profiles import Floats, ProfileModel
from embedder.training_set import TrainingSet
from embedder.weighting import APART_MIN, are_apart, solve_weights
from store.sequences import Int64s, SequenceBatch

USERS_MAX, VALIDATION_MIN = 4000, 8
OPINION_SHARE = 1 / 3  # of the weight of the two blocks that are learned from labels
# Halves of one life share occasions that a person's next account does not: behavior, which is
# learned from such halves, counts for this share of what they suggest.
BEHAVIOR_HEDGE = 0.5


def fit_composer(
    parts: Parts,
    batch: SequenceBatch,
    data: TrainingSet,
    config: EmbedderConfig,
    device: torch.device,
    rng: np.random.Generator,
) -> Composer:
    """Learn the block weights from halves of held-out users, and the population's means."""
    users = np.sort(rng.choice(batch.num_users, min(USERS_MAX, batch.num_users), replace=False))
    means = mean_units(blocks_of(parts, batch.take(users), device))
    share = profile_shares(parts.profiles)
    weights = dict.fromkeys(means, 0.0)
    if len(data.validation) >= VALIDATION_MIN:
        halved = far_apart(batch, data.validation)
        middle = batch.num_events[halved] // 2
        first = blocks_of(parts, batch.take(halved, stop=middle), device)
        second = blocks_of(parts, batch.take(halved, start=middle), device)
        profile = [join_profile(side, share) for side in (first, second)]
        names = [name for name in ("behavior", "text") if name in means]
        solved = solve_weights(
            [profile[0], *(unit_rows(first[name]) for name in names)],
            [profile[1], *(unit_rows(second[name]) for name in names)],
            rng,
        )
        weights |= {name: float(solved[0]) * part for name, part in share.items()}
        weights |= {name: float(weight) for name, weight in zip(names, solved[1:], strict=True)}
        weights["behavior"] *= BEHAVIOR_HEDGE
    else:
        weights |= {name: 0.5 * part for name, part in share.items()} | {"behavior": 0.5}
    if parts.conduct is not None:
        left = (1 - config.conduct_weight) / sum(weights.values())
        weights = {name: weight * left for name, weight in weights.items()}
        shares = zip(LABEL_BLOCKS, (1.0 - OPINION_SHARE, OPINION_SHARE), strict=True)
        weights |= {name: config.conduct_weight * share for name, share in shares}
    dims = {name: mean.shape[0] for name, mean in means.items()}
    return Composer(lay_out(dims, weights), means, config.shrink_events)


def far_apart(batch: SequenceBatch, users: Int64s) -> Int64s:
    """Return those whose halves lie on different days; all users where they are too few."""
    apart = users[are_apart(batch.ts_us, batch.offsets, users)]
    return apart if len(apart) >= APART_MIN else users


def profile_shares(profiles: ProfileModel) -> dict[str, float]:
    """Return how the profile's weight is divided between statistics and target."""
    small = float(profiles.field_weights[: len(profiles.fields)].sum())
    return {"statistics": small, "target": 1.0 - small} if profiles.hashed else {"statistics": 1.0}


def join_profile(blocks: Mapping[str, Floats], share: Mapping[str, float]) -> Floats:
    """Return the profile as one unit vector."""
    parts = [
        unit_rows(blocks[name]) * np.float32(np.sqrt(weight)) for name, weight in share.items()
    ]
    return unit_rows(np.concatenate(parts, axis=1))


def blocks_of(parts: Parts, batch: SequenceBatch, device: torch.device) -> dict[str, Floats]:
    """Return raw blocks of a batch of any size."""
    pieces = [
        raw_blocks(parts, batch.take(rows), device) for rows in bounded_runs(batch.num_events)
    ]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
