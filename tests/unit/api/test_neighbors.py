import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from api.schemas import BatchNeighborsAnswer, NeighborsAnswer
from index.answers import Freshness, NeighborAnswer, NeighborRequest, UnknownUser
from index.errors import MilvusUnavailable, PurposeUnavailable
from tests.unit.api.fakes import SPACE_ID, USER_IDS, VIOLATORS, FakeBuild, World

EVENTS = [{"ts": "2026-03-01T10:00:00Z", "event_type": "join", "place": "arena", "party_size": 3}]


def query(client: TestClient, **body: Any) -> Any:
    return client.post("/v1/neighbors:query", json=body)


def problem(answer: Any) -> dict[str, Any]:
    """Check the shape that every failure has, and return it."""
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == answer.status_code
    assert document["instance"] == f"urn:lookalike:request:{document['request_id']}"
    assert document["request_id"] == answer.headers["x-request-id"]
    assert document["type"].startswith("urn:lookalike:problem:")
    assert document["title"]
    assert document["detail"]
    return document


def pointers(answer: Any) -> list[str]:
    return [fault["pointer"] for fault in problem(answer)["errors"]]


@pytest.mark.parametrize(
    "asked",
    [{"user_id": "u-1"}, {"events": EVENTS}, {"vector": [1, 0, 0, 0.5], "space_id": SPACE_ID}],
)
def test_every_kind_of_query_is_answered_as_documented(client: TestClient, asked: Any) -> None:
    answer = query(client, query=asked, k=3, explain=True)

    assert answer.status_code == 200
    body = TypeAdapter(NeighborsAnswer).validate_json(answer.content)
    assert len(body["neighbors"]) == 3
    assert body["user_id"] == asked.get("user_id")
    first = body["neighbors"][0]
    assert sum(first["channels"].values()) == pytest.approx(first["similarity"])
    assert set(answer.json()["meta"]) >= {
        "request_id", "build_id", "space_id", "data_as_of", "search_mode", "state", "age_seconds",
    }  # fmt: skip


def test_hits_have_exactly_the_promised_fields(client: TestClient) -> None:
    hit = query(client, query={"user_id": "u-1"}).json()["neighbors"][0]

    fixed = {"user_id", "similarity", "known_violator", "policy", "num_events"}
    assert set(hit) == {*fixed, "duplicates"}


@pytest.mark.parametrize("method", ["get", "post"])
def test_members_of_a_behavior_are_named_up_to_the_number_asked_for(
    client: TestClient, method: str
) -> None:
    if method == "get":
        answer = client.get("/v1/users/u-1/neighbors?count=behaviors&members=2")
    else:
        answer = query(client, query={"user_id": "u-1"}, count="behaviors", members=2)

    body = TypeAdapter(NeighborsAnswer).validate_json(answer.content)
    by_user = {hit["user_id"]: hit for hit in body["neighbors"]}
    assert by_user["ü"]["duplicates"] == 23
    assert by_user["ü"]["members"] == [
        {"user_id": "ü-copy-0", "known_violator": True, "policy": "spam", "num_events": 9},
        {"user_id": "ü-copy-1", "known_violator": False, "policy": None, "num_events": 8},
    ]
    assert by_user["u-2"]["members"] == []


def test_members_that_do_not_fit_are_refused_on_every_way(client: TestClient) -> None:
    among_users: dict[str, Any] = {"query": {"user_id": "u-1"}, "members": 1}
    too_many: dict[str, Any] = {**among_users, "count": "behaviors", "k": 11, "members": 1_000}

    for body in (among_users, too_many):
        assert pointers(query(client, **body)) == ["/members"]
    batch = client.post("/v1/neighbors:batch_query", json={"queries": [too_many]})
    assert pointers(batch) == ["/queries/0/members"]
    assert pointers(client.get("/v1/users/u-1/neighbors?members=1")) == ["/members"]
    assert pointers(client.get("/v1/users/u-1/neighbors?count=hits")) == ["/count"]


