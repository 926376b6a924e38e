"""`lookalike export`: vectors and features as Parquet."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from jobs.session import Session, with_session
from jobs.terminal import progress_bars
from jobs.times import parse_as_of

export = typer.Typer(name="export", help="Vectors and features as Parquet.", no_args_is_help=True)

Output = Annotated[Path, typer.Option("--output", "-o", help="The Parquet file to write.")]


@export.command("vectors")
@with_session
def vectors_command(session: Session, output: Output) -> None:
    """Write the vectors of the live build."""
    from jobs.export_vectors import run

    with progress_bars() as progress:
        report = run(session.workspace, output, now=datetime.now(UTC), progress=progress)
    session.answer(report.to_dict(), report.lines())


@export.command("features")
@with_session
def features_command(
    session: Session,
    output: Output,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            parser=parse_as_of,
            metavar="TIME",
            help="Only what was known before this time; the live build if absent.",
            show_default=False,
        ),
    ] = None,
    users: Annotated[
        Path | None, typer.Option("--users", help="File with a user id a line; all if absent.")
    ] = None,
) -> None:
    """Write the neighbor features of users, as of the live build or of a time."""
    from jobs.export_features import run

    now = datetime.now(UTC)
    with progress_bars() as progress:
        report = run(
            session.workspace,
            session.settings,
            output,
            as_of=as_of,
            users_file=users,
            now=now,
            progress=progress,
        )
    session.answer(report.to_dict(), report.lines())
