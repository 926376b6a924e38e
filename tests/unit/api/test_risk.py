import pyarrow as pa
import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from api.risk_schemas import BatchRiskAnswer, FeaturesAnswer, RiskAnswerBody
from tests.unit.api.fakes import World

ARROW = "application/vnd.apache.arrow.stream"


def test_a_risk_is_answered_as_documented(client: TestClient) -> None:
    answer = client.get("/v1/users/x:y/risk")

    body = TypeAdapter(RiskAnswerBody).validate_json(answer.content)
    assert body["user_id"] == "x:y"
    assert body["status"] == "ok"
    assert body["interval"] is not None
    assert body["probability"] is not None
    assert body["interval"][0] <= body["probability"] <= body["interval"][1]
    assert body["ring"] is not None
    assert body["ring"]["id"] == 17


def test_a_risk_says_what_likely_means(client: TestClient) -> None:
    rule = client.get("/v1/users/x:y/risk").json()["band_rule"]

    assert rule == {
        "policy": "spam",
        "precision": 0.99,
        "likely_log_odds": 1.2,
        "fitted_on": "everyone",
    }
    assert client.get("/v1/users/newcomer/risk").json()["band_rule"] is None


def test_too_few_events_give_no_probability(client: TestClient) -> None:
    body = client.get("/v1/users/newcomer/risk").json()

    assert body["band"] == body["status"] == "insufficient_data"
    assert body["probability"] is None
    assert body["log_odds"] is None


def test_the_risk_of_a_stranger_is_404(client: TestClient) -> None:
    assert client.get("/v1/users/stranger/risk").status_code == 404


def test_a_batch_of_risks_keeps_its_order(client: TestClient, world: World) -> None:
    answer = client.post(
        "/v1/risk:batch", json={"user_ids": ["u-2", "stranger", "newcomer", "u-2"]}
    )

    body = TypeAdapter(BatchRiskAnswer).validate_json(answer.content)
    assert [risk["user_id"] for risk in body["risks"]] == ["u-2", "stranger", "newcomer", "u-2"]
    assert [risk["status"] for risk in body["risks"]] == [
        "ok", "unknown_user", "insufficient_data", "ok",
    ]  # fmt: skip
    assert body["risks"][1]["probability"] is None
    client.__exit__()
    assert [entry.subject for entry in world.audited] == ["u-2", "stranger", "newcomer", "u-2"]


@pytest.mark.parametrize("num_users", [0, 1_001])
def test_a_batch_of_risks_is_bounded(client: TestClient, num_users: int) -> None:
    assert client.post("/v1/risk:batch", json={"user_ids": ["u"] * num_users}).status_code == 422


def test_features_come_as_json(client: TestClient) -> None:
    answer = client.post("/v1/features:batch", json={"user_ids": ["u-1", "stranger"]})

    body = TypeAdapter(FeaturesAnswer).validate_json(answer.content)
    assert body["features"][0]["similarity_max"] == 0.5
    assert body["features"][1] == {
        "user_id": "stranger", "found": False, "num_events": None, "similarity_max": None,
    }  # fmt: skip


def test_features_come_as_an_arrow_stream(client: TestClient, world: World) -> None:
    answer = client.post(
        "/v1/features:batch", json={"user_ids": ["u-1", "stranger"]}, headers={"Accept": ARROW}
    )

    assert answer.headers["content-type"] == ARROW
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table["user_id"].to_pylist() == ["u-1", "stranger"]
    assert table["found"].to_pylist() == [True, False]
    assert table.schema.metadata[b"lookalike.space_id"] == b"5pace"
    client.__exit__()
    assert [entry.subject for entry in world.audited] == ["u-1", "stranger"]


def test_features_in_another_form_are_406(client: TestClient) -> None:
    answer = client.post(
        "/v1/features:batch", json={"user_ids": ["u-1"]}, headers={"Accept": "text/csv"}
    )

    assert answer.status_code == 406


def test_ten_thousand_users_have_features_and_not_one_more(client: TestClient) -> None:
    answer = client.post("/v1/features:batch", json={"user_ids": ["u-1"] * 10_000})
    refused = client.post("/v1/features:batch", json={"user_ids": ["u-1"] * 10_001})

    assert len(answer.json()["features"]) == 10_000
    assert refused.status_code == 422
