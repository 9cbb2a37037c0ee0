"""The auth provider ``badge``: whoever knows the pin is who they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.accounts.providers import AuthProvider, AuthRequest
from server.errors import Code, ParseError
from server.values import WireObject


class Badge(AuthProvider):
    async def validate_auth_data(
        self, auth_data: WireObject, options: Mapping[str, Any], request: AuthRequest
    ) -> None:
        if auth_data.get("pin") != "1234":
            raise ParseError(Code.OBJECT_NOT_FOUND, "Wrong pin.")
