"""Errors of the service, and the one table from exceptions to HTTP answers.

ApiError
├── AccessDenied             the caller's: who asks, and what for
│   ├── KeyAbsent            no `Authorization: Bearer KEY`
│   ├── KeyRefused           a key that is unknown or revoked
│   ├── ScopeMissing         a key without the scope that the endpoint needs
│   └── FormForged           a form of the page that this service did not hand out
├── RequestRefused           the caller's: what was sent
│   ├── InvalidInput         values that don't fit; `faults` says which and where
│   ├── UserNotFound         the live build has no such user
│   ├── BodyTooLarge
│   ├── BodyTooSlow
│   ├── BodyTypeRefused      a body that isn't JSON
│   └── AnswerTypeRefused    none of the accepted media types can be given
└── ServiceBusy              nobody's: come back later
    ├── QueueFull            too many heavy requests are waiting
    ├── WorkTimeout          a heavy request took too long
    └── AuditUnavailable     reads can't be recorded, so they are refused
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedder.errors import EmbedderError
from index.errors import (
    BuildCorrupt,
    BuildIncompatible,
    BuildMissing,
    BuildNotLive,
    BuildNotServable,
    IndexingError,
    KindUnavailable,
    MilvusError,
    NoLiveBuild,
    NothingToRollBack,
    PublishBusy,
    PurposeUnavailable,
    RequestError,
    RiskUnavailable,
    SpaceMismatch,
)
from store.errors import DatabaseError, StoreError


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a request.

    Attributes:
        pointer: JSON pointer into the body, or `/name` of a query parameter.
        detail: What is wrong there.
    """

    pointer: str
    detail: str


class ApiError(Exception):
    """Anything that the service itself refuses."""


class AccessDenied(ApiError):
    """The caller may not do this."""


class KeyAbsent(AccessDenied):
    """No key was sent."""


class KeyRefused(AccessDenied):
    """The key is unknown or revoked."""


class ScopeMissing(AccessDenied):
    """The key does not carry the scope that the endpoint needs."""


class FormForged(AccessDenied):
    """A form was posted that this service did not hand out to this browser."""


class RequestRefused(ApiError):
    """The request can't be answered as it is."""


class InvalidInput(RequestRefused):
    """Values do not fit; every fault says where."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("the request has values that do not fit; see `errors`")
        self.faults = tuple(faults)


class UserNotFound(RequestRefused):
    """The live build has no user of this id."""


class BodyTooLarge(RequestRefused):
    """The body is larger than the service accepts."""


class BodyTooSlow(RequestRefused):
    """The body did not arrive in time."""


class BodyTypeRefused(RequestRefused):
    """The body is of a media type that the endpoint does not read."""


class AnswerTypeRefused(RequestRefused):
    """The endpoint can't answer in any media type that the caller accepts."""


class ServiceBusy(ApiError):
    """The request is fine, but not now."""


class QueueFull(ServiceBusy):
    """Too many heavy requests are waiting already."""


class WorkTimeout(ServiceBusy):
    """A heavy request waited or ran for too long."""


class AuditUnavailable(ServiceBusy):
    """The audit can't take more rows, and nothing is read without one."""


@dataclass(frozen=True)
class ProblemKind:
    """How one kind of failure looks on the wire.

    Attributes:
        slug: Last part of the problem's `type`; never changes.
        retry_after_seconds: Sent as `Retry-After` where trying again makes sense.
        detail: Shown instead of the exception's message, where that is for the operator only.
    """

    status: int
    slug: str
    title: str
    retry_after_seconds: int | None = None
    detail: str | None = None


_SEE_LOG = "the cause is in the service's log, under this request's id"
_NO_BUILD = "no build is published yet, or it can't be loaded; the service's log has the cause"
_OPERATOR = "the operator has to act; the cause is in the service's log, under this request's id"

