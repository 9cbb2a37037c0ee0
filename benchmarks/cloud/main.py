"""The cloud code that the benchmark calls; `main.js` is the same for the peer."""

from __future__ import annotations

from server import cloud


@cloud.define("hello")
async def hello(request: cloud.Request) -> str:
    return f"Hello {request.params['name']}"


@cloud.before_save("Hooked")
async def set_slug(request: cloud.Trigger) -> None:
    request.object["slug"] = request.object["title"].lower().replace(" ", "-")
