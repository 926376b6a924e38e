"""`lookalike ingest`: files of events and of labels into the workspace."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.session import Session, with_session
from jobs.terminal import progress_bars, table

if TYPE_CHECKING:
    from store.reports import FileReport, IngestReport

ingest = typer.Typer(
    name="ingest", help="Validate and append events or labels.", no_args_is_help=True
)


@ingest.command("events")
@with_session
def ingest_events_command(
    session: Session,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Parquet, CSV(.gz) or JSON Lines.")
    ],
) -> None:
    """Append files of events, each one whole or not at all, and only once."""
    from store.ingest import ingest_events

    with progress_bars() as progress:
        report = ingest_events(
            session.workspace,
            files,
            session.settings.ingest,
            now=datetime.now(UTC),
            progress=progress,
        )
    session.answer(report.to_dict(), _lines(report))


@ingest.command("labels")
@with_session
def ingest_labels_command(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV(.gz) or Parquet.")],
) -> None:
    """Append a file of labels; one that is there already is revoked by its `revoked_at` alone."""
    from store.label_ingest import ingest_labels

    report = ingest_labels(session.workspace, file, session.settings.ingest, now=datetime.now(UTC))
    session.answer(report.to_dict(), _lines(report))


def _lines(report: "IngestReport") -> list[str]:
    header = ("file", "rows", "kept", "rejected", "duplicates", "erased", "remark")
    rows = [
        [
            file.file,
            file.num_rows,
            file.num_kept,
            file.num_rejected,
            file.num_duplicates,
            file.num_erased,
            _remark(file),
        ]
        for file in report.files
    ]
    return table(header, rows)


def _remark(file: "FileReport") -> str:
    if file.already_ingested:
        return "ingested before"
    remarks = [file.rejects_file] if file.rejects_file else []
    if file.num_ended:
        remarks.append(f"{file.num_ended:,} labels revoked")
    if file.num_kept_revoked:
        remarks.append(f"{file.num_kept_revoked:,} new ones revoked at once")
    return "; ".join(remarks)
