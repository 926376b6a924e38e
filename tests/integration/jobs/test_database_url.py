"""Every command with the operational database elsewhere than in the workspace."""

from pathlib import Path

import pytest

from jobs.cli import run
from jobs.simulator.simulation import SimulationReport
from store.audit import read as read_audit
from store.database import Database
from store.erasures import erased_users
from tests.integration.jobs.conftest import invoke
from tests.integration.jobs.test_rebuild import live_build, some_users
from tests.postgres_servers import PostgresServer


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def elsewhere(request: pytest.FixtureRequest, workspace: Path, tmp_path: Path) -> str:
    """The URL of another database than the workspace's own, as the settings name it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'other.sqlite'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.make_database()
    (workspace / "ops.sqlite").unlink()
    settings = workspace / "lookalike.toml"
    text = settings.read_text()
    settings.write_text(text.replace('database_url = ""', f'database_url = "{url}"'))
    assert settings.read_text() != text
    return url


def test_every_command_uses_the_database_that_the_settings_name(
    workspace: Path, elsewhere: str, platform: SimulationReport, tmp_path: Path
) -> None:
    for is_known in (False, True):
        (labels,) = invoke("ingest", "labels", platform.labels_file, "-w", workspace)["files"]
        assert labels["already_ingested"] == is_known
    report = invoke("rebuild", "-w", workspace)
    assert report["num_violators"] > 0
    user, erased = some_users(live_build(workspace), 2)
    invoke("search", user, "-w", workspace)
    invoke("export", "vectors", "-o", tmp_path / "vectors.parquet", "-w", workspace)
    invoke("keys", "create", "someone", "--scope", "*", "-w", workspace)
    assert [key["name"] for key in invoke("keys", "list", "-w", workspace)["keys"]] == ["someone"]
    invoke("erase", erased, "-w", workspace)
    assert not (workspace / "ops.sqlite").exists()
    database = Database(elsewhere)
    assert [row.action for row in read_audit(database)] == ["export vectors", "search"]
    assert erased_users(database) == {erased}
    database.close()


@pytest.mark.parametrize(
    "url", ["postgresql://me:secret@host:port/db", "oracle://me:secret@host/db", "secret"]
)
def test_a_url_that_can_not_be_used_is_one_line_without_its_password(
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
) -> None:
    monkeypatch.setenv("LOOKALIKE_DATABASE_URL", url)
    for command in (["keys", "list"], ["rebuild"], ["search", "ann"], ["erase", "ann"]):
        assert run([*command, "-w", str(workspace)]) == 1
        message = capsys.readouterr().err
        if command == ["search", "ann"]:
            continue  # fails before, as nothing is live
        assert message.startswith("error: database_url can't be used: ")
        assert message.count("\n") == 1
        assert "secret" not in message
