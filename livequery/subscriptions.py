"""All subscriptions of a process, found by class and by one value that an object must have.

An event costs what the subscriptions that could match it cost, not what all of them would:
10,000 clients that each watch ``patient == me`` are looked up by the patient of the object.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from bson import Decimal128, ObjectId

from livequery.identity import Identity
from livequery.matcher import compile_filter, never
from livequery.paths import Predicate
from livequery.patterns import Clock
from livequery.where import live_filter, names_in
from server.errors import Code, ParseError
from server.schema.classes import ClassSchema
from server.values import StoredDocument, dumps

logger = logging.getLogger(__name__)

_MAX_ANCHORS = 100


class Receiver(Protocol):
    """Where frames go; must return at once."""

    def offer(self, frame: str) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One subscription of one client. ``head``: the members of its frames before the object."""

    receiver: Receiver
    head: str
    request_id: int | float


@dataclass(slots=True, eq=False)
class Group:
    """Subscriptions that always get the same: same criteria, rights, keys and watch.

    ``asked``: the columns that their criteria and watch look at.
    """

    identity: Identity
    keys: frozenset[str] | None
    watch: tuple[str, ...]
    operation: str
    asked: frozenset[str]
    members: set[Member] = field(default_factory=set)


GroupKey: TypeAlias = tuple[Identity, frozenset[str] | None, tuple[str, ...]]


class Criteria:
    """One ``where`` of one class, evaluated once per event for all who ask it."""

    def __init__(self, key: str, where: dict[str, Any], privileged: bool) -> None:
        self.key = key
        self.where = where
        self.privileged = privileged
        self.operation = operation_of(where)
        self.groups: dict[GroupKey, Group] = {}
        self.matches: Predicate = never
        self.anchor: Anchor | None = None

    def compile(self, class_schema: ClassSchema, clock: Clock) -> None:
        """Read ``where`` by the columns of the class. Raises ParseError (102)."""
        self.matches, self.anchor = never, None
        try:
            filter_ = live_filter(self.where, class_schema.fields, privileged=self.privileged)
        except ParseError as error:
            if error.code == Code.INVALID_QUERY:
                raise
            # WIRE: conditions that a find refuses may be subscribed to and never match.
            logger.info("a subscription to %s never matches: %s", class_schema.name, error)
            return
        self.matches = compile_filter(filter_, clock)
        self.anchor = anchor_of(filter_)


def operation_of(where: Mapping[str, Any]) -> str:
    """The class-level permission that a query needs: one object by its id is a ``get``."""
    return "get" if len(where) == 1 and isinstance(where.get("objectId"), str) else "find"


# ---- the value to look subscriptions up by ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Anchor:
    """A top-level key that must hold one of these values in every object that matches."""

    key: str
    values: tuple[Any, ...]


def anchor_of(filter_: Mapping[str, Any]) -> Anchor | None:
    """The equality of a filter that looks the most selective; ``None``: there is none."""
    found = [
        Anchor(key, values)
        for key, condition in _conjunction(filter_)
        if "." not in key and (values := _required_values(condition))
    ]
    return min(found, key=_commonness, default=None)


def _conjunction(filter_: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, condition in filter_.items():
        if key == "$and":
            for branch in condition:
                yield from _conjunction(branch)
        elif not key.startswith("$"):
            yield key, condition


def _required_values(condition: Any) -> tuple[Any, ...]:
    if not isinstance(condition, dict):
        candidates = [condition]
    elif "$eq" in condition:
        candidates = [condition["$eq"]]
    elif "$in" in condition:
        candidates = list(condition["$in"])
    elif condition.get("$all"):
        candidates = condition["$all"][:1]
    else:
        return ()
    if len(candidates) > _MAX_ANCHORS or not all(map(_is_key, candidates)):
        return ()
    return tuple(candidates)


def _is_key(value: Any) -> bool:
    """Whether equality in MongoDB is equality, and an equal hash, in Python."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int | datetime | ObjectId)


def _commonness(anchor: Anchor) -> tuple[int, int]:
    """Less for what fewer objects share."""
    if anchor.key == "_id":
        order = 0
    elif anchor.key.startswith("_p_"):
        order = 1
    else:
        kinds = [isinstance(value, str | ObjectId) for value in anchor.values]
        order = 2 if all(kinds) else 3
        if any(isinstance(value, bool) for value in anchor.values):
            order = 4
    return order, len(anchor.values)


def _keys_in(document: StoredDocument | None, key: str) -> Iterator[Any]:
    """The values of a document's column that a subscription may be anchored at."""
    value = None if document is None else document.get(key)
    if value is None:
        return
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, Decimal128):
            number = item.to_decimal()
            if number.is_finite():
                yield number  # its hash is that of the equal int or float
        elif _is_key(item):
            yield item


# ---- the index --------------------------------------------------------------------------------


