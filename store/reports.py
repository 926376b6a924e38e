"""What an ingest says it did."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FileReport:
    """What became of one file's rows; those kept, rejected, duplicate and erased are `num_rows`.

    Attributes:
        file: The file's path as given.
        sha256: Hash of its content.
        num_rows: Rows it has; 0 if it was ingested before.
        num_kept: Rows now in the store.
        num_rejected: Rows that could not be used.
        num_duplicates: Rows that were there already.
        num_erased: Rows of erased users, left out.
        num_ended: Of the duplicates, labels that the file revokes.
        num_kept_revoked: Of those kept, labels that are revoked at once: they end none that was
            there. Where they were meant to, something in the row is not as in the label's.
        already_ingested: Whether the same content was ingested before; then nothing was done.
        rejects_file: Line numbers and reasons of the rejected rows.
    """

    file: str
    sha256: str
    num_rows: int = 0
    num_kept: int = 0
    num_rejected: int = 0
    num_duplicates: int = 0
    num_erased: int = 0
    num_ended: int = 0
    num_kept_revoked: int = 0
    already_ingested: bool = False
    rejects_file: str | None = None

    def counts(self) -> dict[str, int]:
        """Return the counts of rows by name."""
        return {name: value for name, value in asdict(self).items() if name.startswith("num_")}


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did, file by file."""

    files: tuple[FileReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return {"files": [asdict(file) for file in self.files]}
