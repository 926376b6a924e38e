import pytest
from starlette.testclient import TestClient

from tests.unit.api.fakes import World


@pytest.fixture
def anyone(client: TestClient) -> TestClient:
    del client.headers["Authorization"]
    return client


def test_a_worker_without_a_build_lives_but_is_not_ready(anyone: TestClient, world: World) -> None:
    world.live.build = None

    assert anyone.get("/livez").status_code == 200
    answer = anyone.get("/readyz")
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert anyone.get("/metrics").status_code == 200


def test_a_worker_with_a_build_is_ready_and_says_which(anyone: TestClient) -> None:
    answer = anyone.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    assert answer.json()["build_id"] == "b20260301T120000-fake"


def test_a_failed_swap_is_degraded_but_served(anyone: TestClient, world: World) -> None:
    world.live.error = "build b2 is damaged: /secret/path"

    answer = anyone.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert "/secret/path" not in answer.text
    assert "lookalike_build_load_failed 1.0" in anyone.get("/metrics").text


def test_metrics_count_requests_by_route_and_searches_by_mode(client: TestClient) -> None:
    client.get("/v1/users/u-1/neighbors")
    client.get("/v1/users/ü/neighbors")
    client.get("/v1/users/stranger/neighbors")
    client.request("PURGE", "/somewhere")

    text = client.get("/metrics").text

    route = 'route="/v1/users/{user_id}/neighbors"'
    assert f'lookalike_requests_total{{method="GET",{route},status="200"}} 2.0' in text
    assert f'lookalike_requests_total{{method="GET",{route},status="404"}} 1.0' in text
    assert 'method="other",route="unmatched",status="404"' in text
    assert 'lookalike_search_seconds_count{mode="exact"} 2.0' in text
    assert "lookalike_build_age_seconds 3600.0" in text
    assert 'build_id="b20260301T120000-fake"' in text
    assert "u-1" not in text
    assert "stranger" not in text
