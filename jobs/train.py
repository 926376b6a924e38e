"""`lookalike train`: learn the encoder from what was known before a time."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from embedder.config import Preset
from embedder.training import train
from jobs.settings import Settings
from jobs.terminal import Progress
from store.durable import make_writable
from store.workspace import Workspace


@dataclass(frozen=True)
class TrainingReport:
    """What the training made and how good it is; `facts` is what the model's manifest says."""

    space_id: str
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return self.facts

    def lines(self) -> list[str]:
        """Return what a person wants to read."""
        facts, metrics = self.facts, self.facts["metrics"]
        left_out = [field["name"] for field in facts["audit"] if field["left_out"]]
        return [
            f"trained on {facts['num_users']:,} users and {facts['num_events']:,} events "
            f"before {facts['as_of']} in {facts['seconds']:.0f} s",
            *([f"left out, as they name users: {', '.join(left_out)}"] if left_out else []),
            *(f"{name}: {_figures(value)}" for name, value in metrics.items()),
            f"space {self.space_id}",
        ]


def run(
    workspace: Workspace,
    settings: Settings,
    *,
    as_of: datetime,
    preset: Preset,
    seed: int,
    progress: Progress,
) -> TrainingReport:
    """Train, validate and store a model; see `embedder.training.train`.

    Raises:
        FolderUnusable: If no model can be written; told before the training, not after it.
    """
    make_writable(workspace.models_dir)
    report = train(
        workspace,
        as_of=as_of,
        preset=preset,
        seed=seed,
        config=settings.embedder,
        schema_config=settings.schema_,
        progress=progress,
    )
    return TrainingReport(report.space_id, report.to_dict())


def _figures(value: Any) -> str:
    """Write nested figures on one line."""
    match value:
        case dict():
            return ", ".join(f"{name} {_figures(part)}" for name, part in value.items())
        case list():
            return f"[{', '.join(map(_figures, value))}]"
        case float():
            return f"{value:.3f}"
        case _:
            return str(value)
