"""The service with its operational database in a PostgreSQL, which may go away."""

from pathlib import Path

import pytest

from store.audit import read
from store.database import Database
from store.workspace import Workspace
from tests.integration.api.serving import make_key, make_workspace, publish_users, serving
from tests.integration.api.test_serving import run_main, until
from tests.postgres_servers import PostgresServer

pytestmark = pytest.mark.slow


def test_a_short_outage_of_the_database_loses_no_answer_and_no_audit_row(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    here = make_workspace(tmp_path / "workspace")
    (here.root / "ops.sqlite").unlink()
    publish_users(here, seed=1)
    workspace = Workspace(here.root, postgres.make_database())
    database = Database(workspace.ops_url)
    database.migrate()
    secret = make_key(workspace, "someone", "*")
    variables = {"LOOKALIKE_DATABASE_URL": workspace.ops_url}
    with (
        serving(workspace, tmp_path / "log", variables=variables) as server,
        server.client(secret) as client,
    ):
        assert client.get("/v1/users/ü/neighbors").status_code == 200
        postgres.stop()
        try:
            during = [client.get("/v1/users/ü/neighbors").status_code for _ in range(20)]
            with server.client("a-key-that-nobody-has") as stranger:
                unknown = stranger.get("/v1/users/ü/neighbors")
        finally:
            postgres.start()
        until(server, "/readyz", lambda answer: answer.status_code == 200)
        after = client.get("/v1/users/ü/risk").status_code

    assert (during, unknown.status_code, after) == ([200] * 20, 401, 200)
    actions = [row.action for row in read(database)]
    assert sorted(set(actions)) == ["neighbors.query", "risk.read"]
    assert actions.count("neighbors.query") == 21
    assert workspace.ops_url not in (tmp_path / "log").read_text()
    database.close()


def test_a_database_that_is_not_there_is_one_line_and_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    monkeypatch.setenv("LOOKALIKE_DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/db")

    done = run_main("-w", str(workspace.root))

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "refused" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr
