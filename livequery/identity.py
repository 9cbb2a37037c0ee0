"""Who receives: the rights behind subscriptions, kept up to date with sessions and roles."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

from server.access.caller import ANONYMOUS, MASTER, Caller
from server.access.clp import check
from server.access.protected import Protection, protection
from server.errors import Code, ParseError
from server.schema.classes import ClassSchema

_LONGEST_TRUST = 5.0
"""Seconds after which a session is looked up again, though no change was reported: it may have
expired."""


class Resolver(Protocol):
    """`server.access.callers.CallerResolver`."""

    generation: int

    async def resolve(self, token: str) -> Caller: ...


@dataclass(frozen=True, slots=True)
class Access:
    """What one caller may see of one class. ``refusal``: nothing, and why."""

    class_schema: ClassSchema
    caller: Caller
    pointer_fields: tuple[str, ...] = ()
    protection: Protection | None = None
    refusal: ParseError | None = None


class Identity:
    """The sessions that a subscription acts by, and the caller they now stand for.

    The first session that is still valid counts; with none left the receiver is anonymous.
    """

    def __init__(self, tokens: tuple[str, ...], *, is_master: bool = False) -> None:
        self.tokens = tokens
        self.is_master = is_master
        self.caller = MASTER if is_master else ANONYMOUS
        self._generation = -1
        self._checked_at = 0.0
        self._access: dict[tuple[str, str], Access] = {}

    def is_fresh(self, generation: int) -> bool:
        """Whether `caller` is right for this generation of the resolver's knowledge."""
        if not self.tokens or self.is_master:
            return True
        return (
            self._generation == generation and time.monotonic() - self._checked_at < _LONGEST_TRUST
        )

    async def refresh(self, resolver: Resolver) -> Caller:
        """Look the sessions up again. Raises ParseError when the database does not answer."""
        if self.is_fresh(resolver.generation):
            return self.caller
        generation = resolver.generation
        caller = ANONYMOUS
        for token in self.tokens:
            try:
                caller = await resolver.resolve(token)
                break
            except ParseError as error:
                if error.code != Code.INVALID_SESSION_TOKEN:
                    raise
        self.caller = caller
        self._generation = generation
        self._checked_at = time.monotonic()
        return caller

    def access(self, class_schema: ClassSchema, operation: str, *, owner_exempt: bool) -> Access:
        """The rights on a class, worked out once per caller and version of the class."""
        known = self._access.get((class_schema.name, operation))
        if known is not None and known.class_schema is class_schema and known.caller is self.caller:
            return known
        try:
            pointer_fields = check(class_schema, operation, self.caller)
        except ParseError as refusal:
            access = Access(class_schema, self.caller, refusal=refusal)
        else:
            hidden = protection(class_schema, self.caller, owner_exempt=owner_exempt)
            access = Access(class_schema, self.caller, pointer_fields, hidden)
        self._access[class_schema.name, operation] = access
        return access


class Identities:
    """One `Identity` for all subscriptions that act by the same sessions."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[bool, tuple[str, ...]], Identity] = (
            WeakValueDictionary()
        )

    def get(self, *tokens: str | None, is_master: bool = False) -> Identity:
        given = tuple(dict.fromkeys(token for token in tokens if token))
        identity = self._known.get((is_master, given))
        if identity is None:
            identity = Identity(given, is_master=is_master)
            self._known[is_master, given] = identity
        return identity
