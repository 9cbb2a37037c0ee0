"""From a method and a path to a handler: one table for HTTP and for batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote

from server.rest.call import Route


@dataclass(slots=True)
class _Node:
    literal: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    name: str = ""
    routes: dict[str, Route] = field(default_factory=dict)


class Router:
    """Paths match part by part: literal parts in any case, a trailing slash is nothing."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        for part in route.path.strip("/").split("/"):
            if part.startswith("{"):
                if node.parameter is None:
                    node.parameter = _Node(name=part[1:-1])
                if node.parameter.name != part[1:-1]:
                    raise ValueError(f"{route.path} names its parameter differently")
                node = node.parameter
            else:
                node = node.literal.setdefault(part.lower(), _Node())
        if route.method in node.routes:
            raise ValueError(f"two handlers for {route.method} {route.path}")
        node.routes[route.method] = route

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route of a path without the mount, percent-encoded; its parameters decoded."""
        node = self._root
        parameters: dict[str, str] = {}
        for part in path.strip("/").split("/"):
            following = node.literal.get(part) or node.literal.get(part.lower())
            if following is None:
                following = node.parameter
                if following is None or not part:
                    return None
                parameters[following.name] = unquote(part) if "%" in part else part
            node = following
        route = node.routes.get(method)
        return (route, parameters) if route is not None else None
