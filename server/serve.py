"""Runs the whole server in the foreground: MongoDB, then workers, and all of it down again."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from uvicorn_worker import UvicornWorker

from server.configuration import keys_path
from server.reload import Reloadable, Reloader
from server.settings import Settings, SettingsError
from server.storage.embedded import EmbeddedMongo, die_with_parent

log = logging.getLogger(__name__)

_GRACE_S = 10
_KEEP_ALIVE_S = 75
_RESTART_PAUSE_S = 0.5
_HEARTBEAT_LIMIT_S = 60
# A LiveQuery frame is a query; the SDKs send nothing larger.
_LARGEST_FRAME = 1 << 20

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AsgiApp(Reloadable, Protocol):
    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None: ...


class _Worker:
    """What one worker serves: the app, which tells when it is up and watches its files."""

    def __init__(self, app: AsgiApp, reloader: Reloader | None, ready: int) -> None:
        self._app = app
        self._reloader = reloader
        self._ready = ready
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            send = self._listening(send)
        await self._app(scope, receive, send)

    def _listening(self, send: Send) -> Send:
        async def listen(message: Message) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                if self._reloader is not None:
                    self._task = asyncio.create_task(self._reloader.run(), name="reloader")
                os.write(self._ready, b".")
            elif message["type"] == "lifespan.shutdown.complete" and self._task is not None:
                self._task.cancel()

        return listen


class _Arbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's master, as one foreground process with a terminal."""

    # Ctrl-C and a closed terminal end the server as gently as SIGTERM does.
    handle_int = Arbiter.handle_term
    handle_hup = Arbiter.handle_term

    def reap_workers(self) -> None:
        """A worker that cannot start ends a server that never served, and no other.

        Later it only means that MongoDB was away at that moment.
        """
        try:
            super().reap_workers()
        except HaltServer:
            if not self.app.has_served:
                raise
            time.sleep(_RESTART_PAUSE_S)

    def handle_usr2(self) -> None:
        """gunicorn would start a second master, which the embedded MongoDB cannot have."""


class _Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn in this process, without its command line and files."""

    def __init__(self, settings: Settings, listener: socket.socket, reload: bool) -> None:
        self._settings = settings
        self._listener = listener
        self._reload = reload
        self.has_served = False
        self._ready_read, self._ready_write = os.pipe()
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        shared_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        options = {
            "bind": [f"fd://{self._listener.detach()}"],
            "workers": worker_count(settings),
            "worker_class": _worker_class(settings),
            "worker_tmp_dir": shared_memory,
            "timeout": _HEARTBEAT_LIMIT_S,
            "graceful_timeout": _GRACE_S,
            "keepalive": _KEEP_ALIVE_S,
            "backlog": 2048,
            "loglevel": "warning",
            "proc_name": "pestle",
            "control_socket_disable": True,
            "post_fork": _after_fork,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> _Worker:
        """Called in each worker, as a MongoDB client must not cross a fork."""
        from server.app import create_app

        app: AsgiApp = create_app(self._settings)
        reloader = Reloader(app, self._settings) if self._reload else None
        return _Worker(app, reloader, self._ready_write)

    def run(self) -> None:
        watcher = threading.Thread(target=self._announce, name="announcer", daemon=True)
        watcher.start()
        _Arbiter(self).run()

    def _announce(self) -> None:
        """Once every worker serves, tell the person at the terminal."""
        for _ in range(worker_count(self._settings)):
            os.read(self._ready_read, 1)
            self.has_served = True
        print(banner(self._settings), flush=True)


def _worker_class(settings: Settings) -> type[UvicornWorker]:
    class PestleWorker(UvicornWorker):  # type: ignore[misc]  # uvicorn_worker has no types
        CONFIG_KWARGS = {
            "loop": "uvloop",
            "http": "server.protocol:BoundedProtocol",
            "ws": "livequery.push:PushProtocol",
            "ws_max_size": _LARGEST_FRAME,
            "ws_ping_interval": settings.live_query_server_options.websocket_timeout_ms / 1000,
            # PERF: deflate costs 300 kB and half the fan-out per socket.
            "ws_per_message_deflate": False,
            "interface": "asgi3",
            "lifespan": "on",
            "access_log": False,
            "server_header": False,
            # The gateway reads X-Forwarded-For by trustProxy.
            "proxy_headers": False,
            "timeout_graceful_shutdown": _GRACE_S - 2,
        }

    return PestleWorker


def _after_fork(arbiter: Arbiter, worker: UvicornWorker) -> None:
    """A worker must not outlive a killed master: it would hold the port."""
    die_with_parent()
    if os.getppid() != worker.ppid:
        os._exit(0)


def worker_count(settings: Settings) -> int:
    """As configured, else one per core this process may use."""
    return settings.workers or len(os.sched_getaffinity(0))


def banner(settings: Settings) -> str:
    """What a person needs for a first request."""
    keys = keys_path(settings.data_dir)
    is_kept = keys.exists() and settings.master_key in keys.read_text()
    url = settings.public_server_url or settings.server_url
    headers = {"X-Parse-Application-Id": settings.app_id, "Content-Type": "application/json"}
    if settings.rest_api_key:
        headers["X-Parse-REST-API-Key"] = settings.rest_api_key
    given = " ".join(f"-H '{name}: {value}'" for name, value in headers.items())
    # A new name at each start, so that the line works again.
    user = f'{{"username": "user-{int(time.time())}", "password": "secret"}}'
    return (
        f"Pestle serves {url} and, as LiveQuery, ws{url.removeprefix('http')}\n"
        f"  app id   {settings.app_id}\n"
        f"  keys     {keys if is_kept else 'as configured'}\n"
        f"  sign up  curl {given} -d '{user}' {url}/users"
    )


def listen(settings: Settings) -> socket.socket:
    """A bound socket. Raises SettingsError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"port (PORT) {settings.port} on host (PARSE_SERVER_HOST) {settings.host}: "
            f"{error.strerror}; stop what uses it or choose another with --port"
        ) from None
    return listener


@contextlib.contextmanager
def running_database(settings: Settings) -> Iterator[Settings]:
    """The settings with the address of a database that runs while the block does.

    That is ``databaseURI``, else the embedded MongoDB: the one of a running server, or our own.
    """
    if settings.database_uri:
        yield settings
        return
    mongo = EmbeddedMongo(Path(settings.data_dir))
    if mongo.owner() is not None:
        yield replace(settings, database_uri=mongo.uri)
        return
    with mongo:
        yield replace(settings, database_uri=mongo.uri)


async def _prepare(settings: Settings) -> None:
    """What is done once, before there are workers: indexes, schema.json, start hooks."""
    from server.app import create_app

    app = create_app(settings)
    try:
        await app.prepare()
    finally:
        await app.stop()


def serve(settings: Settings, *, reload: bool = False) -> None:
    """Serve until told to end; leaves by SystemExit with the exit status."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(settings))
        mongo = None
        if not settings.database_uri:
            mongo = EmbeddedMongo(Path(settings.data_dir))
            stack.callback(mongo.stop)
            mongo.launch()
        # Imported while MongoDB starts; the workers then share the memory.
        importlib.import_module("server.app")
        if mongo is not None:
            mongo.wait_ready()
            settings = replace(settings, database_uri=mongo.uri)
        asyncio.run(_prepare(settings))
        gc.collect()
        gc.freeze()
        _Application(settings, listener, reload).run()
