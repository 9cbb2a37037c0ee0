"""Places on the earth as field values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from server.cloud.codec import decoders
from server.values import WireObject


@dataclass(frozen=True, slots=True)
class GeoPoint:
    """A point, in degrees: latitude -90..90, longitude -180..180."""

    wire_type: ClassVar[str] = "GeoPoint"

    latitude: float
    longitude: float

    def to_wire(self, *, full: bool) -> WireObject:
        return {
            "__type": "GeoPoint",
            "latitude": self.latitude,
            "longitude": self.longitude,
        }


@dataclass(frozen=True, slots=True)
class Polygon:
    """An area by its corners, ``(latitude, longitude)`` pairs."""

    wire_type: ClassVar[str] = "Polygon"

    corners: tuple[tuple[float, float], ...]

    def to_wire(self, *, full: bool) -> WireObject:
        return {"__type": "Polygon", "coordinates": [list(corner) for corner in self.corners]}


def _polygon(value: WireObject) -> Polygon:
    return Polygon(tuple((latitude, longitude) for latitude, longitude in value["coordinates"]))


decoders["GeoPoint"] = lambda value: GeoPoint(value["latitude"], value["longitude"])
decoders["Polygon"] = _polygon