def test_members_count_in_the_bound_of_a_batch(client: TestClient) -> None:
    one = {"query": {"user_id": "u-1"}, "count": "behaviors", "k": 10, "members": 999}

    fits = client.post("/v1/neighbors:batch_query", json={"queries": [one] * 10})
    too_much = client.post("/v1/neighbors:batch_query", json={"queries": [one] * 11})

    assert fits.status_code == 200
    assert pointers(too_much) == ["/queries"]


@pytest.mark.parametrize("user_id", USER_IDS)
def test_any_user_id_fits_in_a_path(client: TestClient, user_id: str) -> None:
    from urllib.parse import quote

    answer = client.get(f"/v1/users/{quote(user_id, safe='')}/neighbors", params={"k": 2})

    assert answer.status_code == 200
    assert answer.json()["user_id"] == user_id
    assert user_id not in {hit["user_id"] for hit in answer.json()["neighbors"]}


def test_only_known_violators_are_returned_when_asked(client: TestClient) -> None:
    answer = client.get("/v1/users/u-1/neighbors?known_violators=true&k=1000")

    assert {hit["user_id"] for hit in answer.json()["neighbors"]} == set(VIOLATORS)
    assert all(hit["known_violator"] for hit in answer.json()["neighbors"])


def test_a_stale_build_answers_and_says_so(client: TestClient, world: World) -> None:
    assert world.live.build is not None
    world.live.build.state = Freshness("stale", 400_000.0)

    answer = client.get("/v1/users/u-1/neighbors")

    assert answer.status_code == 200
    assert answer.json()["meta"]["state"] == "stale"
    assert answer.json()["meta"]["age_seconds"] == 400_000.0


def test_an_unknown_user_is_404_and_its_id_is_not_repeated(client: TestClient) -> None:
    answer = client.get("/v1/users/stranger/neighbors")

    assert answer.status_code == 404
    assert problem(answer)["type"] == "urn:lookalike:problem:unknown-user"
    assert "stranger" not in answer.text


def test_a_vector_of_another_space_is_409(client: TestClient) -> None:
    answer = query(client, query={"vector": [1, 0, 0, 0], "space_id": "other"})

    assert answer.status_code == 409
    assert pointers(answer) == ["/query/space_id"]


