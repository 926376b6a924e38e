"""What people and programs send by mistake or on purpose, through the real command and service.

Nothing here is a fake: `lookalike` ingests, trains and builds, and `lookalike serve` answers.
What other tests prove on the same way is not repeated: `-k 0` and `-k 1000000000` on the command
line in `tests/unit/jobs/test_cli.py`, every kind of broken row and file in
`tests/integration/store/test_bad_input.py`, a body of 100 MB sent to a server process and the
memory that it does not take in `tests/integration/api/test_endpoints.py`, a damaged build that is
promoted over HTTP in `tests/integration/api/test_serving.py`, a byte changed or cut anywhere in
a build in `tests/chaos/test_damaged_build.py`.
"""

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from index.build import load_build
from jobs.cli import run
from store.workspace import Workspace
from tests.integration.api.serving import Server, make_key, serving, wait_until_ready
from tests.integration.bad_input.conftest import SERVE
from tests.integration.bad_input.workspaces import ground_and_derived, known_user, live_build

Capture = pytest.CaptureFixture[str]

COMMAND = ("-m", "jobs.cli")
HEADER = "user_id,ts,event_type\n"


def refused(capsys: Capture, *arguments: object, status: int = 1) -> str:
    """Run a command that must fail with one line and nothing on stdout; returns the line."""
    capsys.readouterr()
    assert run([*map(str, arguments)]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 1_000
    assert "unexpected" not in captured.err
    return captured.err


# Files.


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("events", "", "is empty"),
        ("events", "user_id,ts\nal,1\n", "lacks the column event_type; columns found: user_id, ts"),
        ("events", HEADER + "al,9999-01-01T00:00:00Z,join\n" * 9, "9 of 9 rows"),
        ("labels", "", "is empty"),
        ("labels", "user_id,policy\nal,spam\n", "lacks the column label"),
        ("labels", "user_id,label\n" + "al,1\nbo,maybe\n" * 50, "50 of 100 rows"),
    ],
)
def test_a_file_that_is_no_use_is_refused_in_one_line(
    workspace: Workspace, tmp_path: Path, capsys: Capture, kind: str, content: str, message: str
) -> None:
    """The workspace's fixture proves that the lake and the labels are as they were."""
    file = tmp_path / "bad.csv"
    file.write_text(content)
    assert message in refused(capsys, "ingest", kind, file, "-w", workspace.root)


