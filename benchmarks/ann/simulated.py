"""The vectors of a simulated platform, by our own encoder of the fast preset.

Shape key: `N` users, `D` dimensions.
"""

import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from benchmarks.ann.engines.engine import Vectors
from benchmarks.encoder.config import QUICK_PLAN
from benchmarks.filling import fill
from embedder.embedder import Embedder
from embedder.training import train
from jobs.assembly import EVENTS_PER_BATCH
from jobs.simulator.config import SimulatorConfig
from jobs.simulator.simulation import simulate
from store.database import Database
from store.labels import LabelStore


def embedded_platform(users: int, *, seed: int, now: datetime, quick: bool) -> Iterator[Vectors]:
    """Simulate a platform, train on it, and yield its users' vectors batch by batch.

    Args:
        users: How many to simulate.
        seed: Of simulation and training.
        now: When it is looked at.
        quick: Train a few steps only.
    """
    with tempfile.TemporaryDirectory(prefix="ann-platform-") as name:
        root = Path(name)
        made = simulate(SimulatorConfig(num_users=users, seed=seed), root / "simulated")
        filled = fill(root / "workspace", Path(made.events_file), Path(made.labels_file), now)
        report = train(
            filled.workspace,
            as_of=now,
            preset="fast",
            seed=seed,
            config=filled.settings.embedder,
            schema_config=filled.settings.schema_,
            plan=QUICK_PLAN if quick else None,
        )
        embedder = Embedder.load(report.model_dir)
        view = LabelStore(Database(filled.workspace.ops_url)).as_of(now)
        batches = filled.lake.batches(
            as_of=now,
            cutoffs=view.cutoffs(),
            columns=[column.name for column in embedder.schema.columns],
            max_events=EVENTS_PER_BATCH,
        )
        for batch in batches:
            yield embedder.embed(batch)
