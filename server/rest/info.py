"""``/health`` and ``/serverInfo``: whether the server is well, and what it can do."""

from __future__ import annotations

from collections.abc import Callable

from server.rest.call import Answer, Call, Route

PARSE_SERVER_VERSION = "9.10.0"
"""The version of the contract this server keeps: Parse Dashboard shows features by it."""

_ALL = {"create": True, "read": True, "update": True, "delete": True}
_FEATURES = {
    "globalConfig": dict.fromkeys(_ALL, False),
    "hooks": _ALL,
    "cloudCode": {"jobs": False},
    "logs": dict.fromkeys(("level", "size", "order", "until", "from"), False),
    "push": dict.fromkeys(
        ("immediatePush", "scheduledPush", "storedPushData", "pushAudiences", "localization"),
        False,
    ),
    "schemas": {
        "addField": True,
        "removeField": True,
        "addClass": True,
        "removeClass": True,
        "clearAllDataFromClass": True,
        "exportClass": False,
        "editClassLevelPermissions": True,
        "editPointerPermissions": True,
    },
    "settings": {"securityCheck": False},
}


class InfoResource:
    """``is_ready``: whether the database answers and the change feed is open."""

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        self._is_ready = is_ready

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/health", self.health, is_public=True),
            Route("GET", "/serverInfo", self.server_info),
        ]

    async def health(self, call: Call) -> Answer:
        if self._is_ready():
            return Answer({"status": "ok"})
        return Answer({"status": "error"}, 503, {"Retry-After": "1"})

    async def server_info(self, call: Call) -> Answer:
        call.require_master()
        return Answer({"features": _FEATURES, "parseServerVersion": PARSE_SERVER_VERSION})
