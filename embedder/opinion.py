"""The opinion block: how risky labelled look-alikes make a slice look, as an angle.

Two models that were told labels say their log odds of a slice: the head of the conduct network and
boosted trees on summaries, which see what a pooled network blurs (how long, how many, the first and
last events in order, how their strings read). They are blended on held-out users. As a point on a
half circle the blend takes its place in the composite vector, so that whoever has the vector has
the opinion too.

Shape key: `B` slices, `D` dimensions of the conduct block, `F` numbers of a summary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from embedder.featurizer import EncodedEvents
from embedder.profiles import Floats
from embedder.sentences import Sentences
from embedder.slots import SliceSlots
from embedder.summary import Summarizer
from embedder.trees import LogOdds, Trees
from embedder.wording import Wording
from store.sequences import SequenceBatch

OPINION, SOFTNESS = "opinion", 2.0


@dataclass(frozen=True)
class Opinion:
    """The two models and their blend.

    Attributes:
        wording, summarizer, trees: The trees and what they read.
        sentences: What a sentence model makes of the strings, where there is one.
        head_D: Weights of the network's head on the conduct block; `head_bias` its offset.
        blend: Weight of the head, weight of the trees, offset.
    """

    wording: Wording
    summarizer: Summarizer
    trees: Trees
    head_D: Floats
    head_bias: float
    blend: tuple[float, float, float]
    sentences: Sentences | None = None

    def summary(self, batch: SequenceBatch, events: EncodedEvents, slices: SliceSlots) -> Floats:
        """Return what the trees read of slices of a batch, encoded as `events`."""
        codes_EC = self.wording.codes(batch)
        summary_BF = self.summarizer.summarize_slices(events, codes_EC, slices)
        if self.sentences is None:
            return summary_BF
        means_BF = self.sentences.read(batch).means(slices.spans)
        return np.concatenate([summary_BF, means_BF], axis=1)

    def log_odds(self, conduct_BD: Floats, summary_BF: Floats) -> LogOdds:
        """Return the blended log odds of each slice."""
        head_B, trees_B = self.of_each(conduct_BD, summary_BF)
        of_head, of_trees, offset = self.blend
        return of_head * head_B + of_trees * trees_B + offset

    def of_each(self, conduct_BD: Floats, summary_BF: Floats) -> tuple[LogOdds, LogOdds]:
        """Return the log odds of the head and of the trees."""
        head_B: LogOdds = conduct_BD.astype(np.float64) @ self.head_D + self.head_bias
        return head_B, self.trees.log_odds(summary_BF)

    def block(self, conduct_BD: Floats, summary_BF: Floats) -> Floats:
        """Return the opinions as unit vectors, B x 2."""
        angle = np.pi * expit(self.log_odds(conduct_BD, summary_BF) / SOFTNESS)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def log_odds_of(block_B2: npt.NDArray[np.floating[Any]]) -> LogOdds:
    """Return the log odds of points on the half circle; their length does not matter."""
    angle = np.arctan2(np.maximum(block_B2[:, 1], 0.0), block_B2[:, 0]).astype(np.float64)
    share = np.clip(angle / np.pi, 1e-4, 1.0 - 1e-4)
    return np.asarray(SOFTNESS * (np.log(share) - np.log1p(-share)))
