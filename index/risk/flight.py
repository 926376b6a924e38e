"""Users in flight: who is looked at right after an event may do the next one in a minute.

The stack's examples between two ages stopped there, and stopping tells the classes apart. So a
second stack is fitted on looks right after an event, whatever came then: landmarks, as van
Houwelingen 2007 (Scandinavian Journal of Statistics 34) fits them. How long the user has been
silent says how far to trust which: with the time that most let pass between events gone by, the
user has stopped. Where no silence is told, all are judged as if they had stopped.

Shape key: `Q` queries, `D` dimensions, `F` neighbor features, `A` ages, `G` quantiles of gaps.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from index.risk.calibration import Calibrator
from index.risk.gallery import Floats
from index.risk.stack import Stack
from index.vectors import Vectors
from store.sequences import Int64s


@dataclass(frozen=True)
class Silence:
    """What a silence tells of whether more events will come.

    Attributes:
        age_A: Numbers of events, ascending.
        stopped_A: Share of the users looked at after so many events who did no other.
        gap_us_G: Quantiles of the time to the next event of those who did one, ascending.
    """

    age_A: tuple[int, ...]
    stopped_A: tuple[float, ...]
    gap_us_G: tuple[int, ...]

    def stopped(self, num_events_Q: Int64s, silence_us_Q: Int64s) -> Floats:
        """Return how far the silence alone shows that each user has stopped, in [0, 1].

        None right after the event, all once the silence is longer than any time to a next event.
        It mixes the two populations exactly: of those who are silent for so long, this is the share
        that is more like those who stopped than like all who came so far.
        """
        share_Q = np.interp(np.log(np.maximum(num_events_Q, 1)), np.log(self.age_A), self.stopped_A)
        gone_Q = np.searchsorted(self.gap_us_G, silence_us_Q, side="left") / len(self.gap_us_G)
        known_Q = share_Q * gone_Q
        left_Q = known_Q + (1.0 - gone_Q)
        return np.asarray(np.divide(known_Q, left_Q, out=np.ones_like(left_Q), where=left_Q > 0))


@dataclass(frozen=True)
class Flight:
    """Risk right after an event, and what a silence since makes of it."""

    stack: Stack
    calibrator: Calibrator
    silence: Silence

    def log_odds(
        self,
        features_QF: Floats,
        query_QD: Vectors,
        num_events_Q: Int64s,
        silence_us_Q: Int64s,
        stopped_Q: Floats,
    ) -> Floats:
        """Return the log odds of users who have been silent for a while.

        Args:
            features_QF, query_QD, num_events_Q: Of each query.
            silence_us_Q: Time since the last event; what lies in the future counts as none.
            stopped_Q: Log odds of each, had it stopped.
        """
        flying_Q = self.calibrator.to_log_odds(self.stack.score(features_QF, query_QD))
        share_Q = self.silence.stopped(num_events_Q, np.maximum(silence_us_Q, 0))
        return mix(flying_Q, stopped_Q, share_Q)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "stack": self.stack.to_dict(),
            "calibrator": self.calibrator.to_dict(),
            "silence": {name: list(values) for name, values in vars(self.silence).items()},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Flight":
        """Read what `to_dict` wrote."""
        silence = {name: tuple(told) for name, told in values["silence"].items()}
        return cls(
            Stack.from_dict(values["stack"]),
            Calibrator.from_dict(values["calibrator"]),
            Silence(**silence),
        )


def mix(first: Floats, second: Floats, share_of_second: Floats) -> Floats:
    """Return the log odds of a mixture of probabilities, both told by log odds; none saturates."""
    with np.errstate(divide="ignore"):
        shares = np.log1p(-share_of_second), np.log(share_of_second)
    positive = np.logaddexp(shares[0] + log_share(first), shares[1] + log_share(second))
    negative = np.logaddexp(shares[0] + log_share(-first), shares[1] + log_share(-second))
    return np.asarray(positive - negative)


def log_share(log_odds: Floats) -> Floats:
    """Return the logarithm of the probability of log odds."""
    return np.asarray(-np.logaddexp(0.0, -log_odds))
