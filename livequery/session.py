"""The LiveQuery protocol of one connection: frames in, actions and frames out, no I/O.

Every frame is one JSON object. What a client sends is checked here; what it may see is decided
by whoever carries out the actions (`livequery.endpoint`).
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from server.values import dumps, loads

MAX_FRAME = 1_048_576
"""Characters of one frame from a client."""
MAX_SUBSCRIPTIONS = 1000
"""Subscriptions of one connection."""
MAX_QUERIES = 2 * MAX_FRAME
"""Characters of all subscriptions of one connection: each costs several times its size."""
_MAX_DEPTH = 64

BAD_FRAME, UNKNOWN, BAD_KEY = 1, 2, 4
REQUEST_LIMIT_EXCEEDED = 155

RequestId: TypeAlias = int | float


@dataclass(frozen=True, slots=True)
class Connect:
    """A client introduced itself; `Session.client_id` is new, earlier subscriptions are void."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A query to watch. It replaces the subscription of the same ``request_id``, if any.

    ``replaces_first``: the earlier one ends even when the new one is refused (op ``update``).
    ``size``: characters of its frame.
    """

    request_id: RequestId
    class_name: str
    where: dict[str, Any]
    keys: frozenset[str] | None
    watch: tuple[str, ...]
    session_token: str | None
    replaces_first: bool = False
    size: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    request_id: RequestId


@dataclass(frozen=True, slots=True)
class Close:
    """The connection is to end with this WebSocket close code."""

    code: int


Action: TypeAlias = str | Connect | Subscribe | Unsubscribe | Close
"""A text is a frame to send."""


def error_frame(
    code: int, message: Any, *, reconnect: bool = True, request_id: RequestId | None = None
) -> str:
    return _text(
        {
            "op": "error",
            "error": message,
            "code": int(code),
            "reconnect": reconnect,
            "requestId": request_id,
        }
    )


def _text(frame: Mapping[str, Any]) -> str:
    return dumps(frame).decode()


class _Misfit(Exception):
    """A frame that does not fit the protocol; the text goes to the client."""


class Session:
    """One connection's state.

    Args:
        key_pairs: ``liveQueryServerOptions.keyPairs``; a client must send one of them.
    """

    def __init__(self, key_pairs: Mapping[str, str] | None = None) -> None:
        self._key_pairs = key_pairs or {}
        self.client_id: str | None = None
        self.installation_id: str | None = None
        self.session_token: str | None = None
        self.is_master = False
        self._sizes: dict[RequestId, int] = {}

    def receive(self, text: str) -> list[Action]:
        """What a frame from the client asks for; text that is no JSON asks for nothing."""
        if len(text) > MAX_FRAME:
            return [Close(1009)]
        try:
            frame = loads(text)
        except ValueError:
            return []
        try:
            op = _check_op(frame)
            match op:
                case "connect":
                    return self._connect(frame)
                case "unsubscribe":
                    return self._unsubscribe(frame)
            return self._subscribe(frame, op, len(text))
        except _Misfit as misfit:
            return [error_frame(BAD_FRAME, str(misfit))]

    # ---- client to server ---------------------------------------------------------------------

    def _connect(self, frame: dict[str, Any]) -> list[Action]:
        _check(frame, _CONNECT, required=("applicationId",))
        if self._key_pairs and not any(
            _same(frame.get(name), secret) for name, secret in self._key_pairs.items()
        ):
            return [error_frame(BAD_KEY, "Key in request is not valid")]
        self.is_master = _same(frame.get("masterKey"), self._key_pairs.get("masterKey"))
        self.client_id = str(uuid.uuid4())
        self.installation_id = frame.get("installationId")
        self.session_token = frame.get("sessionToken") or None
        self._sizes.clear()
        return [Connect(), self._frame("connected")]

    def _subscribe(self, frame: dict[str, Any], op: str, size: int) -> list[Action]:
        _check(frame, _SUBSCRIBE, required=("requestId", "query"))
        query = frame["query"]
        _check(query, _QUERY, required=("className", "where"))
        keys = query.get("keys", query.get("fields"))
        for names in (query.get("keys"), query.get("fields"), query.get("watch")):
            _check_names(names)
        if _depth(query["where"]) > _MAX_DEPTH:
            raise _Misfit("The query is nested too deeply")
        request_id: RequestId = frame["requestId"]
        replies: list[Action] = []
        if self.client_id is None:
            # An update ends one subscription and makes another; either fails.
            earlier = [_not_connected("unsubscribing")] if op == "update" else []
            return [*earlier, _not_connected("subscribing")]
        if op == "update" and request_id not in self._sizes:
            replies.append(self._no_subscription(request_id))
        if not self._has_room(request_id, size):
            return [
                error_frame(
                    REQUEST_LIMIT_EXCEEDED,
                    "Too many subscriptions on this connection",
                    reconnect=False,
                    request_id=request_id,
                )
            ]
        subscribe = Subscribe(
            request_id=request_id,
            class_name=query["className"],
            where=query["where"],
            keys=None if keys is None else frozenset(keys),
            watch=tuple(query.get("watch") or ()),
            session_token=frame.get("sessionToken") or None,
            replaces_first=op == "update",
            size=size,
        )
        return [*replies, subscribe]

    def _unsubscribe(self, frame: dict[str, Any]) -> list[Action]:
        _check(frame, _UNSUBSCRIBE, required=("requestId",))
        if self.client_id is None:
            return [_not_connected("unsubscribing")]
        request_id = frame["requestId"]
        if request_id not in self._sizes:
            return [self._no_subscription(request_id)]
        self.forget(request_id)
        return [Unsubscribe(request_id), self._frame("unsubscribed", request_id)]

    def forget(self, request_id: RequestId) -> None:
        """Note that a subscription ended."""
        self._sizes.pop(request_id, None)

    def _has_room(self, request_id: RequestId, size: int) -> bool:
        """Whether one more subscription, or another in place of one, keeps to the limits."""
        others = len(self._sizes) - (request_id in self._sizes)
        total = sum(self._sizes.values()) - self._sizes.get(request_id, 0)
        return others < MAX_SUBSCRIPTIONS and total + size <= MAX_QUERIES

    def _no_subscription(self, request_id: RequestId) -> str:
        number = dumps(request_id).decode()
        return error_frame(
            UNKNOWN,
            f"Cannot find subscription with clientId {self.client_id} subscriptionId {number}. "
            "Make sure you subscribe to live query server before unsubscribing.",
        )

    # ---- server to client ---------------------------------------------------------------------

    def subscribed(self, request_id: RequestId, size: int = 0) -> str:
        """Note that a `Subscribe` of this size was carried out; the frame that says so."""
        self._sizes[request_id] = size
        return self._frame("subscribed", request_id)

    def _frame(self, op: str, request_id: RequestId | None = None) -> str:
        return f'{{"op":"{op}",{self.head(request_id)[:-1]}}}'

    def head(self, request_id: RequestId | None = None) -> str:
        """The members that stand in each frame to this client, each with its comma."""
        members: dict[str, Any] = {"clientId": self.client_id}
        if self.installation_id is not None:
            members["installationId"] = self.installation_id
        if request_id is not None:
            members["requestId"] = request_id
        return _text(members)[1:-1] + ","


def _not_connected(doing: str) -> str:
    return error_frame(
        UNKNOWN,
        f"Can not find this client, make sure you connect to server before {doing}",
    )


def _same(given: Any, secret: str | None) -> bool:
    if not isinstance(given, str) or not secret:
        return False
    return hmac.compare_digest(given.encode(), secret.encode())


# ---- the shape of frames ----------------------------------------------------------------------

_STRING, _NUMBER, _OBJECT, _ARRAY = "string", "number", "object", "array"
_CONNECT = dict.fromkeys(
    "applicationId javascriptKey masterKey clientKey windowsKey restAPIKey sessionToken "
    "installationId".split(),
    _STRING,
)
_SUBSCRIBE = {"requestId": _NUMBER, "query": _OBJECT, "sessionToken": _STRING}
# WIRE: the Flutter SDK and old iOS and Android clients say "fields" for "keys".
_QUERY = {
    "className": _STRING,
    "where": _OBJECT,
    "keys": _ARRAY,
    "fields": _ARRAY,
    "watch": _ARRAY,
}
_UNSUBSCRIBE = {"requestId": _NUMBER}
_OPS = ("connect", "subscribe", "unsubscribe", "update")


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return _NUMBER
    names = {str: _STRING, dict: _OBJECT, list: _ARRAY, type(None): "null"}
    return names.get(type(value), "unknown")


def _check_type(value: Any, expected: str) -> None:
    found = _type_name(value)
    if found != expected:
        raise _Misfit(f"Invalid type: {found} (expected {expected})")


def _check_op(frame: Any) -> str:
    _check_type(frame, _OBJECT)
    if "op" not in frame:
        raise _Misfit("Missing required property: op")
    op = frame["op"]
    _check_type(op, _STRING)
    if op not in _OPS:
        raise _Misfit(f"No enum match for: {dumps(op).decode()}")
    return str(op)


def _check(value: dict[str, Any], types: Mapping[str, str], *, required: Iterable[str]) -> None:
    """Check an object's members. ``op`` is allowed at the top, where it was checked already."""
    for name in required:
        if name not in value:
            raise _Misfit(f"Missing required property: {name}")
    for name, item in value.items():
        if name in types:
            _check_type(item, types[name])
        elif name != "op" or types is _QUERY:
            raise _Misfit("Additional properties not allowed")


def _check_names(names: list[Any] | None) -> None:
    if names is None:
        return
    if not names:
        raise _Misfit("Array is too short (0), minimum 1")
    for name in names:
        _check_type(name, _STRING)
    first: dict[str, int] = {}
    for position, name in enumerate(names):
        if first.setdefault(name, position) != position:
            raise _Misfit(f"Array items are not unique (indices {first[name]} and {position})")


def _depth(value: Any) -> int:
    """How deep objects and arrays nest; counting stops past the limit."""
    deepest = 0
    level = [value]
    while level and deepest <= _MAX_DEPTH:
        deepest += 1
        following: list[Any] = []
        for item in level:
            members = item.values() if isinstance(item, dict) else item
            following += [member for member in members if isinstance(member, dict | list)]
        level = following
    return deepest
