"""`lookalike erase`: users out of the lake, the labels and the builds, with a receipt."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from index.forgetting import forget_in_builds
from index.milvus.collections import collections_of
from jobs.settings import Settings
from store.database import Database
from store.engine import remove_abandoned_scratch
from store.erasures import ErasureReceipt, erase_users, erased_users
from store.workspace import Workspace


@dataclass(frozen=True)
class EraseReport:
    """The receipt.

    Attributes:
        store: What went from the lake and the database.
        builds_removed: Builds that held one of the users and are gone.
        live_build_holds: Whether the live build holds an erased user, of this erasure or an earlier
            one; they are hidden until the next rebuild.
        staged_builds: Builds being made, or given up, that may hold one; they never go live so.
    """

    store: ErasureReceipt
    builds_removed: tuple[str, ...]
    live_build_holds: bool
    staged_builds: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON form."""
        return {
            **self.store.to_dict(),
            "builds_removed": list(self.builds_removed),
            "live_build_holds": self.live_build_holds,
            "staged_builds": list(self.staged_builds),
        }

    def lines(self) -> list[str]:
        """Return what a person wants to read."""
        receipt = self.store
        lines = [
            f"erased {len(receipt.user_ids):,} users at {receipt.completed_at}: "
            f"{receipt.num_events:,} events in {receipt.num_files_rewritten:,} files, "
            f"{receipt.num_labels:,} labels, {len(self.builds_removed):,} old builds"
        ]
        if self.live_build_holds:
            lines.append(
                "the live build holds erased users, and services hide them within seconds; "
                '"lookalike rebuild" removes them from the disk'
            )
        if self.staged_builds:
            lines.append(
                f"{', '.join(self.staged_builds)} may hold them: a rebuild that runs, and is "
                'refused, or one that was killed; "lookalike builds prune" removes it after a day'
            )
        return lines


def run(
    workspace: Workspace, settings: Settings, user_ids: Collection[str], *, now: datetime
) -> EraseReport:
    """Erase users for good; doing it twice is safe, and finishes what was cut short.

    Raises:
        WorkspaceBusy: If another process is writing to the lake.
        MilvusError: If the collection of an old build can't be dropped.
    """
    database = Database(workspace.ops_url)
    database.migrate()
    remove_abandoned_scratch(workspace)  # a killed rebuild may have left vectors there
    receipt = erase_users(workspace, database, user_ids, now=now)
    forgotten = forget_in_builds(  # of all: an erasure before may have been cut short here
        workspace, erased_users(database), collections=collections_of(settings.index)
    )
    return EraseReport(receipt, forgotten.removed, forgotten.live_holds, forgotten.staged)
