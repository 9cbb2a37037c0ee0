"""What of an object is asked for: ``keys excludeKeys include order``, resolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from server.errors import Code, ParseError
from server.objects.query import Query
from server.schema.classes import ClassSchema
from server.storage.documents import STORED_NAMES, storage_key
from server.values import Field, is_field_name

_ALWAYS = ("objectId", "createdAt", "updatedAt", "ACL")
_ALWAYS_STORED = ("_id", "_created_at", "_updated_at", "_rperm", "_wperm")


@dataclass(slots=True)
class IncludeTree:
    """Pointers to follow, by field, each with the part of the target that is asked for.

    ``keys`` ``None``: the whole target.
    """

    children: dict[str, IncludeTree] = field(default_factory=dict)
    keys: set[str] | None = None
    exclude_keys: set[str] = field(default_factory=set)


def include_tree(query: Query, class_schema: ClassSchema) -> IncludeTree | None:
    """The pointers a query follows; ``None`` when there are none. PERF: most queries."""
    if not (query.include or query.include_all or query.keys or query.exclude_keys):
        return None
    root = IncludeTree()
    paths = [path for path in query.include if path != "*"]
    if query.include_all:
        paths += [
            name for name, spec in class_schema.fields.items() if spec.type in ("Pointer", "Array")
        ]
    for path in paths:
        _walk(root, path.split("."))
    for key in query.keys or ():
        parts = key.split(".")
        # ``keys=owner.name`` follows the pointer ``owner`` and selects ``name`` in it.
        if len(parts) > 1 and (
            parts[0] in root.children or _is_pointer(class_schema.fields, parts[0])
        ):
            node = _walk(root, parts[:-1])
            node.keys = (node.keys or set()) | {parts[-1]}
    for key in query.exclude_keys:
        parts = key.split(".")
        if len(parts) > 1:
            found = _find(root, parts[:-1])
            if found is not None:
                found.exclude_keys.add(parts[-1])
    return root if root.children else None


def _is_pointer(fields: Mapping[str, Field], name: str) -> bool:
    found = fields.get(name)
    return found is not None and found.type == "Pointer"


def _walk(root: IncludeTree, parts: Iterable[str]) -> IncludeTree:
    node = root
    for part in parts:
        node = node.children.setdefault(part, IncludeTree())
    return node


def _find(root: IncludeTree, parts: Iterable[str]) -> IncludeTree | None:
    node: IncludeTree | None = root
    for part in parts:
        node = node.children.get(part) if node else None
    return node


def projection(
    query: Query, class_schema: ClassSchema, also: Iterable[str] = ()
) -> dict[str, int] | None:
    """MongoDB's projection of ``keys`` and ``excludeKeys``; ``also``: columns to fetch besides."""
    fields = class_schema.fields
    if query.keys is not None:
        wanted = {key.partition(".")[0] for key in query.keys}
        if query.include_all:
            wanted |= {n for n, spec in fields.items() if spec.type in ("Pointer", "Array")}
        wanted |= {path.partition(".")[0] for path in query.include if path != "*"}
        wanted |= set(also)
        wanted -= {key for key in query.exclude_keys if key not in _ALWAYS}
        chosen = dict.fromkeys(_ALWAYS_STORED, 1)
        for name in wanted:
            if is_field_name(name) and name not in _ALWAYS:
                chosen[storage_key(name, fields.get(name))] = 1
        return chosen
    left_out = [
        storage_key(key, fields.get(key))
        for key in query.exclude_keys
        if key not in _ALWAYS and is_field_name(key) and key not in also
    ]
    return dict.fromkeys(left_out, 0) or None


def sort_order(query: Query, class_schema: ClassSchema) -> dict[str, int] | None:
    """MongoDB's sort of ``order``; columns that do not exist are passed over. Raises 105."""
    order: dict[str, int] = {}
    for item in query.order:
        name, direction = (item[1:], -1) if item.startswith("-") else (item.lstrip("+"), 1)
        root = name.partition(".")[0]
        if root == "authData":
            raise ParseError(Code.INVALID_KEY_NAME, f"Cannot sort by {name}")
        if not is_field_name(root):
            raise ParseError(Code.INVALID_KEY_NAME, f"Invalid field name: {name}.")
        column = class_schema.fields.get(root)
        if column is None or root == "password":
            continue
        key = storage_key(name, column) if name == root else name
        order[STORED_NAMES.get(key, key)] = direction
    return order or None