def test_the_console_process_says_it_in_one_line_too(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "empty.csv"
    file.touch()
    done = subprocess.run(
        [sys.executable, *COMMAND, "--json", "ingest", "events", file, "-w", workspace.root],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"error: {json.loads(done.stdout)['error']}\n"
    assert str(file) in done.stderr


@pytest.mark.parametrize(
    ("bad_row", "reason"),
    [
        ("al,yesterday,join", "ts is not a time: yesterday"),
        ("al,9999-01-01T00:00:00Z,join", "ts lies in the future: 9999-01-01T00:00:00Z"),
        (f"{'x' * 10_000_000},1,join", "longer than"),
    ],
    ids=["no time", "far future", "user id of 10 MB"],
)
def test_one_bad_row_in_a_hundred_is_put_aside_with_its_reason(
    empty: Workspace, tmp_path: Path, capsys: Capture, bad_row: str, reason: str
) -> None:
    file = tmp_path / "events.csv"
    file.write_text(HEADER + "\n".join([*["al,1,join"] * 99, bad_row]) + "\n")
    capsys.readouterr()
    assert run(["--json", "ingest", "events", str(file), "-w", str(empty.root)]) == 0
    (report,) = json.loads(capsys.readouterr().out)["files"]
    assert (report["num_kept"], report["num_rejected"]) == (99, 1)
    rejects = Path(report["rejects_file"]).read_text()
    assert "101," in rejects
    assert reason in rejects
    assert len(rejects) < 1_000


def test_a_file_half_of_which_is_broken_is_refused_and_the_next_one_is_not(
    empty: Workspace, tmp_path: Path, capsys: Capture
) -> None:
    bad, good = tmp_path / "bad.csv", tmp_path / "good.csv"
    bad.write_text(HEADER + "al,1,join\nal,never,join\n" * 50)
    good.write_text(HEADER + "al,1,join\n" * 50)
    before = ground_and_derived(empty)
    message = refused(capsys, "ingest", "events", bad, "-w", empty.root)
    assert "50 of 100 rows" in message
    assert ground_and_derived(empty) == before
    assert run(["ingest", "events", str(good), "-w", str(empty.root)]) == 0


# Requests.


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ('{"query": {"user_id": "stranger"}}', 404, None),
        ('{"query": {"user_id": USER}, "k": 0}', 422, "/k"),
        ('{"query": {"user_id": USER}, "k": 1000000000}', 422, "/k"),
        ('{"query": {"vector": WITH_NAN, "space_id": SPACE}}', 422, "/query/vector/0"),
        ('{"query": {"vector": WITH_NULL, "space_id": SPACE}}', 422, "/query/vector/0"),
        ('{"query": {"vector": WITH_1e39, "space_id": SPACE}}', 422, "/query/vector"),
        ('{"query": {"vector": [1, 0], "space_id": SPACE}}', 422, "/query/vector"),
        ('{"query": {"vector": WITH_1, "space_id": "another"}}', 409, "/query/space_id"),
        ('{"query": {"events": [{"ts": FUTURE, "event_type": "a"}]}}', 422, "/query/events/0/ts"),
        ('{"query": {"user_id": LONG}}', 422, "/query/user_id"),
        ('{"query": {"user_id": TOO_LONG}}', 413, None),
    ],
)
def test_a_query_that_makes_no_sense_is_a_problem_with_a_pointer(
    workspace: Workspace, client: httpx.Client, body: str, status: int, pointer: str | None
) -> None:
    build = load_build(live_build(workspace))
    for name, value in {
        "USER": json.dumps(known_user(workspace)),
        "SPACE": json.dumps(build.manifest.space_id),
        "FUTURE": '"9999-01-01T00:00:00Z"',
        "TOO_LONG": json.dumps("x" * 10_000_000),
        "LONG": json.dumps("x" * 1_000_000),
        "WITH_NAN": vector(build.manifest.dim, "NaN"),
        "WITH_NULL": vector(build.manifest.dim, "null"),
        "WITH_1e39": vector(build.manifest.dim, "1e39"),
        "WITH_1": vector(build.manifest.dim, "1"),
    }.items():
        body = body.replace(name, value)
    answer = client.post(
        "/v1/neighbors:query", content=body, headers={"Content-Type": "application/json"}
    )
    document = problem(answer, status)
    pointers = [error["pointer"] for error in document.get("errors", [])]
    assert pointers == ([] if pointer is None else [pointer])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/users/stranger/neighbors", 404),
        ("/v1/users/stranger/risk", 404),
        ("/v1/users/stranger/neighbors?k=0", 422),
        ("/v1/users/stranger/neighbors?k=1000000000", 422),
    ],
)
def test_a_path_that_makes_no_sense_is_a_problem(
    client: httpx.Client, path: str, status: int
) -> None:
    problem(client.get(path), status)


