"""The endpoints over real HTTP and a real build."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote

import httpx
import pyarrow as pa
import pytest

from store.audit import read
from store.database import Database
from store.keys import revoke_key
from store.workspace import Workspace
from tests.index_fakes import DIM, SPACE_ID, unit_vectors
from tests.integration.api.serving import NUM_USERS, ODD_IDS, Server, make_key


@pytest.fixture
def client(server: Server, secret: str) -> Iterator[httpx.Client]:
    with server.client(secret) as client:
        yield client


@pytest.mark.parametrize("user_id", ODD_IDS)
def test_odd_ids_work_in_paths_bodies_and_answers(client: httpx.Client, user_id: str) -> None:
    path = f"/v1/users/{quote(user_id, safe='')}"

    neighbors = client.get(f"{path}/neighbors?k=5").json()
    posted = client.post("/v1/neighbors:query", json={"query": {"user_id": user_id}, "k": 5}).json()
    risk = client.get(f"{path}/risk").json()

    assert neighbors["user_id"] == posted["user_id"] == risk["user_id"] == user_id
    assert [hit["user_id"] for hit in neighbors["neighbors"]] == [
        hit["user_id"] for hit in posted["neighbors"]
    ]
    assert len(neighbors["neighbors"]) == 5


def test_a_stored_vector_finds_its_user_first(client: httpx.Client) -> None:
    vector = unit_vectors(NUM_USERS, seed=1)[7].tolist()
    body = {"query": {"vector": vector, "space_id": SPACE_ID}, "k": 1, "params": {"exact": True}}

    answer = client.post("/v1/neighbors:query", json=body).json()

    assert answer["neighbors"][0]["user_id"] == "user-0000007"
    assert answer["neighbors"][0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert answer["meta"]["search_mode"] == "exact"
    assert answer["meta"]["space_id"] == SPACE_ID


def test_events_are_embedded_on_the_spot(client: httpx.Client) -> None:
    events = [{"ts": "2026-02-01T00:00:00Z", "event_type": "visit", "amount": 3}]

    answer = client.post(
        "/v1/neighbors:query",
        json={"query": {"events": events}, "known_violators": True, "explain": True},
    ).json()

    assert answer["num_events"] == 1
    assert all(hit["known_violator"] for hit in answer["neighbors"])
    for hit in answer["neighbors"]:
        assert sum(hit["channels"].values()) == pytest.approx(hit["similarity"], abs=1e-5)


def test_a_purpose_changes_order_and_channels(client: httpx.Client) -> None:
    path, query = "/v1/users/user-0000100/neighbors", {"user_id": "user-0000100"}
    params = {"k": 20, "explain": True}
    plain = client.get(path, params=params).json()["neighbors"]
    evader = client.get(path, params={**params, "purpose": "evader"}).json()["neighbors"]
    kind = client.get(path, params={**params, "purpose": "same_kind"}).json()["neighbors"]
    body = {"query": query, "k": 20, "explain": True, "params": {"purpose": "same_kind"}}
    posted = client.post("/v1/neighbors:query", json=body).json()["neighbors"]
    batch = client.post("/v1/neighbors:batch_query", json={"queries": [body, {"query": query}]})

    assert evader == plain != kind
    assert posted == kind == batch.json()["results"][0]["neighbors"]
    assert [hit["user_id"] for hit in kind] != [hit["user_id"] for hit in plain]
    for hit in kind:
        assert sum(hit["channels"].values()) == pytest.approx(hit["similarity"], abs=1e-6)
    refused = client.get(path, params={"purpose": "revenge"})
    assert refused.status_code == 422
    assert [fault["pointer"] for fault in refused.json()["errors"]] == ["/purpose"]


def test_a_filter_returns_only_who_passes_it(client: httpx.Client) -> None:
    body = {
        "query": {"user_id": "user-0000100"},
        "k": 50,
        "filter": {"min_events": 200, "first_seen_after": "2026-08-01T00:00:00Z"},
    }

    answer = client.post("/v1/neighbors:query", json=body).json()

    assert answer["neighbors"]
    assert all(hit["num_events"] >= 200 for hit in answer["neighbors"])
    assert answer["meta"]["search_mode"] == "exact_filtered"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"user_id": "stranger"}, 404),
        ({"vector": [0.5] * DIM, "space_id": "another"}, 409),
        ({"vector": [0.5] * (DIM + 1), "space_id": SPACE_ID}, 422),
        ({"vector": [0.0] * DIM, "space_id": SPACE_ID}, 422),
        ({"events": [{"ts": "yesterday", "event_type": "visit"}]}, 422),
        ({"events": [{"ts": "2222-01-01T00:00:00Z", "event_type": "visit"}]}, 422),
    ],
)
def test_what_the_index_refuses_is_a_problem(
    client: httpx.Client, query: dict[str, object], status: int
) -> None:
    answer = client.post("/v1/neighbors:query", json={"query": query})

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    if status == 422:
        assert answer.json()["errors"][0]["pointer"].startswith("/query")


def test_features_are_the_same_in_both_forms(client: httpx.Client) -> None:
    body = {"user_ids": ["user-0000003", "stranger", "ü"]}

    rows = client.post("/v1/features:batch", json=body).json()["features"]
    stream = client.post(
        "/v1/features:batch", json=body, headers={"Accept": "application/vnd.apache.arrow.stream"}
    )

    table = pa.ipc.open_stream(stream.content).read_all()
    assert [row["found"] for row in rows] == [True, False, True]
    assert table.to_pylist() == rows


def test_a_body_of_100_megabytes_is_refused_and_never_held(
    server: Server, client: httpx.Client
) -> None:
    before = _memory_mb(server.process.pid)

    def body() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1_000_000

    announced = client.post(
        "/v1/neighbors:query", content=body(), headers={"Content-Length": "100000000"}
    )
    chunked = client.post("/v1/neighbors:query", content=body())

    assert announced.status_code == chunked.status_code == 413
    assert _memory_mb(server.process.pid) - before < 40


def _memory_mb(pid: int) -> float:
    """Return the most memory that a process ever held."""
    with open(f"/proc/{pid}/status") as lines:
        peak = next(line for line in lines if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


def test_a_key_opens_at_once_and_no_longer_soon_after_it_is_revoked(
    workspace: Workspace, server: Server
) -> None:
    secret = make_key(workspace, "for a while", "neighbors:read")
    database = Database(workspace.ops_url)
    with server.client(secret) as client:
        first = client.get("/v1/users/ü/neighbors").status_code
        revoke_key(database, "for a while", now=datetime.now(UTC))
        deadline = time.monotonic() + 5
        while client.get("/v1/users/ü/neighbors").status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        last = client.get("/v1/users/ü/neighbors").status_code
    database.close()

    assert (first, last) == (200, 401)


def test_reads_are_in_the_audit_within_seconds(workspace: Workspace, client: httpx.Client) -> None:
    request_id = client.get("/v1/users/user-0000042/risk").json()["meta"]["request_id"]
    client.get("/?user_id=user-0000042")  # not signed in: nothing is read

    database = Database(workspace.ops_url)
    deadline = time.monotonic() + 10
    while not (rows := read(database, subject="user-0000042")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    database.close()
    assert [(row.key_name, row.action, row.request_id) for row in rows] == [
        ("everything", "risk.read", request_id)
    ]


def test_no_log_line_names_a_user_or_an_event(server: Server, client: httpx.Client) -> None:
    client.get("/v1/users/user-0000077/neighbors")
    client.post(
        "/v1/neighbors:query",
        json={"query": {"events": [{"ts": "no time", "event_type": "whisper-xyz"}]}},
    )

    lines = server.events()
    assert {"request", "build_live"} <= {line["event"] for line in lines}
    text = server.log.read_text()
    assert "user-0000077" not in text
    assert "whisper-xyz" not in text
    assert "no time" not in text
