"""Cloud code of the SDK scripts for Pestle; main.js is the same for Parse Server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from server import cloud


@cloud.define
async def echo(request: Any) -> Any:
    return request.params


@cloud.define
async def kinds(request: Any) -> Any:
    return {
        "date": isinstance(request.params["date"], datetime),
        "point": request.params["point"],
        "list": request.params["list"],
    }


@cloud.define
async def who(request: Any) -> Any:
    return {
        "user": request.user["username"] if request.user else None,
        "master": request.master,
        "context": request.context,
    }


@cloud.define
async def values(request: Any) -> Any:
    note = cloud.Object("CloudNote", title="made", when=datetime.fromtimestamp(0, UTC))
    await note.save()
    return {
        "note": note,
        "list": [cloud.Object.pointer("CloudNote", note.id), 1],
        "date": datetime.fromtimestamp(1e9, UTC),
        "point": cloud.GeoPoint(1, 2),
        "none": None,
    }


@cloud.define
async def nothing(request: Any) -> None:
    return None


@cloud.define
async def fail(request: Any) -> None:
    raise cloud.Error(request.params["code"], request.params["message"])


@cloud.define
async def crash(request: Any) -> None:
    raise RuntimeError("out of paper")


@cloud.define(require_user=True)
async def private(request: Any) -> str:
    return "for users"


@cloud.define(require_master=True)
async def masters(request: Any) -> str:
    return "for the master"


@cloud.define(fields={"count": {"required": True, "type": float}, "kind": {"default": "plain"}})
async def checked(request: Any) -> Any:
    return request.params["count"]


@cloud.before_save("Hooked")
async def count_saves(request: Any) -> None:
    hooked = request.object
    if hooked.get("bad"):
        raise cloud.Error(142, "No bad ones.")
    hooked["rank"] = (hooked.get("rank") or 0) + 1
    if request.context.get("label"):
        hooked["label"] = request.context["label"]
    hooked.unset("draft")


@cloud.before_delete("Hooked")
async def keep(request: Any) -> None:
    if request.object.get("kept"):
        raise cloud.Error(142, "It stays.")