def test_a_path_of_ten_megabytes_is_refused(server: Server, secret: str) -> None:
    url = httpx.URL(server.url)
    connection = http.client.HTTPConnection(url.host, url.port, timeout=30)
    try:
        headers = {"Authorization": f"Bearer {secret}"}
        connection.request("GET", f"/v1/users/{'x' * 10_000_000}/risk", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 400  # the HTTP parser's own limit, before the application
        assert len(answer.read()) < 2_000
    finally:
        connection.close()


def test_strangers_in_a_batch_cost_only_themselves(
    workspace: Workspace, client: httpx.Client
) -> None:
    ids = ["stranger", known_user(workspace)]
    risks = client.post("/v1/risk:batch", json={"user_ids": ids}).json()["risks"]
    features = client.post("/v1/features:batch", json={"user_ids": ids}).json()["features"]
    assert [risk["user_id"] for risk in risks] == ids
    assert [risk["status"] == "unknown_user" for risk in risks] == [True, False]
    assert [row["found"] for row in features] == [False, True]


def test_without_a_key_or_with_another_scope_nothing_is_answered(
    workspace: Workspace, server: Server
) -> None:
    user_id = known_user(workspace)
    narrow = make_key(workspace, "narrow", "neighbors:read")
    with server.client() as nobody, server.client("lk_forged") as forger:
        problem(nobody.get(f"/v1/users/{user_id}/risk"), 401)
        problem(forger.get(f"/v1/users/{user_id}/risk"), 401)
        problem(nobody.post("/v1/builds/any:promote"), 401)
    with server.client(narrow) as client:
        assert client.get(f"/v1/users/{user_id}/neighbors").status_code == 200
        assert "risk:read" in problem(client.get(f"/v1/users/{user_id}/risk"), 403)["detail"]
        problem(client.post("/v1/builds/any:promote"), 403)


# Commands on a workspace in which something is amiss.


def test_a_user_who_is_not_there_is_said(
    workspace: Workspace, tmp_path: Path, capsys: Capture
) -> None:
    assert "no user 'stranger'" in refused(capsys, "search", "stranger", "-w", workspace.root)
    users = tmp_path / "users.txt"
    users.write_text("stranger\n")
    output = tmp_path / "features.parquet"
    command = ["export", "features", "--users", str(users), "-o", str(output)]
    assert run(["--json", *command, "-w", str(workspace.root)]) == 0
    assert json.loads(capsys.readouterr().out)["num_unknown"] == 1


def test_a_truncated_build_is_named_and_nothing_else_happens(
    copied: Workspace, tmp_path: Path, capsys: Capture
) -> None:
    cut(live_build(copied) / "vectors.npy")
    before = ground_and_derived(copied)
    output = tmp_path / "out.parquet"
    for command in (
        ("search", "anybody"),
        ("export", "vectors", "-o", output),
        ("export", "features", "-o", output),
        ("builds", "promote", live_build(copied).name),
    ):
        message = refused(capsys, *command, "-w", copied.root)
        assert live_build(copied).name in message
        assert "vectors.npy" in message
    assert not output.exists()
    assert ground_and_derived(copied) == before


def test_a_missing_model_is_named_with_the_remedy(copied: Workspace, capsys: Capture) -> None:
    remove_models(copied)
    before = ground_and_derived(copied)
    for command in (("search", "anybody"), ("rebuild",)):
        message = refused(capsys, *command, "-w", copied.root)
        assert "lookalike train" in message
    assert ground_and_derived(copied) == before


# Places that can't be written to.


@pytest.mark.parametrize("below", ["", "workspace", "deep/workspace"])
def test_a_file_in_the_way_of_a_new_workspace_is_named(
    tmp_path: Path, capsys: Capture, below: str
) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file" / below
    assert f"error: {root} can't be made a workspace: " in refused(capsys, "init", "-w", root)


def test_an_output_that_can_not_be_written_is_told_before_any_work(
    workspace: Workspace, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "file").touch()
    below_file, absent = tmp_path / "file" / "out", tmp_path / "absent" / "out"
    for command in (("export", "vectors"), ("export", "features"), ("evaluate",)):
        message = refused(capsys, *command, "-o", below_file, "-w", workspace.root)
        assert "not a directory" in message
    for command in (("export", "vectors"), ("export", "features")):
        assert "absent can't be written to: no such file" in refused(
            capsys, *command, "-o", absent, "-w", workspace.root
        )
        assert "is a folder" in refused(capsys, *command, "-o", tmp_path, "-w", workspace.root)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        ("lake", ("ingest", "events", "events.csv")),
        ("tmp", ("ingest", "events", "events.csv")),
        ("models", ("train", "--preset", "fast")),
        ("builds", ("rebuild",)),
    ],
)
def test_a_workspace_that_can_not_be_written_to_is_named_with_the_folder(
    copied: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    folder: str,
    command: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("events.csv").write_text(HEADER + "al,1,join\n")
    shutil.rmtree(copied.root / folder)
    (copied.root / folder).touch()
    message = refused(capsys, *command, "-w", copied.root)
    assert str(copied.root / folder) in message
    assert "Errno" not in message


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def remove_models(workspace: Workspace) -> None:
    for model in workspace.models_dir.iterdir():
        shutil.rmtree(model)


@pytest.mark.parametrize(
    "damage",
    [lambda workspace: cut(live_build(workspace) / "vectors.npy"), remove_models],
    ids=["truncated build", "missing model"],
)
def test_a_service_that_can_load_nothing_says_so_until_it_can(
    workspace: Workspace,
    copied: Workspace,
    secret: str,
    tmp_path: Path,
    damage: Callable[[Workspace], None],
) -> None:
    user_id = known_user(workspace)
    damage(copied)
    log = tmp_path / "server.log"
    with (
        serving(copied, log, program=SERVE, ready=False) as server,
        server.client(secret) as client,
    ):
        problem(client.get(f"/v1/users/{user_id}/neighbors"), 503)
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 503
        for folder in ("models", "builds"):
            shutil.copytree(workspace.root / folder, copied.root / folder, dirs_exist_ok=True)
        # Another content, as after a publish, so that it is not waited with for seconds.
        copied.live_file.write_bytes(copied.live_file.read_bytes() + b"\n")
        wait_until_ready(server)
        assert client.get(f"/v1/users/{user_id}/neighbors").status_code == 200


def vector(dim: int, first: str) -> str:
    """Write a vector as JSON, or what is none, by its first component."""
    return f"[{', '.join([first, *['0'] * (dim - 1)])}]"


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check that an answer is a short problem document, and return it."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(answer.content) < 2_000
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["type"].startswith("urn:lookalike:problem:")
    return document
