"""How a service loads the parts of a build that need other libraries, and only when it does."""

from collections.abc import Callable
from pathlib import Path

from index.parts import EventEmbedder, RiskAssessor

LoadEmbedder = Callable[[Path], EventEmbedder]
LoadRiskModel = Callable[[Path], RiskAssessor]


def load_trained_embedder(directory: Path) -> EventEmbedder:
    """Load an encoder on the CPU; torch is imported only now."""
    from embedder.embedder import Embedder

    return Embedder.load(directory, device="cpu")


def load_fitted_risk_model(directory: Path) -> RiskAssessor:
    """Load the risk model of a build."""
    from index.risk.model import RiskModel

    return RiskModel.load(directory)
