"""Which network is shipped: the order-free twin, unless a sequence model beats it beyond chance.

A sequence model costs several times as much to train, so one that falls behind is not trained to
the end.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedder.fitting import FittedNetwork

RESAMPLES = 1000


@dataclass(frozen=True)
class Choice:
    """The shipped network and why.

    Attributes:
        shipped: The network.
        gain: 95 % interval of the sequence model's mean gain over its twin on the same held-out
            queries.
    """

    shipped: FittedNetwork
    gain: tuple[float, float]


@dataclass(frozen=True)
class Behind:
    """Tells a sequence model to give up that is behind its twin beyond chance, at the same look.

    Attributes:
        looks: The twin's gains at each look at the held-out users.
        seed: Of the resampling.
    """

    looks: tuple[npt.NDArray[np.float64], ...]
    seed: int

    def __call__(self, look: int, gains_Q: npt.NDArray[np.float64]) -> bool:
        """Return whether the whole interval of the difference is below zero."""
        if look >= len(self.looks):
            return False
        rng = np.random.default_rng([self.seed, 7, look])
        return gain_interval(gains_Q - self.looks[look], rng)[1] < 0


def choose_network(twin: FittedNetwork, sequence: FittedNetwork, *, seed: int) -> Choice:
    """Compare in pairs on the same held-out queries."""
    gain = gain_interval(sequence.gains_Q - twin.gains_Q, np.random.default_rng([seed, 5]))
    return Choice(sequence if gain[0] > 0 else twin, gain)


def gain_interval(gain: npt.NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    """Return the bootstrap 95 % interval of a mean; (0, 0) where there is nothing to compare."""
    if len(gain) == 0:
        return 0.0, 0.0
    draws = rng.integers(0, len(gain), (RESAMPLES, len(gain)))
    low, high = np.quantile(gain[draws].mean(axis=1), [0.025, 0.975])
    return round(float(low), 5), round(float(high), 5)
