"""``/sessions``: a user's own sessions."""

from __future__ import annotations

from server.accounts.sessions import Sessions
from server.errors import Code, ParseError
from server.objects.store import ObjectStore
from server.rest.aliases import AliasResource
from server.rest.call import Answer, Call, Route
from server.rest.classes import Limits


class SessionResource(AliasResource):
    """Sessions as objects; who may see and change which is `SessionRules`' and the finder's."""

    class_name = "_Session"
    path = "/sessions"
    location = "/classes/_Session"

    def __init__(self, objects: ObjectStore, limits: Limits, sessions: Sessions) -> None:
        super().__init__(objects, limits)
        self._sessions = sessions

    def routes(self) -> list[Route]:
        return [Route("GET", "/sessions/me", self.me), *super().routes()]

    async def me(self, call: Call) -> Answer:
        """The session of the request's own token."""
        token = call.ctx.caller.session_token or call.ctx.headers.get("x-parse-session-token")
        if not token:
            raise ParseError(Code.INVALID_SESSION_TOKEN, "Session token required.")
        session = await self._sessions.find(token)
        if session is None:
            raise ParseError(Code.INVALID_SESSION_TOKEN, "Session token not found.")
        return Answer(await self._objects.render(call.ctx, self.class_name, session))
