"""`lookalike builds`: which builds there are, which is live, and back to an earlier one."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from jobs.session import Session, with_session
from jobs.terminal import table

builds = typer.Typer(name="builds", help="The published builds.", no_args_is_help=True)

BuildId = Annotated[str, typer.Argument(metavar="BUILD", help='As in "builds list".')]


@builds.command("list")
@with_session
def list_command(session: Session) -> None:
    """List all builds, oldest first."""
    from index.builds import list_builds

    infos = list_builds(session.workspace)
    header = ("build", "state", "gate", "data as of", "users", "violators", "space", "megabytes")
    rows = [
        [
            info.build_id,
            "live" if info.live else "previous" if info.previous else "",
            info.gate or "damaged",
            None if info.data_as_of is None else f"{info.data_as_of:%Y-%m-%d %H:%M:%SZ}",
            info.num_users,
            info.num_violators,
            info.space_id,
            info.size_bytes // 1_000_000,
        ]
        for info in infos
    ]
    session.answer({"builds": [asdict(info) for info in infos]}, table(header, rows))


@builds.command("show")
@with_session
def show_command(
    session: Session,
    build: Annotated[
        str | None, typer.Argument(metavar="[BUILD]", help="The live build if absent.")
    ] = None,
) -> None:
    """Show the manifest of a build and what the gate said."""
    from index.builds import show
    from index.publish import live_build_id

    description = show(session.workspace, build or live_build_id(session.workspace))
    session.answer(description, [json.dumps(description, indent=2)])


@builds.command("promote")
@with_session
def promote_command(session: Session, build: BuildId) -> None:
    """Make a build live."""
    from index.builds import promote
    from index.milvus.collections import collections_of

    pointer = promote(
        session.workspace,
        build,
        now=datetime.now(UTC),
        collections=collections_of(session.settings.index),
    )
    session.answer(asdict(pointer), [f"live {pointer.live}, previous {pointer.previous or '-'}"])


@builds.command("rollback")
@with_session
def rollback_command(session: Session) -> None:
    """Make the previous build live again."""
    from index.builds import rollback
    from index.milvus.collections import collections_of

    pointer = rollback(
        session.workspace,
        now=datetime.now(UTC),
        collections=collections_of(session.settings.index),
    )
    session.answer(asdict(pointer), [f"live {pointer.live}, previous {pointer.previous or '-'}"])


@builds.command("prune")
@with_session
def prune_command(
    session: Session,
    keep: Annotated[int, typer.Option(min=1, help="Newest builds to keep.")] = 5,
) -> None:
    """Remove old builds; never the live one nor the previous."""
    from index.builds import prune
    from index.milvus.collections import collections_of

    removed = prune(
        session.workspace,
        keep=keep,
        now=datetime.now(UTC),
        collections=collections_of(session.settings.index),
    )
    session.answer({"removed": removed}, [f"removed {build}" for build in removed] or ["none"])
