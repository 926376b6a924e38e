"""Rejected rows counted, written for the operator, and too many of them refused."""

from dataclasses import dataclass
from pathlib import Path

from store.engine import Connection, fetch_all, literal
from store.errors import FileUnreadable, IngestRefused
from store.sources import Source
from store.workspace import Workspace


@dataclass(frozen=True)
class Rejects:
    """How many of a file's rows can't be used.

    Attributes:
        num_rows: Rows of the file.
        num_judged: Well-formed rows that were rejected for their values.
        num_rejected: All rejected rows.
        rejects_file: Their line numbers and reasons; None if there are none.
    """

    num_rows: int
    num_judged: int
    num_rejected: int
    rejects_file: str | None


def check_rejects(
    connection: Connection,
    source: Source,
    *,
    file: Path,
    sha256: str,
    workspace: Workspace,
    share_max: float,
) -> Rejects:
    """Count the rejects in the view `judged`, write the rejects file, and refuse too many.

    Raises:
        FileUnreadable: If the file has no rows at all.
        IngestRefused: If the share of rejected rows is above `share_max`.
    """
    ((num_formed, num_judged),) = fetch_all(
        connection, "SELECT count(*), count(_reason) FROM judged"
    )
    num_rows = num_formed + source.num_malformed
    num_rejected = num_judged + source.num_malformed
    if not num_rows:
        raise FileUnreadable(f"{file} has no rows")
    if not num_rejected:
        return Rejects(num_rows, 0, 0, None)
    rejects_file = workspace.rejects_dir / f"{sha256[:16]}.csv"
    _write_rejects(connection, source, rejects_file)
    if num_rejected > share_max * num_rows:
        raise IngestRefused(
            f"{file}: {num_rejected} of {num_rows} rows rejected, more than {share_max:.2%}; "
            f"nothing was kept; reasons are in {rejects_file}",
            num_rows=num_rows,
            num_rejected=num_rejected,
            rejects_file=str(rejects_file),
        )
    return Rejects(num_rows, num_judged, num_rejected, str(rejects_file))


def _write_rejects(connection: Connection, source: Source, rejects_file: Path) -> None:
    rejects_file.parent.mkdir(parents=True, exist_ok=True)
    connection.execute(
        f"COPY (SELECT line, reason FROM read_parquet({literal(source.malformed)}) "
        "UNION ALL SELECT _row AS line, _reason AS reason FROM judged WHERE _reason IS NOT NULL "
        f"ORDER BY line) TO {literal(rejects_file)} (FORMAT csv, HEADER)"
    )
