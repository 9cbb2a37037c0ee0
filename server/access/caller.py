"""Who is asking: the caller's identity, and the context of one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from server.values import WireObject

PUBLIC = "*"


@dataclass(frozen=True, slots=True)
class Caller:
    """An identity and its rights. Shared between requests of one session; never changed.

    ``roles`` are role names without ``role:``, inherited ones included.
    ``entities`` are the ACL and CLP keys that apply: ``*``, the user id, ``role:X``.
    """

    is_master: bool = False
    is_read_only: bool = False
    is_maintenance: bool = False
    user: WireObject | None = None
    user_id: str | None = None
    session_token: str | None = None
    roles: frozenset[str] = frozenset()
    entities: tuple[str, ...] = (PUBLIC,)

    @property
    def is_privileged(self) -> bool:
        """ACLs and class-level permissions do not apply."""
        return self.is_master or self.is_maintenance


ANONYMOUS = Caller()
MASTER = Caller(is_master=True)
READ_ONLY_MASTER = Caller(is_master=True, is_read_only=True)
MAINTENANCE = Caller(is_maintenance=True)


@dataclass(slots=True)
class Context:
    """One request, as all floors above see it: who asks, and what hooks are told of it.

    ``mount_url``: the public address of this server with its mount path, for file URLs.
    ``cloud``: the caller's ``X-Parse-Cloud-Context``; hooks of one operation may add to it.
    ``session``: the driver's session while a transaction is open.
    """

    caller: Caller
    mount_url: str
    installation_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    ip: str = ""
    cloud: dict[str, Any] = field(default_factory=dict)
    session: Any = None

    def acting_as(self, caller: Caller, cloud: dict[str, Any] | None = None) -> Context:
        """The same request with other rights and a fresh cloud context."""
        return replace(self, caller=caller, cloud={} if cloud is None else cloud)
