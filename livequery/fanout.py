"""From one change in the database to the frames of everybody who may see it.

With ``O`` and ``N``, the states before and after match and are readable, the receiver gets:

========== ==== ==== =========================================================
change     O    N    event
========== ==== ==== =========================================================
insert          yes  ``create``
update     yes  yes  ``update``
update     yes  no   ``leave``: the new state where readable, else the old one
update     no   yes  ``enter``: with the old state where that is readable
delete     yes       ``delete``
========== ==== ==== =========================================================

An update whose old state MongoDB did not keep (a class that has only just become live) is an
``update`` without ``original`` when the new state matches, and nothing otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from livequery.identity import Access, Resolver
from livequery.session import error_frame
from livequery.subscriptions import Criteria, Group, Subscriptions
from server.access.acl import can_read
from server.access.caller import Caller
from server.access.clp import is_held_by
from server.errors import ParseError
from server.schema.classes import ClassSchema
from server.storage.changes import Change
from server.values import StoredDocument, WireObject, dumps

logger = logging.getLogger(__name__)

FileUrl = Callable[[str], str]

_ALWAYS_SENT = frozenset(("className", "objectId", "createdAt", "updatedAt", "ACL"))
# SECURITY: not even the owner's own subscription carries these.
_NEVER_SENT = {"_User": frozenset(("password", "authData", "sessionToken"))}
_NOTHING: frozenset[str] = frozenset()


class _State:
    """One state of the object, before or after; what is drawn from it is drawn once."""

    def __init__(
        self, document: StoredDocument, class_schema: ClassSchema, file_url: FileUrl
    ) -> None:
        self.document = document
        self._class_schema = class_schema
        self._file_url = file_url
        self._rendered: WireObject | None = None
        self._texts: dict[tuple[frozenset[str], frozenset[str] | None], str] = {}

    @property
    def wire(self) -> WireObject:
        if self._rendered is None:
            class_name = self._class_schema.name
            rendered = self._class_schema.layout.render(self.document, self._file_url)
            for name in _NEVER_SENT.get(class_name, ()):
                rendered.pop(name, None)
            self._rendered = {"className": class_name, **rendered}
        return self._rendered

    def text(self, hidden: frozenset[str], keys: frozenset[str] | None) -> str:
        """JSON of the object without ``hidden``; only ``keys`` and what every frame has."""
        text = self._texts.get((hidden, keys))
        if text is None:
            seen = self.wire
            if hidden or keys is not None:
                wanted = None if keys is None else keys | _ALWAYS_SENT
                seen = {
                    name: value
                    for name, value in seen.items()
                    if name not in hidden and (wanted is None or name in wanted)
                }
            text = self._texts[hidden, keys] = dumps(seen).decode()
        return text


class _Event:
    """A change, as far as it was worked out for the receivers so far."""

    def __init__(self, change: Change, class_schema: ClassSchema, file_url: FileUrl) -> None:
        self.class_schema = class_schema
        self.is_insert = change.op == "insert"

        def state(document: StoredDocument | None) -> _State | None:
            return None if document is None else _State(document, class_schema, file_url)

        self.before = state(change.before)
        self.after = state(change.after)

    def has_changed(self, names: tuple[str, ...]) -> bool:
        """Whether one of the watched fields differs; all do when the old state is unknown."""
        if self.before is None and not self.is_insert:
            return True
        old = {} if self.before is None else self.before.wire
        new = {} if self.after is None else self.after.wire
        return any(_value_at(old, name) != _value_at(new, name) for name in names)


def _value_at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


class Fanout:
    """Delivers changes to subscriptions.

    Args:
        file_url: the public address of a stored file's name.
        sanitize: hide why a right was refused (``enableSanitizedErrorResponse``).
        owner_exempt: users see the protected fields of their own row.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        resolver: Resolver,
        *,
        file_url: FileUrl,
        sanitize: bool = True,
        owner_exempt: bool = True,
    ) -> None:
        self._subscriptions = subscriptions
        self._resolver = resolver
        self._file_url = file_url
        self._sanitize = sanitize
        self._owner_exempt = owner_exempt

    async def deliver(self, change: Change, class_schema: ClassSchema) -> None:
        """Offer the frames of one change to their receivers.

        Waits only for sessions that have to be looked up again, never for a receiver.
        """
        subscriptions = self._subscriptions.of(change.collection)
        if subscriptions is None:
            return
        subscriptions.follow(class_schema)
        matched: list[tuple[Group, bool, bool]] = []
        for criteria in subscriptions.candidates(change.before, change.after):
            matched += _matching_groups(criteria, change)
        if not matched:
            return
        refused = await self._refresh([group for group, _, _ in matched])
        event = _Event(change, class_schema, self._file_url)
        for group, old_matches, new_matches in matched:
            if group not in refused:
                self._send(group, event, old_matches, new_matches)

    async def _refresh(self, groups: list[Group]) -> set[Group]:
        """Bring rights up to date; the groups whose rights cannot be told now."""
        refused: set[Group] = set()
        for group in groups:
            if not group.identity.is_fresh(self._resolver.generation):
                try:
                    await group.identity.refresh(self._resolver)
                except ParseError as error:
                    logger.error("rights of a subscription could not be read: %s", error)
                    refused.add(group)
        return refused

    def _send(self, group: Group, event: _Event, old_matches: bool, new_matches: bool) -> None:
        access = group.identity.access(
            event.class_schema, group.operation, owner_exempt=self._owner_exempt
        )
        if access.refusal is not None:
            # SECURITY: a refusal tells that an object matches; not so of one that the receiver
            # could not read with the permission either.
            if not any(
                state is not None and can_read(state.document, access.caller)
                for state in (event.before, event.after)
            ):
                return
            body = access.refusal.body(sanitize=self._sanitize)
            for member in tuple(group.members):
                member.receiver.offer(
                    error_frame(
                        body["code"], body["error"], reconnect=False, request_id=member.request_id
                    )
                )
            return
        protection = access.protection
        if protection is not None and not group.asked.isdisjoint(protection.hidden):
            # SECURITY: it was subscribed to with rights to these columns that are gone.
            return
        decided = _decide(group, event, access, old_matches, new_matches)
        if decided is None:
            return
        op, state, original = decided
        start = f'{{"op":"{op}",'
        rest = f'"object":{_view(state, group, access)}'
        if original is not None:
            rest += f',"original":{_view(original, group, access)}'
        rest += "}"
        # PERF: per receiver only three pieces of text are joined.
        for member in tuple(group.members):
            member.receiver.offer(start + member.head + rest)


