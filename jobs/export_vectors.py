"""`lookalike export vectors`: the vectors of the live build as one Parquet file.

Shape key: `M` users at once, `D` dimensions.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from index.build import Build, load_build
from index.builds import build_dir
from index.publish import live_build_id
from index.tombstones import Tombstones
from index.vectors import Rows, row_blocks
from jobs.auditing import record_read
from jobs.parquet import check_output, parquet_writer
from jobs.terminal import Progress
from store.audit import EVERYONE
from store.erasures import read_erased
from store.workspace import Workspace

SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("vector", pa.list_(pa.float32()), nullable=False),
        pa.field("num_events", pa.int64(), nullable=False),
        pa.field("space_id", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class ExportReport:
    """What was written."""

    file: str
    num_users: int
    build_id: str
    space_id: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return what a person wants to read."""
        return [f"{self.num_users:,} users of build {self.build_id} in {self.file}"]


def run(workspace: Workspace, output: Path, *, now: datetime, progress: Progress) -> ExportReport:
    """Write user_id, vector, num_events and space_id; memory is bounded by a row group.

    Raises:
        FolderUnusable: If the file can't be made there.
        NoLiveBuild: Before the first publish.
        BuildCorrupt: If the live build is damaged.
    """
    check_output(output)
    build = load_build(build_dir(workspace, live_build_id(workspace)))
    manifest = build.manifest
    every_row = np.arange(manifest.num_users, dtype=np.int64)
    hidden = Tombstones.none(manifest.num_users).adding(build.users, read_erased(workspace))
    visible_rows = hidden.visible(every_row)
    num_users = len(visible_rows)
    details = {
        "build_id": manifest.build_id,
        "space_id": manifest.space_id,
        "num_users": num_users,
        "output": output.name,
    }
    record_read(workspace, "export vectors", [EVERYONE], details, now=now)
    with parquet_writer(output, SCHEMA) as writer:
        for block in row_blocks(num_users, manifest.dim * 4):
            writer.write_table(_rows(build, visible_rows[block]))
            progress("write vectors", block.stop, num_users)
    return ExportReport(str(output), num_users, manifest.build_id, manifest.space_id)


def _rows(build: Build, rows_M: Rows) -> pa.Table:
    """Return some users as a table."""
    vectors_MD = np.asarray(build.vectors_ND[rows_M])
    num, dim = vectors_MD.shape
    users = build.users.table.select(["user_id", "num_events"]).take(pa.array(rows_M))
    offsets = np.arange(0, (num + 1) * dim, dim, dtype=np.int32)
    columns = [
        users["user_id"].cast(pa.string()),
        pa.ListArray.from_arrays(offsets, pa.array(vectors_MD.ravel())),
        users["num_events"],
        pa.repeat(build.manifest.space_id, num),
    ]
    return pa.table(columns, schema=SCHEMA)
