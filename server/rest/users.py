"""``/users`` and the routes around them: log-in, log-out, passwords."""

from __future__ import annotations

from server.accounts.login import Login
from server.errors import Code, ParseError
from server.objects.store import ObjectStore
from server.rest.aliases import AliasResource
from server.rest.call import Answer, Call, Route
from server.rest.classes import Limits


class UserResource(AliasResource):
    """Users as objects, and what makes them users."""

    class_name = "_User"
    path = "/users"
    location = "/users"

    def __init__(self, objects: ObjectStore, limits: Limits, login: Login) -> None:
        super().__init__(objects, limits)
        self._login = login

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/users/me", self.me),
            *super().routes(),
            Route("GET", "/login", self.log_in),
            Route("POST", "/login", self.log_in),
            Route("POST", "/loginAs", self.log_in_as),
            Route("POST", "/logout", self.log_out),
            Route("GET", "/verifyPassword", self.verify_password),
            Route("POST", "/verifyPassword", self.verify_password),
            Route("POST", "/upgradeToRevocableSession", self.upgrade),
            Route("POST", "/requestPasswordReset", self.request_mail),
            Route("POST", "/verificationEmailRequest", self.request_mail),
        ]

    async def me(self, call: Call) -> Answer:
        return Answer(await self._login.me(call.ctx))

    async def get(self, call: Call, object_id: str) -> Answer:
        answer = await super().get(call, object_id)
        caller = call.ctx.caller
        if caller.session_token is not None and caller.user_id == object_id:
            answer.body["sessionToken"] = caller.session_token
        return answer

    async def log_in(self, call: Call) -> Answer:
        return Answer(await self._login.log_in(call.ctx, call.params()))

    async def log_in_as(self, call: Call) -> Answer:
        return Answer(await self._login.log_in_as(call.ctx, call.params().get("userId")))

    async def log_out(self, call: Call) -> Answer:
        await self._login.log_out(call.ctx)
        return Answer({})

    async def verify_password(self, call: Call) -> Answer:
        return Answer(await self._login.verify_password(call.ctx, call.params()))

    async def upgrade(self, call: Call) -> Answer:
        return Answer(await self._login.upgrade(call.ctx))

    async def request_mail(self, call: Call) -> Answer:
        """Mails to users need a mail adapter, and this server has none: 108."""
        raise ParseError(
            Code.COMMAND_UNAVAILABLE,
            "This server sends no mail: password reset and email verification are not available.",
        )
