"""What a comparison is for: other weights of the same blocks, for queries that name a purpose.

The vector is weighted to find the same user again, and the targets do most of that. Who looks for
the same kind of behavior wherever it happens must not lean on them. So those weights are solved as
the vector's own are, on halves of held-out users' lives, but of the second half only events at
targets are left that are new to the user. No labels are read; the blocks that labels touched are
weighed like the others, by what they are worth to this.
"""

import numpy as np
import torch

from embedder.composing import blocks_of, far_apart
from embedder.composite import Block, unit_rows
from embedder.halves import Halves, at_new_targets
from embedder.parts import Parts
from embedder.training_set import TrainingSet
from embedder.weighting import USERS_MIN, weights_of_fields
from store.sequences import SequenceBatch

SAME_KIND, TARGET = "same_kind", "target"
EVENTS_MIN = 2


def fit_purposes(
    parts: Parts,
    batch: SequenceBatch,
    data: TrainingSet,
    blocks: tuple[Block, ...],
    device: torch.device,
    rng: np.random.Generator,
) -> dict[str, dict[str, float]]:
    """Return the block weights of each purpose that has its own; those of one sum to one.

    With fewer than `USERS_MIN` halves at new targets the weights stand to each other as in the
    vector, and the target block has none.
    """
    users = far_apart(batch, data.validation)
    middle = batch.num_events[users] // 2
    halves = Halves(batch.take(users, stop=middle), batch.take(users, start=middle))
    target = parts.featurizer.target
    if target is not None:
        halves = at_new_targets(halves, target, events_min=EVENTS_MIN)
    if halves.first.num_users < USERS_MIN:
        return {SAME_KIND: without_target(blocks)}
    first, second = (blocks_of(parts, half, device) for half in (halves.first, halves.second))
    names = [block.name for block in blocks]
    weights = weights_of_fields(
        [unit_rows(first[name]) for name in names],
        [unit_rows(second[name]) for name in names],
        np.ones(len(names), dtype=np.bool_),
        rng,
    )
    return {SAME_KIND: dict(zip(names, weights.tolist(), strict=True))}


def without_target(blocks: tuple[Block, ...]) -> dict[str, float]:
    """Return the weights of the vector with none on the target block, where there are others."""
    told = {block.name: block.weight for block in blocks if block.name != TARGET}
    total = sum(told.values())
    return {block.name: told.get(block.name, 0.0) / total for block in blocks}
