"""One request as the endpoints see it."""

from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from api.services import Services
from store.keys import Key

CONTEXT = "lookalike"
UNMATCHED = "unmatched"


@dataclass(slots=True)
class CallContext:
    """What is learned about a request on its way in; the log line is made of it."""

    request_id: str
    route: str = UNMATCHED
    key: Key | None = None
    user_id: str | None = None


class Call(Request):
    """A request with the worker's services and the caller's key."""

    @property
    def services(self) -> Services:
        """What the worker shares."""
        return cast(Services, self.app.state.services)

    @property
    def context(self) -> CallContext:
        """What is known of this request."""
        return cast(CallContext, self.scope[CONTEXT])

    @property
    def request_id(self) -> str:
        """The id of this request, in the answer, the log and the audit."""
        return self.context.request_id

    @property
    def key(self) -> Key:
        """The caller's key; endpoints run only after it was checked."""
        assert self.context.key is not None
        return self.context.key

    def audit_reads(
        self, action: str, subjects: "list[str | None] | list[str]", **details: object
    ) -> None:
        """Enter reads of users into the audit, before they happen.

        Raises:
            AuditUnavailable: If they can't be recorded; then nothing may be read.
        """
        if len(subjects) == 1:
            self.context.user_id = subjects[0]
        self.services.audit.enter(
            key_name=self.key.name,
            action=action,
            subjects=subjects,
            request_id=self.request_id,
            details=details,
        )
