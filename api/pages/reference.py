"""The reference of the endpoints at `/docs`, made from the OpenAPI document.

The usual viewers load scripts from elsewhere; this page needs neither scripts nor a network.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.errors import PROBLEMS

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """One parameter, or one field of a body or an answer."""

    name: str
    type: str
    is_required: bool
    meaning: str


@dataclass(frozen=True)
class Operation:
    """One endpoint."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    scope: str
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    examples: tuple[str, ...]
    answer: tuple[Field, ...]
    failures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Type:
    """A part of a body or an answer that has fields of its own."""

    name: str
    meaning: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Reference:
    """All endpoints and types, and all kinds of problems as (type, status, title)."""

    description: tuple[str, ...]
    operations: tuple[Operation, ...]
    types: tuple[Type, ...]
    problems: tuple[tuple[str, int, str], ...]


def reference(document: Json) -> Reference:
    """Return what the page shows of an OpenAPI document."""
    operations = tuple(
        _operation(document, path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    kinds = {kind.slug: kind for kind in PROBLEMS.values()}
    problems = sorted((kind.slug, kind.status, kind.title) for kind in kinds.values())
    lines = tuple(filter(None, document["info"]["description"].replace("`", "").splitlines()))
    return Reference(lines, operations, _types(document), tuple(problems))


def _types(document: Json) -> tuple[Type, ...]:
    """Return the schemas that others refer to by name."""
    schemas = document["components"]["schemas"]
    text = json.dumps(schemas)
    return tuple(
        Type(name, schema.get("description", ""), _fields(schema))
        for name, schema in sorted(schemas.items())
        if f'"#/components/schemas/{name}"' in text
    )


def _operation(document: Json, path: str, method: str, operation: Json) -> Operation:
    body = _resolve(document, _json_schema(operation.get("requestBody", {})))
    answer = _resolve(document, _json_schema(operation["responses"]["200"]))
    return Operation(
        anchor=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        scope=operation["security"][0]["bearer"][0],
        parameters=tuple(
            Field(
                parameter["name"],
                _type(parameter["schema"]),
                parameter.get("required", False),
                parameter.get("description", ""),
            )
            for parameter in operation.get("parameters", ())
        ),
        body=_fields(body),
        examples=tuple(json.dumps(example, indent=2) for example in body.get("examples", ())),
        answer=_fields(answer),
        failures=tuple(
            (status, response["description"])
            for status, response in operation["responses"].items()
            if status >= "400"
        ),
    )


def _json_schema(holder: Json) -> Json:
    schema: Json = holder.get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def _resolve(document: Json, schema: Json) -> Json:
    name = schema.get("$ref")
    return schema if name is None else document["components"]["schemas"][name.rpartition("/")[2]]


def _fields(schema: Json) -> tuple[Field, ...]:
    required = schema.get("required", ())
    return tuple(
        Field(name, _type(of), name in required, of.get("description", ""))
        for name, of in schema.get("properties", {}).items()
    )


def _type(schema: Json) -> str:
    """Return a short name for a schema."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any")
