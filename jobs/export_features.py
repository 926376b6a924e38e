"""`lookalike export features`: what a risk model needs to know of users, as of any time.

The features come from the function that the service answers with; a past time gets a build of its
own, which is thrown away afterwards.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from index.builds import discard
from index.service import LookalikeService
from jobs.auditing import record_read
from jobs.errors import UserListInvalid
from jobs.live import open_live
from jobs.parquet import check_output, parquet_writer
from jobs.settings import Settings
from jobs.staging import stage
from jobs.terminal import Progress
from store.audit import EVERYONE
from store.database import Database
from store.erasures import erased_users
from store.tables import USER_ID_BYTES_MAX
from store.workspace import Workspace

USERS_PER_BATCH = 10_000


@dataclass(frozen=True)
class FeaturesReport:
    """What was written; `num_unknown` users were asked for and are not in the lake."""

    file: str
    num_users: int
    num_unknown: int
    space_id: str
    data_as_of: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return what a person wants to read."""
        return [
            f"{self.num_users:,} users ({self.num_unknown:,} of them unknown) "
            f"as of {self.data_as_of} in {self.file}"
        ]


def run(
    workspace: Workspace,
    settings: Settings,
    output: Path,
    *,
    as_of: datetime | None,
    users_file: Path | None,
    now: datetime,
    progress: Progress,
) -> FeaturesReport:
    """Write one row per user: user_id, found, num_events and the features.

    Args:
        workspace: Whose users.
        settings: All sections.
        output: The Parquet file.
        as_of: Nothing at or after this time is seen; the live build answers if None.
        users_file: One user id a line; all users of the build if None.
        now: When this is.
        progress: Shown to whoever waits.

    Raises:
        FolderUnusable: If the file can't be made there.
        UserListInvalid: If the file of users is empty or no text.
        RiskUnavailable: If there were too few labels for a risk model.
        ModelMissing: If no model is old enough for that time.
    """
    check_output(output)
    user_ids = None if users_file is None else read_user_ids(users_file)
    details = {"as_of": None if as_of is None else as_of.isoformat(), "output": output.name}
    with _service(workspace, settings, as_of, now, progress) as service:
        details |= {"build_id": service.build_id, "space_id": service.space_id}
        num_users = service.num_users if user_ids is None else len(user_ids)
        record_read(
            workspace,
            "export features",
            [EVERYONE] if user_ids is None else user_ids,
            {**details, "num_users": num_users},
            now=now,
        )
        return _write(service, user_ids, output, progress)


def read_user_ids(file: Path) -> list[str]:
    """Read one user id a line, exactly as it is written; empty lines are passed over.

    Lines end as editors end them, with a line feed or before it a carriage return: what else
    Unicode calls a line's end may be in an id.

    Raises:
        UserListInvalid: If there is none, or the file is no text.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserListInvalid(f"{file} is no text in UTF-8 with one user id a line") from error
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    user_ids = [line for line in lines if line]
    if any("\0" in user_id or len(user_id.encode()) > USER_ID_BYTES_MAX for user_id in user_ids):
        raise UserListInvalid(
            f"{file} has an id with a zero character or of more than {USER_ID_BYTES_MAX:,} bytes"
        )
    if not user_ids:
        raise UserListInvalid(f"{file} names no user; write one user id a line")
    return user_ids


@contextmanager
def _service(
    workspace: Workspace,
    settings: Settings,
    as_of: datetime | None,
    now: datetime,
    progress: Progress,
) -> Iterator[LookalikeService]:
    """Yield a service of the live build, or one that knows what was known before a time."""
    if as_of is None:
        yield open_live(workspace, settings)
        return
    database = Database(workspace.ops_url)
    here = settings.model_copy(
        update={"index": settings.index.model_copy(update={"backend": "faiss"})}
    )  # thrown away at once: no collection is loaded for it
    staged = stage(workspace, here, database, as_of=as_of, now=now, progress=progress)
    try:
        yield LookalikeService.of_directory(
            workspace,
            staged.directory,
            config=here.index,
            erased_users=erased_users(database),
        )
    finally:
        discard(staged.directory, None)


def _write(
    service: LookalikeService, user_ids: Sequence[str] | None, output: Path, progress: Progress
) -> FeaturesReport:
    """Write the features in batches; the file's metadata say of what, as the API's stream does."""
    total = service.num_users if user_ids is None else len(user_ids)
    num_unknown = 0
    data_as_of = service.data_as_of.isoformat()
    facts = {"build_id": service.build_id, "space_id": service.space_id, "data_as_of": data_as_of}
    schema = service.features_of_users([]).schema.with_metadata(
        {f"lookalike.{name}": fact for name, fact in facts.items()}
    )
    with parquet_writer(output, schema) as writer:
        for start in range(0, total, USERS_PER_BATCH):
            stop = min(start + USERS_PER_BATCH, total)
            some = service.user_ids(start, stop) if user_ids is None else user_ids[start:stop]
            features = service.features_of_users(some)
            num_unknown += features.num_rows - int(pc.sum(features["found"]).as_py())
            writer.write_table(features.cast(schema))
            progress("write features", stop, total)
    return FeaturesReport(str(output), total, num_unknown, service.space_id, data_as_of)
