"""`python -m jobs.simulator`: write a simulated platform into a folder."""

import json
from pathlib import Path
from typing import Annotated

import typer

from jobs.simulator.config import SimulatorConfig
from jobs.simulator.simulation import simulate


def main(
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for the three files")],
    users: Annotated[int, typer.Option(help="number of users; about fifty events each")] = 20_000,
    seed: Annotated[int, typer.Option(help="equal seeds give equal files")] = 0,
) -> None:
    """Simulate a gaming platform: events.parquet, labels.csv, ground_truth.parquet."""
    report = simulate(SimulatorConfig(num_users=users, seed=seed), out)
    typer.echo(json.dumps(report.to_dict()))


if __name__ == "__main__":
    typer.run(main)
