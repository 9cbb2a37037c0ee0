"""`cloud.Object`: one object of a class, as cloud code reads, changes and saves it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

from server.cloud.acl import ACL
from server.cloud.backend import running
from server.cloud.changes import DELETE, applied, joined, operation, relation_change, unique
from server.cloud.codec import decode, decoders, encode
from server.objects.query import Query as FindQuery
from server.values import WireObject, from_iso

if TYPE_CHECKING:
    from server.cloud.query import Query

_CHOSEN_BY_SERVER = frozenset(("objectId", "createdAt", "updatedAt", "className"))
_PLAIN = frozenset((str, int, float, bool, type(None)))


class Object:
    """An object of a class; ``Object("Note", text="hi")`` makes a new one, not saved yet.

    Fields are read and set like those of a dict, as Python values (see `server.cloud.codec`).
    Lists and dicts may be changed in place. Nothing is stored before `save`; in a before_save
    hook, changes to ``request.object`` are stored with the request's own.
    """

    wire_type: ClassVar[str] = "Pointer"

    def __init__(self, class_name: str, /, **fields: Any) -> None:
        self._begin(class_name, {})
        for key, value in fields.items():
            if key == "acl":
                self.acl = value
            else:
                self[key] = value

    def _begin(self, class_name: str, state: WireObject) -> None:
        self.class_name = class_name
        self.existed = False
        self._stored = state  # as the server has it; never changed in place
        self._state = state  # with the changes made here; copied at the first one
        self._values: dict[str, Any] = {}  # decoded fields that were read
        self._changes: WireObject = {}
        self._is_new = "objectId" not in state

    @classmethod
    def pointer(cls, class_name: str, object_id: str) -> Object:
        """An object known by its id only; `fetch` reads its fields."""
        return from_wire(class_name, {"objectId": object_id})

    # --- reading -------------------------------------------------------------------------------

    @property
    def id(self) -> str | None:
        """The object id; ``None`` before the first save."""
        return self._state.get("objectId")

    @property
    def created_at(self) -> datetime | None:
        return _moment(self._state.get("createdAt"))

    @property
    def updated_at(self) -> datetime | None:
        return _moment(self._state.get("updatedAt"))

    @property
    def acl(self) -> ACL | None:
        """Who may read and write it; ``None``: everybody."""
        found: ACL | None = self.get("ACL")
        return found

    @acl.setter
    def acl(self, acl: ACL | None) -> None:
        if acl is None:
            self.unset("ACL")
        else:
            self["ACL"] = acl

    @property
    def is_new(self) -> bool:
        """Not saved yet."""
        return self._is_new

    @property
    def is_fetched(self) -> bool:
        """Whether its fields are at hand; an object that a pointer gave has only its id."""
        return any(key not in ("objectId", "className", "__type") for key in self._state)

    @property
    def dirty_keys(self) -> tuple[str, ...]:
        """The fields with changes that are not stored yet."""
        return tuple(dict.fromkeys(key.split(".", 1)[0] for key in self._collect()))

    def dirty(self, key: str | None = None) -> bool:
        """Whether this field, or any, has changes that are not stored yet."""
        return bool(self.dirty_keys) if key is None else key in self.dirty_keys

    def get(self, key: str, default: Any = None) -> Any:
        """A field's value; ``default`` when the object does not have it."""
        if key in self._values:
            return self._values[key]
        if key not in self._state:
            return default
        value = self._state[key]
        if type(value) in _PLAIN:
            return _moment(value) if key in ("createdAt", "updatedAt") else value
        if key == "ACL":
            value = ACL(value)
        elif isinstance(value, dict) and value.get("__type") == "Relation":
            return self.relation(key)
        else:
            value = decode(value)
        self._values[key] = value
        return value

    def __getitem__(self, key: str) -> Any:
        if key not in self._state:
            raise KeyError(key)
        return self.get(key)

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __contains__(self, key: object) -> bool:
        return key in self._state

    def keys(self) -> Iterator[str]:
        """The names of the fields it has, those of the server included."""
        return (key for key in self._state if key not in ("className", "__type"))

    def to_json(self) -> WireObject:
        """The fields in wire form, as REST shows them."""
        self._collect()
        return {key: self._state[key] for key in self.keys()}

    def to_wire(self, *, full: bool) -> WireObject:
        if full and self.is_fetched:
            return {"__type": "Object", "className": self.class_name, **self.to_json()}
        return self.to_pointer()

    def to_pointer(self) -> WireObject:
        """Raises ValueError for an object that has no id yet."""
        if self.id is None:
            raise ValueError(f"Save this {self.class_name} before something refers to it.")
        return {"__type": "Pointer", "className": self.class_name, "objectId": self.id}

    def __eq__(self, other: object) -> bool:
        """The same object of the database, whatever fields are at hand."""
        if not isinstance(other, Object) or self.id is None:
            return self is other
        return (self.class_name, self.id) == (other.class_name, other.id)

    def __hash__(self) -> int:
        return hash((self.class_name, self.id)) if self.id else object.__hash__(self)

    def __repr__(self) -> str:
        return f"<{self.class_name} {self.id or 'new'}>"

    # --- changing ------------------------------------------------------------------------------

    def set(self, key: str, value: Any) -> Self:
        """Set a field. Raises ValueError for those that only the server sets."""
        wire = encode(value)
        self._change(key, wire)
        self._state[key] = wire
        if isinstance(value, list | dict | ACL):
            self._values[key] = value  # changed in place later, it counts
        return self

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def unset(self, key: str) -> Self:
        """Remove a field."""
        self._change(key, DELETE)
        self._state.pop(key, None)
        return self

    def __delitem__(self, key: str) -> None:
        self.unset(key)

    def increment(self, key: str, amount: float = 1) -> Self:
        """Add to a number, atomically in the database; a missing one counts as 0."""
        self._collect()
        before = self._state.get(key, 0)
        if isinstance(before, bool) or not isinstance(before, int | float):
            raise ValueError(f"{key} is no number and cannot be incremented.")
        pending = self._changes.get(key)
        if isinstance(pending, dict) and operation(pending) == "Increment":
            self._change(key, {"__op": "Increment", "amount": pending["amount"] + amount})
        elif pending is None and not self.is_new:
            self._change(key, {"__op": "Increment", "amount": amount})
        else:
            self._change(key, before + amount)
        self._state[key] = before + amount
        return self

    def add(self, key: str, *items: Any) -> Self:
        """Append to a list, atomically in the database."""
        return self._change_list("Add", key, items)

    def add_unique(self, key: str, *items: Any) -> Self:
        """Append to a list what it does not hold yet, atomically in the database."""
        return self._change_list("AddUnique", key, items)

    def remove(self, key: str, *items: Any) -> Self:
        """Take all that equals these items out of a list, atomically in the database."""
        return self._change_list("Remove", key, items)

    def relation(self, key: str) -> Relation:
        """The relation in a field."""
        return Relation(self, key)

    def revert(self, *keys: str) -> Self:
        """Forget the changes of these fields, or all changes."""
        self._collect()
        names = set(keys) or {key.split(".", 1)[0] for key in self._changes}
        state = {key: value for key, value in self._state.items() if key not in names}
        state.update((key, self._stored[key]) for key in names if key in self._stored)
        self._state = state
        for name in list(self._changes):
            if name.split(".", 1)[0] in names:
                del self._changes[name]
        for name in names:
            self._values.pop(name, None)
        return self

    def _change(self, key: str, change: Any) -> None:
        """Note a change and let the state be written to."""
        if key in _CHOSEN_BY_SERVER:
            raise ValueError(f"{key} is set by the server only.")
        if self._state is self._stored:
            self._state = dict(self._stored)
        if operation(change) in (None, "Delete"):
            for name in [name for name in self._changes if name.startswith(f"{key}.")]:
                del self._changes[name]
        self._changes[key] = change
        self._values.pop(key, None)

    def _change_list(self, op: str, key: str, items: Iterable[Any]) -> Self:
        self._collect()
        given = encode(list(items))
        before = self._state.get(key) or []
        if not isinstance(before, list):
            raise ValueError(f"{key} is no list.")
        after = applied(op, before, given)
        pending = self._changes.get(key)
        atomic = operation(pending) == op or (pending is None and not self.is_new)
        self._change(key, joined(op, pending, given) if atomic else after)
        self._state[key] = after
        return self

    def _change_relation(self, key: str, added: list[Any], removed: list[Any]) -> None:
        self._change(key, relation_change(self._changes.get(key), added, removed))
        self._state.setdefault(
            key, {"__type": "Relation", "className": (added + removed)[0]["className"]}
        )

    def _collect(self) -> WireObject:
        """The pending changes, with those of lists and dicts changed in place."""
        for key, value in list(self._values.items()):
            if not isinstance(value, list | dict | ACL):
                continue
            wire = encode(value)
            known = self._state.get(key)
            if wire != known and wire != encode(ACL(known) if key == "ACL" else decode(known)):
                self.set(key, value)
        return self._changes

    # --- the database --------------------------------------------------------------------------

    async def save(
        self,
        *,
        use_master_key: bool = False,
        session_token: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Self:
        """Create or update it, as the caller of the running hook unless said otherwise.

        ``context`` is handed to the hooks of this save.
        """
        now = running()
        ctx = await now.acting(use_master_key, session_token, dict(context or {}))
        changes = self._collect()
        if self.id is None or self._is_new:
            body = {key: change for key, change in changes.items() if change != DELETE}
            saved = await now.backend.objects.create(ctx, self.class_name, body)
            self._settle({"objectId": saved.object_id, **saved.response})
            self._stored.setdefault("updatedAt", self._stored.get("createdAt"))
        else:
            response = await now.backend.objects.update(
                ctx, self.class_name, self.id, dict(changes)
            )
            self._settle(response)
            self.existed = True
        return self

    async def fetch(
        self,
        *,
        include: Iterable[str] = (),
        use_master_key: bool = False,
        session_token: str | None = None,
    ) -> Self:
        """Read its fields anew; changes made here are lost. Raises 101 when it is not there."""
        if self.id is None:
            raise ValueError(f"This {self.class_name} was never saved.")
        now = running()
        ctx = await now.acting(use_master_key, session_token)
        query = FindQuery.for_get(self.id, {"include": list(include)})
        found = await now.backend.objects.get(ctx, self.class_name, query)
        self._begin(self.class_name, found)
        self.existed = True
        return self

    async def destroy(
        self,
        *,
        use_master_key: bool = False,
        session_token: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Delete it. Raises 101 when it is not there."""
        if self.id is None:
            raise ValueError(f"This {self.class_name} was never saved.")
        now = running()
        ctx = await now.acting(use_master_key, session_token, dict(context or {}))
        await now.backend.objects.delete(ctx, self.class_name, self.id)

    def _settle(self, response: WireObject) -> None:
        """A save succeeded: what is here and what the server answered is what is stored."""
        state = {**self._state, **response}
        for key, value in response.items():
            self._values.pop(key, None)
            if operation(value) == "Delete":
                del state[key]
        self._stored = self._state = state
        self._changes = {}
        self._is_new = False


class Relation:
    """The objects that a relation field refers to, without an end to their number."""

    def __init__(self, parent: Object, key: str) -> None:
        self.parent = parent
        self.key = key

    def add(self, *objects: Object) -> None:
        """Take objects in; stored with the parent's next save."""
        if objects:
            pointers = unique([], [item.to_pointer() for item in objects])
            self.parent._change_relation(self.key, pointers, [])

    def remove(self, *objects: Object) -> None:
        if objects:
            pointers = unique([], [item.to_pointer() for item in objects])
            self.parent._change_relation(self.key, [], pointers)

    def query(self) -> Query[Object]:
        """A query of the objects in it."""
        from server.cloud.query import of_relation  # a query is made of objects

        return of_relation(self)

    def __repr__(self) -> str:
        return f"<Relation {self.key} of {self.parent!r}>"


classes: dict[str, type[Object]] = {}
"""System classes with a Python class of their own."""


def class_name_of(target: Any) -> str:
    """A class name as cloud code may give it: text, or one of the Python `classes`."""
    if isinstance(target, str):
        return target
    for name, cls in classes.items():
        if cls is target:
            return name
    raise TypeError(f"A class is named by text, cloud.User or cloud.Role, not {target!r}.")


def from_wire(class_name: str, state: WireObject) -> Object:
    """An object of its class's Python type. ``state`` is kept, and never changed."""
    cls = classes.get(class_name, Object)
    made = cls.__new__(cls)
    made._begin(class_name, state)
    return made


def changing(class_name: str, stored: WireObject, state: WireObject, body: WireObject) -> Object:
    """An object in the middle of a save: as stored, with the changes applied, the changes."""
    made = from_wire(class_name, stored)
    made._state = dict(state)
    made._changes = dict(body)
    made._is_new = not stored
    return made


def pending_changes(changed: Object) -> WireObject:
    """The changes that a save would store, operations as ``{"__op": ...}``."""
    return changed._collect()


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str):
        return from_iso(value).replace(tzinfo=UTC)
    if isinstance(value, dict) and isinstance(value.get("iso"), str):
        return from_iso(value["iso"]).replace(tzinfo=UTC)
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else None


def _from_typed(value: WireObject) -> Object:
    state = {k: v for k, v in value.items() if k not in ("__type", "className")}
    return from_wire(value["className"], state)


decoders["Pointer"] = _from_typed
decoders["Object"] = _from_typed