def _matching_groups(criteria: Criteria, change: Change) -> list[tuple[Group, bool, bool]]:
    old_matches = change.before is not None and criteria.matches(change.before)
    new_matches = change.after is not None and criteria.matches(change.after)
    if not (old_matches or new_matches):
        return []
    return [(group, old_matches, new_matches) for group in criteria.groups.values()]


def _decide(
    group: Group, event: _Event, access: Access, old_matches: bool, new_matches: bool
) -> tuple[str, _State, _State | None] | None:
    """The event's name, its object and its original; ``None``: the receiver gets nothing."""
    before, after = event.before, event.after
    old_seen = before if before is not None and _is_readable(before.document, access) else None
    if after is None:
        return ("delete", old_seen, None) if old_seen is not None and old_matches else None
    # Pointer permissions that the new state does not grant silence the event altogether.
    if not _is_in_reach(after.document, access):
        return None
    new_seen = after if can_read(after.document, access.caller) else None
    in_old = old_seen is not None and old_matches
    in_new = new_seen is not None and new_matches
    if in_old and old_seen is not None and not in_new:
        return "leave", new_seen or old_seen, old_seen
    if not in_new or new_seen is None:
        return None
    if in_old or event.is_insert or before is None:
        if group.watch and not event.has_changed(group.watch):
            return None
        return "create" if event.is_insert else "update", new_seen, old_seen
    return "enter", new_seen, old_seen


def _is_in_reach(document: StoredDocument, access: Access) -> bool:
    """Pointer permissions, and that sessions are for their users only."""
    caller: Caller = access.caller
    if access.class_schema.name == "_Session" and not caller.is_privileged:
        if caller.user_id is None or document.get("_p_user") != f"_User${caller.user_id}":
            return False
    fields = access.pointer_fields
    return not fields or is_held_by(fields, document, access.class_schema, caller)


def _is_readable(document: StoredDocument, access: Access) -> bool:
    return can_read(document, access.caller) and _is_in_reach(document, access)


def _view(state: _State, group: Group, access: Access) -> str:
    protection = access.protection
    hidden = _NOTHING
    if protection is not None:
        hidden = protection.hidden_in(state.document, access.class_schema, access.caller)
    return state.text(hidden, group.keys)
