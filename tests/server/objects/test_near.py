"""``$nearSphere``, which MongoDB answers from an index only."""

from __future__ import annotations

from tests.harness.api import Api, ok

_HERE = {"__type": "GeoPoint", "latitude": 1, "longitude": 2}
_NEAR = {"where": {"place": {"$nearSphere": _HERE}}}


async def test_near_before_anything_has_a_place(api: Api) -> None:
    await api.create("Shop", name="a")
    assert ok(await api.get("/classes/Shop", _NEAR)) == {"results": []}
    counted = ok(await api.get("/classes/Shop", {**_NEAR, "count": 1}))
    assert counted == {"results": [], "count": 0}

    far = await api.create("Shop", place={**_HERE, "latitude": 9})
    near = await api.create("Shop", place=_HERE)
    found = ok(await api.get("/classes/Shop", _NEAR))["results"]
    assert [shop["objectId"] for shop in found] == [near, far]