def test_a_vector_of_a_wrong_length_is_422(client: TestClient) -> None:
    answer = query(client, query={"vector": [1, 0], "space_id": SPACE_ID})

    assert answer.status_code == 422
    assert pointers(answer) == ["/query/vector"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"query": {"user_id": "u-1"}, "k": 0}', "/k"),
        ('{"query": {"user_id": "u-1"}, "k": 1000000000}', "/k"),
        ('{"query": {"user_id": "u-1"}, "k": 1.5}', "/k"),
        ('{"query": {"user_id": "u-1"}, "k": "3"}', "/k"),
        ('{"query": {"user_id": ""}}', "/query/user_id"),
        ('{"query": {"user_id": "u-1"}, "colour": 1}', "/colour"),
        ('{"query": {"user_id": "u-1", "vector": [1], "space_id": "s"}}', "/query"),
        ('{"query": {}}', "/query"),
        ('{"query": {"vector": [1, 0, 0, 0]}}', "/query"),
        ('{"query": {"user_id": "u-1", "space_id": "s"}}', "/query"),
        ('{"query": {"vector": [1, NaN, 0, 0], "space_id": "5pace"}}', "/query/vector/1"),
        ('{"query": {"vector": [1, Infinity, 0, 0], "space_id": "5pace"}}', "/query/vector/1"),
        ('{"query": {"vector": [1, 1e39, 0, 0], "space_id": "5pace"}}', "/query/vector"),
        ('{"query": {"vector": [], "space_id": "5pace"}}', "/query/vector"),
        ('{"query": {"events": []}}', "/query/events"),
        ('{"query": {"events": [{"ts": 1}]}}', "/query/events/0/event_type"),
        ('{"query": {"events": [{"ts": "bad", "event_type": "a"}]}}', "/query/events/0/ts"),
        ('{"query": {"user_id": "u-1"}, "params": {"ef_search": 0}}', "/params/ef_search"),
        ('{"query": {"user_id": "u-1"}, "filter": {"planet": 1}}', "/filter/planet"),
        ('{"query": {"user_id": "u-1"}, "filter": {"policies": []}}', "/filter/policies"),
        (
            '{"query": {"user_id": "u-1"}, "filter": {"last_seen_after": "2026-01-01T00:00:00"}}',
            "/filter/last_seen_after",
        ),
        ("{", ""),
        ("[]", ""),
        ("", ""),
        ("\udcff", ""),
    ],
)
def test_what_does_not_fit_is_422_and_pointed_at(
    client: TestClient, body: str, pointer: str
) -> None:
    answer = client.post(
        "/v1/neighbors:query",
        content=body.encode(errors="surrogateescape"),
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 422
    assert pointer in pointers(answer)


@pytest.mark.parametrize(
    ("parameters", "pointer"),
    [
        ("k=0", "/k"),
        ("k=1000000000", "/k"),
        ("k=x", "/k"),
        ("colour=1", "/colour"),
        ("k=1&k=2", ""),
    ],
)
def test_query_parameters_that_do_not_fit_are_422(
    client: TestClient, parameters: str, pointer: str
) -> None:
    answer = client.get(f"/v1/users/u-1/neighbors?{parameters}")

    assert answer.status_code == 422
    assert pointers(answer) == [pointer]


def test_a_user_id_beyond_the_limit_is_refused_without_repeating_it(client: TestClient) -> None:
    answer = query(client, query={"user_id": "x" * 1_000_000})

    assert answer.status_code == 422
    assert len(answer.content) < 2_000


@pytest.mark.parametrize("user_id", ["\0", "u-1\0"])
def test_a_user_id_with_a_zero_byte_is_422_on_every_way(client: TestClient, user_id: str) -> None:
    assert pointers(query(client, query={"user_id": user_id})) == ["/query/user_id"]
    assert pointers(client.post("/v1/risk:batch", json={"user_ids": [user_id]})) == ["/user_ids/0"]
    path = user_id.replace("\0", "%00")
    answer = client.get(f"/v1/users/{path}/neighbors")
    assert answer.status_code == 422
    assert pointers(answer) == ["/user_id"]


@pytest.mark.parametrize("num_chars", [866, 867])
def test_a_user_id_has_so_many_bytes_at_most_on_every_way(
    client: TestClient, num_chars: int
) -> None:
    user_id = "漢" * num_chars
    answers = [
        query(client, query={"user_id": user_id}),
        client.post("/v1/risk:batch", json={"user_ids": [user_id]}),
        client.get(f"/v1/users/{user_id}/neighbors"),
    ]
    if num_chars * 3 <= 2_600:
        assert [answer.status_code for answer in answers] == [404, 200, 404]
    else:
        assert [pointers(answer) for answer in answers] == [
            ["/query/user_id"],
            ["/user_ids/0"],
            ["/user_id"],
        ]
        assert {problem(answer)["errors"][0]["detail"] for answer in answers} == {
            "must have at most 2,600 bytes"
        }


def test_a_thousand_faults_are_not_all_told(client: TestClient) -> None:
    answer = query(client, query={"vector": ["x"] * 1_000, "space_id": "s"})

    assert len(problem(answer)["errors"]) == 20


def test_a_body_that_is_no_json_is_415(client: TestClient) -> None:
    answer = client.post("/v1/neighbors:query", data={"query": "u-1"})

    assert answer.status_code == 415
    assert "application/json" in problem(answer)["detail"]


def test_a_batch_keeps_its_order_and_each_query_has_its_own_status(client: TestClient) -> None:
    queries: list[dict[str, Any]] = [
        {"query": {"user_id": "u-2"}, "k": 1},
        {"query": {"user_id": "stranger"}},
        {"query": {"vector": [1, 0, 0, 0], "space_id": "other"}},
        {"query": {"vector": [1, 0], "space_id": SPACE_ID}},
        {"query": {"events": [{"ts": "bad", "event_type": "a"}]}},
        {"query": {"user_id": "u-1"}, "k": 2, "known_violators": True},
    ]

    answer = client.post("/v1/neighbors:batch_query", json={"queries": queries})

    body = TypeAdapter(BatchNeighborsAnswer).validate_json(answer.content)
    assert [item["status"] for item in body["results"]] == [200, 404, 409, 422, 422, 200]
    assert body["results"][0]["user_id"] == "u-2"
    assert body["results"][4]["problem"]["errors"][0]["pointer"] == "/queries/4/query/events/0/ts"
    assert len(body["results"][5]["neighbors"]) == 2
    assert body["meta"]["search_mode"] == "exact"


@pytest.mark.parametrize("num_queries", [0, 1_001])
def test_a_batch_has_one_to_a_thousand_queries(client: TestClient, num_queries: int) -> None:
    queries = [{"query": {"user_id": "u-1"}}] * num_queries

    answer = client.post("/v1/neighbors:batch_query", json={"queries": queries})

    assert answer.status_code == 422
    assert pointers(answer) == ["/queries"]


def test_a_batch_is_bounded_in_all_that_it_asks_for(client: TestClient) -> None:
    queries = [{"query": {"user_id": "u-1"}, "k": 1_000}] * 101

    answer = client.post("/v1/neighbors:batch_query", json={"queries": queries})

    assert answer.status_code == 422
    assert pointers(answer) == ["/queries"]


def test_queries_of_a_batch_are_searched_together(client: TestClient, world: World) -> None:
    queries: list[dict[str, Any]] = [
        {"query": {"user_id": user_id}, "k": k} for k in (1, 2) for user_id in ("u-1", "ü", "u-2")
    ]

    answer = client.post("/v1/neighbors:batch_query", json={"queries": queries})

    asked = [(item["user_id"], len(item["neighbors"])) for item in answer.json()["results"]]
    assert asked == [("u-1", 1), ("ü", 1), ("u-2", 1), ("u-1", 2), ("ü", 2), ("u-2", 2)]
    assert 'lookalike_search_seconds_count{mode="exact"} 2.0' in client.get("/metrics").text


def test_a_batch_asks_a_server_that_is_away_once(client: TestClient, world: World) -> None:
    class AwayBuild(FakeBuild):
        """Counts how often it was asked in vain."""

        num_asked = 0

        def _fail(self) -> None:
            self.num_asked += 1
            super()._fail()

    world.live.build = build = AwayBuild()
    build.search_mode = "milvus"
    build.failure = MilvusUnavailable("the server did not answer in 10 s")
    queries: list[dict[str, Any]] = [
        {"query": {"user_id": user_id}, "k": k} for k in (1, 2) for user_id in ("u-1", "ü", "u-2")
    ]

    answer = client.post("/v1/neighbors:batch_query", json={"queries": queries})

    results = answer.json()["results"]
    assert [item["status"] for item in results] == [503] * 6
    assert {item["problem"]["type"] for item in results} == {
        "urn:lookalike:problem:vectors-unavailable"
    }
    assert build.num_asked == 1


def test_a_batch_answers_what_needs_no_server_while_it_is_away(
    client: TestClient, world: World
) -> None:
    class AwayBuild(FakeBuild):
        """Its vectors are on a server that does not answer; exact searches need no server."""

        search_mode = "milvus"

        def neighbors_of_users(
            self, user_ids: Sequence[str], request: NeighborRequest
        ) -> list[NeighborAnswer | UnknownUser]:
            if not request.exact:
                raise MilvusUnavailable("the server did not answer in 10 s")
            return super().neighbors_of_users(user_ids, request)

    world.live.build = AwayBuild()
    queries = [
        {"query": {"user_id": "u-1"}, "k": k, "params": {"exact": exact}}
        for k, exact in [(1, False), (1, True), (2, False), (2, True)]
    ]

    answer = client.post("/v1/neighbors:batch_query", json={"queries": queries})

    assert [item["status"] for item in answer.json()["results"]] == [503, 200, 503, 200]


def test_who_waits_for_a_server_holds_up_no_risk(client: TestClient, world: World) -> None:
    asked, answered = threading.Event(), threading.Event()

    class SlowBuild(FakeBuild):
        """Its vectors are on a server that takes its time."""

        search_mode = "milvus"

        def neighbors_of_users(
            self, user_ids: Sequence[str], request: NeighborRequest
        ) -> list[NeighborAnswer | UnknownUser]:
            asked.set()
            assert answered.wait(30)
            return super().neighbors_of_users(user_ids, request)

    world.live.build = SlowBuild()
    batch = {"queries": [{"query": {"user_id": "u-1"}}]}
    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(query, client, query={"user_id": "u-1"})
        assert asked.wait(30)
        many = threads.submit(client.post, "/v1/neighbors:batch_query", json=batch)
        risk = client.post("/v1/risk:batch", json={"user_ids": ["u-1"]})
        assert not one.done()
        assert not many.done()
        answered.set()

    assert [risk.status_code, one.result().status_code, many.result().status_code] == [200] * 3


def test_a_failure_that_is_nobodys_query_is_not_tried_query_by_query(
    client: TestClient, world: World
) -> None:
    class FailingBuild(FakeBuild):
        """Can't answer for one neighbor."""

        def neighbors_of_users(
            self, user_ids: Sequence[str], request: NeighborRequest
        ) -> list[NeighborAnswer | UnknownUser]:
            self.asked.append(request)
            if request.k == 1:
                raise PurposeUnavailable("this build has no weights")
            return super().neighbors_of_users(user_ids, request)

    world.live.build = build = FailingBuild()
    queries = [{"query": {"user_id": "u-1"}, "k": k} for k in (1, 1, 1, 2)]

    answer = client.post("/v1/neighbors:batch_query", json={"queries": queries})

    assert [item["status"] for item in answer.json()["results"]] == [503, 503, 503, 200]
    assert [request.k for request in build.asked].count(1) == 1


def test_nothing_live_is_503_with_a_time_to_come_back(client: TestClient, world: World) -> None:
    world.live.build = None

    answer = client.get("/v1/users/u-1/neighbors")

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert problem(answer)["type"] == "urn:lookalike:problem:no-live-build"


def test_a_bug_is_500_and_keeps_its_secrets(
    client: TestClient, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(world.live.build, FakeBuild)
    world.live.build.failure = RuntimeError("the secret of u-1")

    answer = client.get("/v1/users/u-1/neighbors")

    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert problem(answer)["title"] == "Internal error"


def test_every_user_level_read_has_an_audit_row(client: TestClient, world: World) -> None:
    client.get("/v1/users/u-1/neighbors", headers={"X-Request-Id": "r1"})
    query(client, query={"user_id": "a/b"})
    query(client, query={"events": EVENTS})
    client.post(
        "/v1/neighbors:batch_query",
        json={"queries": [{"query": {"user_id": "x:y"}}, {"query": {"user_id": "ü"}}]},
    )

    client.__exit__()
    assert [entry.subject for entry in world.audited] == ["u-1", "a/b", None, "x:y", "ü"]
    assert {entry.key_name for entry in world.audited} == {"everything"}
    assert world.audited[0].request_id == "r1"
    assert "arena" not in json.dumps([str(entry.details) for entry in world.audited])
