"""A method that knows the answer, and one that knows nothing."""

from collections.abc import Sequence

import numpy as np

from embedder.evaluation.methods import Method
from embedder.evaluation.ranking import Rows
from store.sequences import SequenceBatch


def knowing(key: dict[str, int]) -> Method:
    """Give users of the same key the same direction."""
    axes = {value: place for place, value in enumerate(sorted(set(key.values())))}

    def vectors(batches: Sequence[SequenceBatch]) -> list[Rows]:
        found = []
        for batch in batches:
            rows = np.zeros((batch.num_users, len(axes)), dtype=np.float32)
            columns = [axes[key[user]] for user in batch.user_ids]
            rows[np.arange(batch.num_users), columns] = 1.0
            found.append(rows)
        return found

    return vectors


def guessing(seed: int) -> Method:
    """Give everyone a random direction."""

    def vectors(batches: Sequence[SequenceBatch]) -> list[Rows]:
        rng = np.random.default_rng(seed)
        drawn = [rng.normal(size=(batch.num_users, 8)) for batch in batches]
        return [
            (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
            for rows in drawn
        ]

    return vectors
