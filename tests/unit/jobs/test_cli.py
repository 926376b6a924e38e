"""The command line's manners: where options may stand, what mistakes look like."""

import json
from pathlib import Path

import pytest

from jobs import cli
from jobs.cli import run
from jobs.errors import UserUnknown

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def workspace(tmp_path: Path, capsys: Capture) -> Path:
    assert run(["init", "-w", str(tmp_path)]) == 0
    capsys.readouterr()
    return tmp_path


def test_the_workspace_may_stand_before_and_after_the_command(
    workspace: Path, capsys: Capture
) -> None:
    for arguments in (
        ["-w", str(workspace), "builds", "list"],
        ["builds", "list", "--workspace", str(workspace)],
        ["builds", "list", f"--workspace={workspace}"],
    ):
        assert run(arguments) == 0
        assert capsys.readouterr().out.startswith("build ")


def test_the_workspace_may_come_from_the_environment(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOOKALIKE_WORKSPACE", str(workspace))
    assert run(["builds", "list"]) == 0
    assert run(["-w", str(tmp_path / "absent"), "builds", "list"]) == 1


@pytest.mark.parametrize("arguments", [["--json", "builds", "list"], ["builds", "list", "--json"]])
def test_json_is_one_object_on_stdout(
    workspace: Path, capsys: Capture, arguments: list[str]
) -> None:
    assert run([*arguments, "-w", str(workspace)]) == 0
    assert json.loads(capsys.readouterr().out) == {"builds": []}


def test_json_is_one_object_on_stdout_even_for_a_failure(workspace: Path, capsys: Capture) -> None:
    assert run(["builds", "show", "b0", "--json", "-w", str(workspace)]) == 1
    captured = capsys.readouterr()
    assert "b0" in json.loads(captured.out)["error"]
    assert captured.err.startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "No such command"),
        (["builds", "list", "--frobnicate"], "No such option"),
        (["search"], "Missing argument"),
        (["search", "ann", "-k", "0"], "should be greater than or equal to 1"),
        (["search", "ann", "-k", "1000000000"], "should be less than or equal to 1000"),
        (["rebuild", "--as-of", "soon"], "'soon' is no time"),
        (["train", "--preset", "huge"], "'huge' is not one of"),
        (["builds", "list"], "no workspace; pass --workspace DIR"),
        (["keys", "create", "ann"], "Missing option '--scope'"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    capsys: Capture, arguments: list[str], message: str
) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_a_folder_that_is_no_workspace_is_said_with_the_remedy(
    tmp_path: Path, capsys: Capture
) -> None:
    assert run(["builds", "list", "-w", str(tmp_path)]) == 1
    assert 'is no workspace; run "lookalike init' in capsys.readouterr().err


def test_a_mistake_in_the_settings_is_named(workspace: Path, capsys: Capture) -> None:
    (workspace / "lookalike.toml").write_text("[idnex]\nm = 3\n")
    assert run(["ingest", "events", "events.csv", "-w", str(workspace)]) == 1
    assert capsys.readouterr().err == "error: lookalike.toml: there is no section [idnex]\n"


def test_init_leaves_settings_that_are_there(workspace: Path, capsys: Capture) -> None:
    settings = workspace / "lookalike.toml"
    settings.write_text("[index]\nm = 24\n")
    assert run(["init", "-w", str(workspace)]) == 0
    assert settings.read_text() == "[index]\nm = 24\n"
    assert "exists already" in capsys.readouterr().out


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    return run([])


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (UserUnknown("no user\nof this id"), 1, "no user of this id"),
        (PermissionError(13, "Permission denied", "/x"), 1, "error: /x: permission denied"),
        (OSError("no device"), 1, "error: no device"),
    ],
)
def test_failures_have_their_status_and_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    error: BaseException,
    status: int,
    text: str,
) -> None:
    assert fail_with(monkeypatch, error) == status
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert text in message


def test_an_unexpected_error_is_one_line_and_kept_whole_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert fail_with(monkeypatch, RuntimeError("a bug")) == 1
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: unexpected RuntimeError; see ")
    assert "RuntimeError: a bug" in Path(message.rpartition(" ")[2]).read_text()
