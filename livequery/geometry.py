"""Points, spheres, boxes and polygons for LiveQuery, with the results of MongoDB's operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from livequery.bson_order import NUMBER, rank

Point: TypeAlias = tuple[float, float]
"""Longitude and latitude in degrees."""

_Vector: TypeAlias = tuple[float, float, float]


def as_point(value: Any) -> Point | None:
    """The point of a stored GeoPoint column (``[longitude, latitude]``) or GeoJSON point."""
    if isinstance(value, dict) and value.get("type") == "Point":
        value = value.get("coordinates")
    if isinstance(value, list) and len(value) >= 2 and all(rank(n) == NUMBER for n in value[:2]):
        return float(value[0]), float(value[1])
    return None


def angle(one: Point, other: Point) -> float:
    """Radians between two points on the sphere (haversine: exact for near points)."""
    longitude_1, latitude_1, longitude_2, latitude_2 = map(math.radians, (*one, *other))
    half = (
        math.sin((latitude_2 - latitude_1) / 2) ** 2
        + math.cos(latitude_1)
        * math.cos(latitude_2)
        * math.sin((longitude_2 - longitude_1) / 2) ** 2
    )
    return 2 * math.asin(min(1.0, math.sqrt(half)))


def in_box(point: Point, one: Point, other: Point) -> bool:
    """Whether a flat box with these two corners holds the point, its edges included."""
    return all(
        min(one[axis], other[axis]) <= point[axis] <= max(one[axis], other[axis]) for axis in (0, 1)
    )


def in_flat_polygon(point: Point, corners: Sequence[Point]) -> bool:
    """Whether a polygon on the flat map holds the point, its edges included."""
    x, y = point
    inside = False
    previous = corners[-1]
    for corner in corners:
        (x1, y1), (x2, y2) = previous, corner
        cross = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
        if cross == 0 and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
            return True
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
        previous = corner
    return inside


def _vector(point: Point) -> _Vector:
    longitude, latitude = math.radians(point[0]), math.radians(point[1])
    around = math.cos(latitude)
    return around * math.cos(longitude), around * math.sin(longitude), math.sin(latitude)


def _side(a: _Vector, b: _Vector, c: _Vector) -> float:
    """Positive when ``c`` lies to the left of the great circle from ``a`` to ``b``."""
    return (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        + a[1] * (b[2] * c[0] - b[0] * c[2])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )


def _arcs_cross(a: _Vector, b: _Vector, c: _Vector, d: _Vector) -> bool:
    """Whether the shorter arcs a-b and c-d cross at an inner point of both."""
    c_side, d_side = -_side(a, b, c), _side(a, b, d)
    if c_side * d_side <= 0:
        return False
    return c_side * -_side(c, d, b) > 0 and c_side * _side(c, d, a) > 0


def in_sphere_polygon(point: Point, ring: Sequence[Point]) -> bool:
    """Whether a polygon of great circles, smaller than half the sphere, holds the point."""
    corners = [_vector(corner) for corner in ring]
    x, y, z = (sum(axis) for axis in zip(*corners, strict=True))
    length = math.hypot(x, y, z) or 1.0
    # For certain outside: opposite to the middle, and aside so that the way there is no half
    # circle and meets no corner.
    outside = (0.123 - x / length, 0.0456 - y / length, 0.0789 - z / length)
    here = _vector(point)
    inside = False
    previous = corners[-1]
    for corner in corners:
        if corner != previous and _arcs_cross(here, outside, previous, corner):
            inside = not inside
        previous = corner
    return inside
