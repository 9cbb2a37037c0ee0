"""A light LiveQuery client: counts events, checks that each is the one it expects."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable
from typing import Any, cast

from benchmarks.load import APP_ID, WrongAnswer
from server.values import dumps

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10


def _frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame, masked with zeros, which leaves the payload as it is."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    else:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    return head + b"\0\0\0\0" + payload


class LiveSocket(asyncio.Protocol):
    """One WebSocket. ``on_event``: called with each text frame after `subscribe`d ones."""

    transport: asyncio.Transport

    def __init__(self, on_event: Callable[[bytes], None]) -> None:
        self.events = 0
        self.error: Exception | None = None
        self._on_event = on_event
        self._buffer = bytearray()
        self._open = asyncio.Event()
        self._closing = False
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    @classmethod
    async def open(cls, port: int, on_event: Callable[[bytes], None]) -> LiveSocket:
        """Connected, with Parse's ``connect`` answered."""
        loop = asyncio.get_running_loop()
        _, socket = await loop.create_connection(lambda: cls(on_event), "127.0.0.1", port)
        await asyncio.wait_for(socket._open.wait(), 30)
        socket.send({"op": "connect", "applicationId": APP_ID})
        await socket.answer("connected")
        return socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            "GET /parse HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def send(self, message: dict[str, Any]) -> None:
        self.transport.write(_frame(_TEXT, dumps(message)))

    async def answer(self, op: str) -> dict[str, Any]:
        """The next frame that is no event. Raises `WrongAnswer` unless it is ``op``."""
        got = await asyncio.wait_for(self._answers.get(), 30)
        if got["op"] != op:
            raise WrongAnswer(f"{got} instead of {op}")
        return got

    async def subscribe(self, request_id: int, class_name: str, where: dict[str, Any]) -> None:
        self.send(
            {
                "op": "subscribe",
                "requestId": request_id,
                "query": {"className": class_name, "where": where},
            }
        )
        await self.answer("subscribed")

    def close(self) -> None:
        self._closing = True
        self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closing:
            self.error = error or ConnectionResetError("the server closed a LiveQuery socket")

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._open.is_set():
            at = buffer.find(b"\r\n\r\n")
            if at < 0:
                return
            if not buffer.startswith(b"HTTP/1.1 101"):
                self.error = WrongAnswer(f"no WebSocket: {bytes(buffer[:200])!r}")
                return
            del buffer[: at + 4]
            self._open.set()
        at = 0
        while len(buffer) - at >= 2:
            size, start = buffer[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            if len(buffer) < start + size:
                break
            self._frame_received(buffer[at] & 15, bytes(buffer[start : start + size]))
            at = start + size
        del buffer[:at]

    def _frame_received(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self.transport.write(_frame(_PONG, payload))
        elif opcode == _TEXT:
            if b'"op":"create"' in payload:
                self.events += 1
                self._on_event(payload)
            else:
                self._answers.put_nowait(json.loads(payload))
