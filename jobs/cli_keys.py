"""`lookalike keys`: API keys, shown once and stored hashed."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.session import Session, with_session
from jobs.terminal import table

if TYPE_CHECKING:
    from store.database import Database
    from store.keys import Key

keys = typer.Typer(name="keys", help="API keys of the service.", no_args_is_help=True)


@keys.command("create")
@with_session
def create_command(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.")],
    scope: Annotated[
        list[str], typer.Option("--scope", help="What it may do; repeatable; '*' is everything.")
    ],
) -> None:
    """Make a key; it is printed once, as the last word."""
    from store.keys import create_key

    secret = create_key(_database(session), name, scope, now=datetime.now(UTC))
    report = {"name": name, "scopes": scope, "key": secret}
    session.answer(report, [f"key {name} may {' '.join(scope)}; it is shown only now: {secret}"])


@keys.command("list")
@with_session
def list_command(session: Session) -> None:
    """List all keys, without their secrets."""
    from store.keys import list_keys

    found = [_describe(key) for key in list_keys(_database(session))]
    header = ("name", "scopes", "created_at", "revoked_at")
    rows = [[key[name] for name in header] for key in found]
    session.answer({"keys": found}, table(header, rows))


@keys.command("revoke")
@with_session
def revoke_command(
    session: Session, name: Annotated[str, typer.Argument(metavar="NAME", help="Which key.")]
) -> None:
    """Revoke a key; the service refuses it within seconds."""
    from store.keys import revoke_key

    revoke_key(_database(session), name, now=datetime.now(UTC))
    session.answer({"name": name, "revoked": True}, [f"revoked {name}"])


def _describe(key: "Key") -> dict[str, Any]:
    """Return what may be shown of a key."""
    revoked_at = None if key.revoked_at is None else f"{key.revoked_at:%Y-%m-%dT%H:%M:%SZ}"
    return {
        "name": key.name,
        "scopes": " ".join(sorted(key.scopes)),
        "created_at": f"{key.created_at:%Y-%m-%dT%H:%M:%SZ}",
        "revoked_at": revoked_at,
    }


def _database(session: Session) -> "Database":
    from store.database import Database

    database = Database(session.workspace.ops_url)
    database.migrate()
    return database