class ClassSubscriptions:
    """The subscriptions of one class."""

    def __init__(self, class_schema: ClassSchema, clock: Clock) -> None:
        self.class_schema = class_schema
        self._clock = clock
        self._criteria: dict[str, Criteria] = {}
        self._loose: dict[Criteria, None] = {}
        self._anchored: dict[str, dict[Any, dict[Criteria, None]]] = {}

    def __bool__(self) -> bool:
        return bool(self._criteria)

    def add(
        self,
        where: dict[str, Any],
        identity: Identity,
        keys: frozenset[str] | None,
        watch: tuple[str, ...],
        member: Member,
    ) -> tuple[Criteria, Group]:
        """Join the subscriptions that ask the same. Raises ParseError (102)."""
        privileged = identity.is_master
        key = f"{privileged}{dumps(where).decode()}"
        criteria = self._criteria.get(key)
        if criteria is None:
            criteria = Criteria(key, where, privileged)
            criteria.compile(self.class_schema, self._clock)
            self._criteria[key] = criteria
            self._link(criteria)
        group_key = (identity, keys, watch)
        group = criteria.groups.get(group_key)
        if group is None:
            asked = frozenset(name.partition(".")[0] for name in (*names_in(where), *watch))
            group = Group(identity, keys, watch, criteria.operation, asked)
            criteria.groups[group_key] = group
        group.members.add(member)
        return criteria, group

    def remove(self, criteria: Criteria, group: Group, member: Member) -> None:
        group.members.discard(member)
        if group.members:
            return
        criteria.groups.pop((group.identity, group.keys, group.watch), None)
        if not criteria.groups and self._criteria.pop(criteria.key, None) is not None:
            self._unlink(criteria)

    def follow(self, class_schema: ClassSchema) -> None:
        """Read every ``where`` anew when the columns of the class changed."""
        if class_schema is self.class_schema:
            return
        is_same = class_schema.fields == self.class_schema.fields
        self.class_schema = class_schema
        if is_same:
            return
        self._loose.clear()
        self._anchored.clear()
        for criteria in self._criteria.values():
            try:
                criteria.compile(class_schema, self._clock)
            except ParseError:
                logger.info("a subscription to %s no longer matches", class_schema.name)
            self._link(criteria)

    def candidates(
        self, before: StoredDocument | None, after: StoredDocument | None
    ) -> list[Criteria]:
        """The criteria that one of the two states may match; all others match neither."""
        found = dict(self._loose)
        for key, by_value in self._anchored.items():
            for document in (before, after):
                for value in _keys_in(document, key):
                    found.update(by_value.get(value, {}))
        return list(found)

    def _slots(self, criteria: Criteria) -> Iterable[tuple[str, Any]]:
        anchor = criteria.anchor
        return () if anchor is None else ((anchor.key, value) for value in anchor.values)

    def _link(self, criteria: Criteria) -> None:
        if criteria.anchor is None:
            self._loose[criteria] = None
        for key, value in self._slots(criteria):
            self._anchored.setdefault(key, {}).setdefault(value, {})[criteria] = None

    def _unlink(self, criteria: Criteria) -> None:
        self._loose.pop(criteria, None)
        for key, value in self._slots(criteria):
            by_value = self._anchored.get(key, {})
            criterias = by_value.get(value, {})
            criterias.pop(criteria, None)
            if not criterias:
                by_value.pop(value, None)
            if not by_value:
                self._anchored.pop(key, None)


@dataclass(frozen=True, slots=True)
class Ticket:
    """What it takes to end one subscription."""

    class_name: str
    criteria: Criteria
    group: Group
    member: Member


class Subscriptions:
    """The subscriptions of a process, by class."""

    def __init__(self, regex_limit: float = 0.1) -> None:
        self._clock = Clock(regex_limit)
        self._classes: dict[str, ClassSubscriptions] = {}

    def __contains__(self, class_name: object) -> bool:
        return class_name in self._classes

    def of(self, class_name: str) -> ClassSubscriptions | None:
        return self._classes.get(class_name)

    def add(
        self,
        class_schema: ClassSchema,
        where: dict[str, Any],
        identity: Identity,
        keys: frozenset[str] | None,
        watch: tuple[str, ...],
        member: Member,
    ) -> Ticket:
        """Raises ParseError when ``where`` is no query, an invalid pattern for one (102)."""
        name = class_schema.name
        found = self._classes.get(name)
        subscriptions = found or ClassSubscriptions(class_schema, self._clock)
        subscriptions.follow(class_schema)
        criteria, group = subscriptions.add(where, identity, keys, watch, member)
        self._classes[name] = subscriptions
        return Ticket(name, criteria, group, member)

    def remove(self, ticket: Ticket) -> None:
        subscriptions = self._classes.get(ticket.class_name)
        if subscriptions is None:
            return
        subscriptions.remove(ticket.criteria, ticket.group, ticket.member)
        if not subscriptions:
            del self._classes[ticket.class_name]
