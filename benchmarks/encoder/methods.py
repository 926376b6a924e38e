"""What a method is: something fitted to the learned users of a study, that judges or ranks others.

A *candidate* is fitted once for a study and a seed; the methods that read what was fitted (an
encoder, its blocks alone, its cut vectors) share it. To add one, add a line to the registry in
`benchmarks.encoder.registry`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from benchmarks.encoder.studies import Study
from benchmarks.encoder.tasks import RetrievalTask, RiskTask
from embedder.evaluation.metrics import Floats
from embedder.evaluation.ranking import Rows

Family = Literal["floor", "published", "ours"]
FAMILIES: tuple[Family, ...] = ("floor", "published", "ours")

Judge = Callable[[RiskTask], Floats]
Ranker = Callable[[RetrievalTask], Sequence[Rows]]


class Unanswerable(Exception):
    """A method can't say anything here; the message says why, and takes the figures' place."""


@dataclass(frozen=True)
class Fitted:
    """Methods that share what was fitted, by name.

    Attributes:
        judges: Give every user of a risk task a probability.
        rankers: Give the unit rows of those who ask and of those who are ranked.
    """

    judges: Mapping[str, Judge] = field(default_factory=dict)
    rankers: Mapping[str, Ranker] = field(default_factory=dict)


class Fit(Protocol):
    """Fits to the learned users of a study."""

    def __call__(self, study: Study, *, seed: int) -> Fitted: ...


@dataclass(frozen=True)
class Candidate:
    """A line of the registry.

    Attributes:
        name: Of the candidate; its methods have this name, or this name and a dot before theirs.
        family: A simple method to beat, a published recipe, or ours.
        about: What it is, in a sentence.
        fit: Fits it.
        is_seeded: Whether anything in it is drawn; if not, one seed stands for all.
        altered_from: The candidate that this one is, but for what is changed to see what it is
            worth; such are measured on the whole data alone.
    """

    name: str
    family: Family
    about: str
    fit: Fit
    is_seeded: bool = True
    altered_from: str | None = None
