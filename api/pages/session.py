"""Who is signed in on the page.

The cookie holds the name of an API key and a time, signed; never the key. Every request looks the
key up again, so a revoked key ends its sessions within seconds, and any worker can serve any
session. Forms carry a token that only a page shown to the same browser has.
"""

import secrets
from dataclasses import dataclass
from typing import Final

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from api.errors import FormForged
from api.scopes import ServedKeys
from store.keys import Key

SESSION_COOKIE: Final = "lookalike_session"
FORM_COOKIE: Final = "lookalike_form"


@dataclass(frozen=True)
class Sessions:
    """Makes and checks the cookies of the page."""

    secret: str
    seconds: int
    keys: ServedKeys

    async def signed_in(self, request: Request) -> Key | None:
        """Return the key that this browser signed in with, if the session is still good."""
        try:
            name = self._sessions.loads(
                request.cookies.get(SESSION_COOKIE, ""), max_age=self.seconds
            )
        except BadSignature:
            return None
        return await self.keys.find(name)

    def sign_in(self, request: Request, response: Response, key: Key) -> None:
        """Give this browser a session."""
        session = self._sessions.dumps(key.name)
        self._set_cookie(request, response, SESSION_COOKIE, session, max_age=self.seconds)

    def sign_out(self, response: Response) -> None:
        """Take this browser's session away."""
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")

    def form_token(self, request: Request) -> "FormToken":
        """Return the token for the forms of a page that is about to be shown."""
        nonce = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(24)
        return FormToken(nonce, self._forms.dumps(nonce))

    def remember_form(self, request: Request, response: Response, token: "FormToken") -> None:
        """Tie a page's forms to this browser."""
        if request.cookies.get(FORM_COOKIE) != token.nonce:
            self._set_cookie(request, response, FORM_COOKIE, token.nonce, max_age=None)

    def check_form(self, request: Request, token: str) -> None:
        """Check that a posted form was handed out to this browser, not long ago.

        Raises:
            FormForged: If it was not.
        """
        try:
            nonce = self._forms.loads(token, max_age=self.seconds)
        except BadSignature:
            nonce = None
        cookie = request.cookies.get(FORM_COOKIE, "")
        if not nonce or not secrets.compare_digest(str(nonce).encode(), cookie.encode()):
            raise FormForged("this form is too old or not from this page; load the page again")

    @property
    def _sessions(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self.secret, salt="page-session")

    @property
    def _forms(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self.secret, salt="page-form")

    @staticmethod
    def _set_cookie(
        request: Request, response: Response, name: str, value: str, *, max_age: int | None
    ) -> None:
        response.set_cookie(
            name,
            value,
            max_age=max_age,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )


@dataclass(frozen=True)
class FormToken:
    """What a form carries, and the nonce in the cookie that it must agree with."""

    nonce: str
    value: str
