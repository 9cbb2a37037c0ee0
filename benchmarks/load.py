"""The load generator: prebuilt requests on kept connections, as little work as Python allows.

Server, database and generator share the machine, so what the generator spends is taken from
them: about 20 us a request, the same for every server.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlencode

from server.values import dumps

APP_ID = "bench"
MASTER_KEY = "benchmaster"


@dataclass(frozen=True, slots=True)
class Shot:
    """One request and what its answer must be: a status, and ``needle`` found ``times`` times."""

    request: bytes
    needle: bytes
    status: bytes = b"200"
    times: int = 1

    def fits(self, status: bytes, body: bytes) -> bool:
        if status != self.status:
            return False
        return self.needle in body if self.times == 1 else body.count(self.needle) == self.times


def http_request(
    method: str,
    path: str,
    body: Any = None,
    *,
    session: str | None = None,
    master: bool = False,
) -> bytes:
    """The bytes of a request to ``/parse<path>``; ``path`` must be quoted already."""
    content = b"" if body is None else dumps(body)
    lines = [
        f"{method} /parse{path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"X-Parse-Application-Id: {APP_ID}",
    ]
    if session:
        lines.append(f"X-Parse-Session-Token: {session}")
    if master:
        lines.append(f"X-Parse-Master-Key: {MASTER_KEY}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "\r\n"]).encode() + content


class WrongAnswer(Exception):
    """A server answered something else than it must; the text shows it."""


class _Reader(asyncio.Protocol, ABC):
    """One kept connection that reads whole answers with a Content-Length."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = b""
        self._body_at = 0
        self._end = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._end:
            at = self._buffer.find(b"\r\n\r\n")
            if at < 0:
                return
            head = self._buffer[:at].lower()
            length_at = head.find(b"\r\ncontent-length:")
            if length_at < 0:
                self.failed(WrongAnswer(f"no Content-Length in {head[:300]!r}"))
                return
            line_end = head.find(b"\r\n", length_at + 17)
            length = head[length_at + 17 : line_end if line_end > 0 else at]
            self._body_at = at + 4
            self._end = at + 4 + int(length)
        if len(self._buffer) < self._end:
            return
        status, body = self._buffer[9:12], self._buffer[self._body_at : self._end]
        self._buffer, self._end = b"", 0
        self.answered(status, body)

    def connection_lost(self, error: Exception | None) -> None:
        self.failed(error or ConnectionResetError("the server closed the connection"))

    @abstractmethod
    def answered(self, status: bytes, body: bytes) -> None: ...

    @abstractmethod
    def failed(self, error: Exception) -> None: ...


class Line(_Reader):
    """A connection to ask one thing after the other."""

    _waiting: asyncio.Future[tuple[bytes, bytes]] | None = None

    @classmethod
    async def open(cls, port: int) -> Line:
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(cls, "127.0.0.1", port)
        return line

    async def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """``(status, body)``, the status as three digits."""
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._waiting

    async def must(self, request: bytes) -> bytes:
        """The body of an answer that must be a success."""
        status, body = await self.ask(request)
        if status[:1] != b"2":
            raise WrongAnswer(f"{status!r} {body[:500]!r} to {request[:200]!r}")
        return body

    def close(self) -> None:
        self._waiting = None
        self.transport.close()

    def answered(self, status: bytes, body: bytes) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result((status, body))

    def failed(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


@dataclass(slots=True)
class Volley:
    """What one run measured. Latencies in seconds."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def latency_ms(self, quantile: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] * 1000


class _Gun(_Reader):
    """A connection that fires the next shot as soon as the last one is answered."""

    def __init__(self, barrage: Barrage) -> None:
        super().__init__()
        self._barrage = barrage
        self.fire()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self._shot.request)

    def fire(self) -> None:
        self._shot = next(self._barrage.shots)
        self._fired_at = time.perf_counter()

    def answered(self, status: bytes, body: bytes) -> None:
        if not self._shot.fits(status, body):
            self.failed(WrongAnswer(f"{status!r} {body[:500]!r} to {self._shot.request[:300]!r}"))
            return
        barrage = self._barrage
        if barrage.measuring:
            barrage.volley.latencies.append(time.perf_counter() - self._fired_at)
        if barrage.firing:
            self.fire()
            self.transport.write(self._shot.request)

    def failed(self, error: Exception) -> None:
        if self._barrage.firing and self._barrage.error is None:
            self._barrage.error = error


class Barrage:
    """The same kind of request on many connections for a while."""

    def __init__(self, port: int, shots: Sequence[Shot], connections: int = 32) -> None:
        self.shots: Iterator[Shot] = itertools.cycle(shots)
        self.volley = Volley()
        self.measuring = False
        self.firing = False
        self.error: Exception | None = None
        self._port = port
        self._connections = connections
        self._guns: list[_Gun] = []

    async def start(self, warm_up_s: float) -> None:
        """Open the connections and fire; nothing is measured for the first moment."""
        loop = asyncio.get_running_loop()
        self.firing = True
        opened = [
            loop.create_connection(lambda: _Gun(self), "127.0.0.1", self._port)
            for _ in range(self._connections)
        ]
        self._guns = [gun for _, gun in await asyncio.gather(*opened)]
        await asyncio.sleep(warm_up_s)

    async def measure(self, seconds: float) -> Volley:
        """Raises what a connection met, `WrongAnswer` above all."""
        began = time.perf_counter()
        self.measuring = True
        await asyncio.sleep(seconds)
        self.measuring = False
        self.volley.seconds = time.perf_counter() - began
        if self.error is not None:
            raise self.error
        if not self.volley.latencies:
            raise WrongAnswer("no answer at all")
        return self.volley

    def stop(self) -> None:
        self.firing = False
        for gun in self._guns:
            gun.transport.close()


def query(path: str, **params: Any) -> str:
    """``path`` with URL parameters; those that are no text go as JSON."""
    texts: Mapping[str, str] = {
        name: value if isinstance(value, str) else dumps(value).decode()
        for name, value in params.items()
    }
    return f"{path}?{urlencode(texts)}"
