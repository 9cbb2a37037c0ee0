"""``where`` of a subscription as a MongoDB filter; what cannot be watched never matches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from server.storage.where import build_filter
from server.values import Field

_LOGICAL = ("$and", "$or", "$nor")
_KNOWN = frozenset(
    "$lt $lte $gt $gte $ne $eq $in $nin $all $exists $regex $options $containedBy $nearSphere "
    "$maxDistance $maxDistanceInRadians $maxDistanceInMiles $maxDistanceInKilometers $within "
    "$geoWithin $geoIntersects".split()
)
_NOTHING: Mapping[str, Any] = {"objectId": {"$in": []}}


def live_filter(
    where: Mapping[str, Any], fields: Mapping[str, Field], *, privileged: bool
) -> dict[str, Any]:
    """The filter of a subscription.

    Conditions that look at other objects (``$inQuery``, ``$select``, ``$relatedTo``), ``$text``
    and unknown operators match nothing.

    Raises:
        ParseError: ``where`` is not a query (102, 105, 107).
    """
    return build_filter(_watchable(where), fields, privileged=privileged)


def _watchable(where: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    is_possible = True
    for key, value in where.items():
        if key in _LOGICAL and isinstance(value, list):
            kept[key] = [
                _watchable(branch) if isinstance(branch, dict) else branch for branch in value
            ]
        elif key == "$relatedTo" or _has_unknown_operator(value):
            is_possible = False
        else:
            kept[key] = value
    return kept if is_possible else {"$and": [kept, _NOTHING]}


def _has_unknown_operator(value: Any) -> bool:
    return isinstance(value, dict) and any(
        name.startswith("$") and name not in _KNOWN for name in value
    )


def names_in(where: Mapping[str, Any]) -> Iterator[str]:
    """The columns that a ``where`` asks about, in its branches too."""
    for key, value in where.items():
        if key in _LOGICAL and isinstance(value, list):
            for branch in value:
                if isinstance(branch, dict):
                    yield from names_in(branch)
        else:
            yield key