INTERNAL = ProblemKind(500, "internal", "Internal error", detail=_SEE_LOG)
_STORE = ProblemKind(500, "store-failed", "The store failed", detail=_SEE_LOG)
_EMBEDDER = ProblemKind(503, "model-unusable", "The model can't be used", 30, _OPERATOR)
_INVALID = ProblemKind(422, "invalid-input", "The request has invalid values")
_CORRUPT = ProblemKind(503, "build-corrupt", "The build is damaged", 30, _OPERATOR)

PROBLEMS: Mapping[type[Exception], ProblemKind] = {
    Exception: INTERNAL,
    ApiError: INTERNAL,
    AccessDenied: ProblemKind(403, "denied", "Not allowed"),
    KeyAbsent: ProblemKind(401, "key-absent", "A key is needed"),
    KeyRefused: ProblemKind(401, "key-refused", "The key is not valid"),
    ScopeMissing: ProblemKind(403, "scope-missing", "The key lacks a scope"),
    FormForged: ProblemKind(403, "form-forged", "The form is not valid"),
    RequestRefused: ProblemKind(400, "refused", "The request was refused"),
    InvalidInput: _INVALID,
    UserNotFound: ProblemKind(404, "unknown-user", "The user is not known"),
    BodyTooLarge: ProblemKind(413, "body-too-large", "The body is too large"),
    BodyTooSlow: ProblemKind(408, "body-too-slow", "The body did not arrive in time"),
    BodyTypeRefused: ProblemKind(415, "body-type", "The body must be JSON"),
    AnswerTypeRefused: ProblemKind(406, "answer-type", "No acceptable media type"),
    ServiceBusy: ProblemKind(503, "busy", "The service is busy", 1),
    QueueFull: ProblemKind(503, "queue-full", "Too many requests are waiting", 1),
    WorkTimeout: ProblemKind(503, "work-timeout", "The request took too long", 5),
    AuditUnavailable: ProblemKind(503, "audit-unavailable", "Reads can't be recorded", 5),
    IndexingError: ProblemKind(500, "index-failed", "The index failed", detail=_SEE_LOG),
    RequestError: _INVALID,
    SpaceMismatch: ProblemKind(409, "space-mismatch", "The vector is of another space"),
    NoLiveBuild: ProblemKind(503, "no-live-build", "No build is live", 5, _NO_BUILD),
    BuildMissing: ProblemKind(404, "unknown-build", "The build is not known"),
    BuildNotLive: ProblemKind(409, "rollback-conflict", "The build is not the live one"),
    BuildNotServable: ProblemKind(409, "build-not-servable", "The build can't be served"),
    BuildIncompatible: ProblemKind(409, "build-incompatible", "The build is of another format"),
    NothingToRollBack: ProblemKind(409, "nothing-to-roll-back", "There is no previous build"),
    PublishBusy: ProblemKind(503, "publish-busy", "Another publish is going on", 5),
    KindUnavailable: ProblemKind(
        503, "index-unavailable", "The index can't be searched here", 60, _OPERATOR
    ),
    RiskUnavailable: ProblemKind(503, "risk-unavailable", "The build has no risk model", 60),
    PurposeUnavailable: ProblemKind(503, "purpose-unavailable", "The build lacks the purpose", 60),
    BuildCorrupt: _CORRUPT,
    MilvusError: ProblemKind(
        503, "vectors-unavailable", "The vector database can't answer", 5, _OPERATOR
    ),
    EmbedderError: _EMBEDDER,
    StoreError: _STORE,
    DatabaseError: ProblemKind(
        503, "database-unavailable", "The operational database can't answer", 5, _OPERATOR
    ),
}


def problem_kind(error: type[BaseException]) -> ProblemKind:
    """Return how an exception is shown: by its own entry, else by its nearest ancestor's."""
    for ancestor in error.__mro__:
        kind = PROBLEMS.get(ancestor)
        if kind is not None:
            return kind
    return INTERNAL
