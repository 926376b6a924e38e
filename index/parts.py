"""What the service needs of an encoder and of a risk model; any that fit will do.

Shape key: `Q` queries, `D` dimensions, `F` risk features.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from index.answers import BandRule
from index.vectors import Vectors
from store.schema import EventSchema
from store.sequences import Int64s, SequenceBatch


class EventEmbedder(Protocol):
    """Turns events into unit vectors of one space."""

    @property
    def space_id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def schema(self) -> EventSchema: ...

    def embed(self, batch: SequenceBatch) -> Vectors:
        """Return one unit row per user of the batch."""
        ...


class RiskAssessment(Protocol):
    """The risk of Q queries.

    Attributes:
        band: One of `index.answers.Band`; where it is "insufficient_data", the numbers of that
            query mean nothing.
        band_rule: What `likely` means for each query.
    """

    @property
    def probability(self) -> npt.NDArray[np.floating]: ...

    @property
    def low(self) -> npt.NDArray[np.floating]: ...

    @property
    def high(self) -> npt.NDArray[np.floating]: ...

    @property
    def log_odds(self) -> npt.NDArray[np.floating]: ...

    @property
    def band(self) -> Sequence[str]: ...

    @property
    def band_rule(self) -> Sequence[BandRule]: ...

    @property
    def features_QF(self) -> npt.NDArray[np.floating]: ...


class RiskAssessor(Protocol):
    """Tells the risk of users from their vectors."""

    @property
    def feature_names(self) -> tuple[str, ...]: ...

    def assess(
        self,
        query_QD: Vectors,
        num_events_Q: Int64s,
        *,
        own_ids: Sequence[str | None],
        silence_us_Q: Int64s | None = None,
    ) -> RiskAssessment:
        """Assess each query; `own_ids` names users whose own labels must not vote.

        `silence_us_Q` is the time since the last event of each, where it is known.
        """
        ...
