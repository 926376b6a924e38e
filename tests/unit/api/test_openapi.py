"""The OpenAPI document tells the truth."""

from typing import Any

import pytest
from starlette.testclient import TestClient

FIXED = {
    ("post", "/v1/neighbors:query"),
    ("post", "/v1/neighbors:batch_query"),
    ("get", "/v1/users/{user_id}/neighbors"),
    ("get", "/v1/users/{user_id}/risk"),
    ("post", "/v1/risk:batch"),
    ("post", "/v1/features:batch"),
    ("get", "/v1/builds"),
    ("post", "/v1/builds/{build_id}:promote"),
    ("post", "/v1/builds/{build_id}:rollback"),
}


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/openapi.json").json()
    return document


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_all_fixed_endpoints_are_there(document: dict[str, Any]) -> None:
    assert set(operations(document)) == FIXED


def test_every_endpoint_names_its_scope_and_documents_its_problems(
    document: dict[str, Any],
) -> None:
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for operation in operations(document).values():
        assert operation["security"][0]["bearer"]
        assert operation["summary"]
        assert operation["description"]
        for status in ("401", "403"):
            assert "application/problem+json" in operation["responses"][status]["content"]


def test_bodies_have_examples_that_are_accepted(
    client: TestClient, document: dict[str, Any]
) -> None:
    for (method, path), operation in operations(document).items():
        if "requestBody" not in operation:
            continue
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
        assert schema["examples"]
        for example in schema["examples"]:
            assert client.request(method, path, json=example).status_code in (200, 404, 409)


def test_every_field_of_a_query_is_described(document: dict[str, Any]) -> None:
    for name in ("NeighborsRequest", "QueryBody", "FilterBody", "ParamsBody"):
        for field, schema in document["components"]["schemas"][name]["properties"].items():
            assert "description" in schema or "$ref" in schema, (name, field)


def test_the_reference_page_shows_every_endpoint_without_scripts_or_a_network(
    client: TestClient,
) -> None:
    page = client.get("/docs", headers={"Authorization": ""})

    assert page.status_code == 200
    for _, path in FIXED:
        assert path in page.text
    assert "<script" not in page.text
    assert "https://" not in page.text
