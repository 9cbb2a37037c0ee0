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
    tail: _Node | None = None


class Router:
    """Paths match part by part: literal parts in any case, a trailing slash is nothing.

    A last part ``{*name}`` takes all that is left of the path, slashes included.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        for part in route.path.strip("/").split("/"):
            if part.startswith("{*"):
                node.tail = node.tail or _Node(name=part[2:-1])
                node = node.tail
                if node.name != part[2:-1]:
                    raise ValueError(f"{route.path} names its parameter differently")
            elif part.startswith("{"):
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
        parts = path.strip("/").split("/")
        for index, part in enumerate(parts):
            following = node.literal.get(part) or node.literal.get(part.lower())
            if following is None:
                following = node.parameter
                if following is None or not part:
                    if node.tail is None:
                        return None
                    node = node.tail
                    parameters[node.name] = unquote("/".join(parts[index:]))
                    break
                parameters[following.name] = unquote(part) if "%" in part else part
            node = following
        route = node.routes.get(method)
        return (route, parameters) if route is not None else None
