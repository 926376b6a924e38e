"""Every exception that we define has an answer of its own kind."""

import inspect
from types import ModuleType

import pytest

import api.errors
import embedder.errors
import index.errors
import store.errors
from api.errors import INTERNAL, PROBLEMS, problem_kind
from index.errors import RequestError
from store.errors import DatabaseError

MODULES = (api.errors, embedder.errors, index.errors, store.errors)


def exceptions_of(module: ModuleType) -> list[type[Exception]]:
    return [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Exception) and member.__module__ == module.__name__
    ]


ALL = [error for module in MODULES for error in exceptions_of(module)]


@pytest.mark.parametrize("error", ALL, ids=lambda error: f"{error.__module__}.{error.__name__}")
def test_every_exception_is_in_the_table(error: type[Exception]) -> None:
    ours = [ancestor for ancestor in error.__mro__ if ancestor not in (Exception, BaseException)]

    assert any(ancestor in PROBLEMS for ancestor in ours)


def test_what_the_caller_did_wrong_is_never_a_failure_of_the_service() -> None:
    callers = [error for error in ALL if issubclass(error, RequestError)]

    assert callers
    assert all(400 <= problem_kind(error).status < 500 for error in callers)


def test_every_503_says_when_to_come_back() -> None:
    unavailable = [kind for kind in PROBLEMS.values() if kind.status == 503]

    assert unavailable
    assert all(kind.retry_after_seconds for kind in unavailable)


def test_one_slug_names_one_kind_of_problem() -> None:
    kinds = set(PROBLEMS.values())

    assert len({kind.slug for kind in kinds - {INTERNAL}}) == len(kinds - {INTERNAL})


def test_a_database_that_is_away_is_no_failure_of_the_service() -> None:
    kind = problem_kind(DatabaseError)

    assert (kind.status, kind.slug) == (503, "database-unavailable")
    assert kind.detail is not None, "the driver's message is for the operator"


def test_an_exception_of_others_is_internal() -> None:
    assert problem_kind(ZeroDivisionError) is INTERNAL
