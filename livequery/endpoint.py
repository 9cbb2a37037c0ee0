"""LiveQuery's WebSocket endpoint: a raw ASGI application, and the task that drains changes.

Pings are the ASGI server's: uvicorn's ``ws_ping_interval`` and ``ws_ping_timeout``, set from
``liveQueryServerOptions.websocketTimeout``, close a connection that misses a pong. Its
``ws_per_message_deflate`` should be off: each frame would be compressed for each receiver.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Protocol, TypeAlias

from livequery.connection import MAX_QUEUED, Outbox, Outgoing, PushOutbox
from livequery.fanout import Fanout, FileUrl
from livequery.identity import Identities, Identity, Resolver
from livequery.push import EXTENSION, Push
from livequery.session import (
    Close,
    Connect,
    RequestId,
    Session,
    Subscribe,
    Unsubscribe,
    error_frame,
)
from livequery.subscriptions import Member, Subscriptions, Ticket, operation_of
from livequery.where import names_in
from server.access.protected import check_usable
from server.errors import Code, Forbidden, ParseError
from server.schema.classes import DEFAULT_FIELDS, ClassSchema, Schema
from server.settings import Settings
from server.storage.changes import LOST, Change
from server.values import file_url, pointer

logger = logging.getLogger(__name__)

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

GOING_AWAY, TOO_SLOW, FAILED = 1001, 1013, 1011
_MAX_PENDING = 100_000
_CLOSE_WAIT = 1.0
_SENDS_EVENTS = frozenset(("insert", "update", "replace", "delete"))
# What REST refuses to clients as well, whatever ``classNames`` says.
_MASTER_ONLY = frozenset(
    "_Installation _JobStatus _PushStatus _JobSchedule _Audience _Idempotency".split()
)
_NEVER_LIVE = frozenset(("_SCHEMA", "_Hooks", "_GlobalConfig", "_GraphQLConfig"))


class SchemaSource(Protocol):
    """`server.schema.registry.SchemaRegistry`."""

    async def get(self) -> Schema: ...


class Feed(Protocol):
    """`server.storage.changes.ChangeFeed`."""

    def subscribe(
        self,
        on_change: Callable[[Change], None],
        on_state: Callable[[bool], None] | None = None,
    ) -> None: ...

    async def ensure_images(self, class_names: Sequence[str]) -> None: ...


class LiveQueryServer:
    """``await server(scope, receive, send)`` serves one connection, on any path.

    Args:
        resolver: the process's own `CallerResolver`, which hears of changes before this does.
        file_url: the public address of a stored file's name.
        queue_limit: characters that may wait for a slow client.
    """

    def __init__(
        self,
        settings: Settings,
        schema: SchemaSource,
        resolver: Resolver,
        feed: Feed,
        *,
        file_url: FileUrl | None = None,
        queue_limit: int = MAX_QUEUED,
    ) -> None:
        options = settings.live_query
        self._key_pairs = settings.live_query_server_options.key_pairs
        self._sanitize = settings.enable_sanitized_error_response
        self._owner_exempt = settings.protected_fields_owner_exempt
        self._schema = schema
        self._resolver = resolver
        self._feed = feed
        self._queue_limit = queue_limit
        self._published: list[re.Pattern[str]] = []
        self.publish(options.class_names)
        self._identities = Identities()
        self._subscriptions = Subscriptions(options.regex_timeout_ms / 1000)
        self._fanout = Fanout(
            self._subscriptions,
            resolver,
            file_url=file_url or _file_url(settings),
            sanitize=self._sanitize,
            owner_exempt=self._owner_exempt,
        )
        self._connections: set[_Connection] = set()
        self._with_images: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending: deque[Change] = deque()
        self._has_pending = asyncio.Event()
        self._drain_task: asyncio.Task[None] | None = None
        self._is_stopping = False
        feed.subscribe(self._on_change)

    # ---- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        if self._drain_task is None:
            self._drain_task = asyncio.create_task(self._drain(), name="livequery-drain")

    async def stop(self) -> None:
        """Close all connections (1001); clients connect again, elsewhere or later."""
        self._is_stopping = True
        self._close_all(GOING_AWAY)
        endings = [connection.ended for connection in self._connections]
        if endings:
            await asyncio.wait(endings, timeout=2 * _CLOSE_WAIT)
        tasks = [*self._tasks, *filter(None, [self._drain_task])]
        self._drain_task = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _close_all(self, code: int) -> None:
        for connection in tuple(self._connections):
            connection.close(code)

    # ---- changes ------------------------------------------------------------------------------

    def _on_change(self, change: Change) -> None:
        """The feed's callback: only queues."""
        if change.op == LOST:
            self._start_anew("Changes were lost")
            return
        if change.collection == "_SCHEMA" or change.op not in _SENDS_EVENTS:
            self._on_class_change(change)
            return
        if change.collection not in self._subscriptions:
            return
        if len(self._pending) >= _MAX_PENDING:
            self._start_anew("LiveQuery cannot keep up with the writes")
            return
        # A collection that was made anew keeps no old states until it is told to.
        self._prepare(change.collection)
        self._pending.append(change)
        self._has_pending.set()

    def _start_anew(self, why: str) -> None:
        """Clients that connect anew read the objects again; a gap nobody hears of is worse."""
        logger.error("%s; all clients start anew", why)
        self._pending.clear()
        self._close_all(TOO_SLOW)

    async def _drain(self) -> None:
        """Deliver changes one after the other, in the order of their commits."""
        while True:
            await self._has_pending.wait()
            self._has_pending.clear()
            while self._pending:
                change = self._pending.popleft()
                try:
                    await self._deliver(change)
                except Exception:
                    logger.exception("an event of class %s was not delivered", change.collection)
                # The loop also serves requests: a burst of changes must not hold them up.
                await asyncio.sleep(0)

    async def _deliver(self, change: Change) -> None:
        class_schema = await self._class(change.collection)
        if change.before is None and change.op != "insert":
            self._with_images.discard(change.collection)
            self._prepare(change.collection)
        await self._fanout.deliver(change, class_schema)

    async def _class(self, name: str) -> ClassSchema:
        known = (await self._schema.get()).get(name)
        return known if known is not None else ClassSchema(name, DEFAULT_FIELDS)

    # ---- images -------------------------------------------------------------------------------

    def _on_class_change(self, change: Change) -> None:
        """Have MongoDB keep old states of a new live class, before its objects change."""
        if change.collection != "_SCHEMA":
            self._with_images.discard(change.collection)
        elif change.op == "insert" and self.publishes(str(change.key)):
            self._prepare(str(change.key))

    def _prepare(self, class_name: str) -> None:
        """`_ensure_images` beside what goes on."""
        if class_name not in self._with_images:
            task = asyncio.create_task(self._ensure_images(class_name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ensure_images(self, class_name: str) -> None:
        if class_name in self._with_images:
            return
        self._with_images.add(class_name)
        try:
            await self._feed.ensure_images([class_name])
        except Exception:
            # Events still come, only without the old state; the next occasion tries again.
            self._with_images.discard(class_name)
            logger.exception("MongoDB does not keep old states of class %s", class_name)

    def publish(self, class_names: Sequence[str]) -> None:
        """Serve these classes from now on: regular expressions for whole names."""
        self._published = [re.compile(f"(?:{name})\\Z") for name in class_names]

    def publishes(self, class_name: str) -> bool:
        """Whether ``liveQuery.classNames`` names the class (regular expressions, whole names)."""
        if class_name in _NEVER_LIVE or class_name.startswith("_Join:"):
            return False
        return any(name.match(class_name) for name in self._published)

    # ---- connections --------------------------------------------------------------------------

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        if self._is_stopping:
            await send({"type": "websocket.close", "code": GOING_AWAY})
            return
        await self.start()
        await send({"type": "websocket.accept"})
        push = scope.get("extensions", {}).get(EXTENSION, {}).get("push")
        connection = _Connection(self, Session(self._key_pairs), send, push, self._queue_limit)
        self._connections.add(connection)
        try:
            await connection.serve(receive)
        finally:
            self._connections.discard(connection)
            connection.end()

    async def subscribe(
        self, request: Subscribe, session: Session, outbox: Outgoing
    ) -> Ticket | None:
        """Check the rights of a subscription and enter it; ``None``: its class is not live.

        Raises:
            ParseError: 101, 119 (rights), 102 (``where``), 209 (``_Session`` without a user).
        """
        identity = self._identities.get(
            request.session_token, session.session_token, is_master=session.is_master
        )
        caller = await identity.refresh(self._resolver)
        class_schema = await self._class(request.class_name)
        where = request.where
        if request.class_name == "_Session" and not caller.is_master:
            if caller.user_id is None:
                raise ParseError(Code.INVALID_SESSION_TOKEN, "Invalid session token")
            where = {"$and": [where, {"user": pointer("_User", caller.user_id)}]}
        self._check_rights(request, class_schema, identity)
        if not self.publishes(request.class_name):
            return None
        if (await self._schema.get()).get(request.class_name) is not None:
            await self._ensure_images(request.class_name)
        member = Member(outbox, session.head(request.request_id), request.request_id)
        return self._subscriptions.add(
            class_schema, where, identity, request.keys, request.watch, member
        )

    def _check_rights(
        self, request: Subscribe, class_schema: ClassSchema, identity: Identity
    ) -> None:
        if class_schema.name in _MASTER_ONLY | _NEVER_LIVE and not identity.is_master:
            raise Forbidden(f"Clients may not subscribe to {class_schema.name}")
        access = identity.access(
            class_schema, operation_of(request.where), owner_exempt=self._owner_exempt
        )
        if access.refusal is not None:
            raise access.refusal
        if access.protection is not None:
            # SECURITY: an event for a query over a hidden field would tell its value.
            names = [*names_in(request.where), *request.watch]
            check_usable(names, access.protection, class_schema.name)

    def unsubscribe(self, ticket: Ticket) -> None:
        self._subscriptions.remove(ticket)

    def refusal(self, error: ParseError, request_id: RequestId) -> str:
        body = error.body(sanitize=self._sanitize)
        return error_frame(body["code"], body["error"], reconnect=False, request_id=request_id)


class _Connection:
    """One client: reads its frames, keeps its subscriptions."""

    def __init__(
        self,
        server: LiveQueryServer,
        session: Session,
        send: Send,
        push: Push | None,
        queue_limit: int,
    ) -> None:
        self._server = server
        self._session = session
        self._send = send
        self._outbox: Outgoing
        if push is not None:
            self._outbox = PushOutbox(push, self._drop_client, limit=queue_limit)
        else:
            self._outbox = Outbox(self._send_text, self._drop_client, limit=queue_limit)
        self._tickets: dict[RequestId, Ticket] = {}
        loop = asyncio.get_running_loop()
        self._closing: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def _send_text(self, text: str) -> Awaitable[None]:
        return self._send({"type": "websocket.send", "text": text})

    def _drop_client(self) -> None:
        self.close(TOO_SLOW)

    def close(self, code: int) -> None:
        """Ask the connection's own task to close it; does not wait."""
        self._outbox.close()
        if not self._closing.done():
            self._closing.set_result(code)

    async def serve(self, receive: Receive) -> None:
        """Until either side closes."""
        reader = asyncio.create_task(self._read(receive))
        writer = asyncio.create_task(self._outbox.run())
        try:
            await asyncio.wait((reader, writer, self._closing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reader, writer):
                task.cancel()
            for ending in await asyncio.gather(reader, writer, return_exceptions=True):
                # OSError is how ASGI servers tell that the client is gone.
                if isinstance(ending, Exception) and not isinstance(ending, OSError):
                    logger.error("a LiveQuery connection failed", exc_info=ending)
        if self._closing.done():
            await self._say_goodbye(self._closing.result())

    async def _say_goodbye(self, code: int) -> None:
        # A client that reads nothing cannot be told; then the server just hangs up.
        try:
            async with asyncio.timeout(_CLOSE_WAIT):
                await self._send({"type": "websocket.close", "code": code})
        except (TimeoutError, OSError, RuntimeError):
            logger.debug("a connection was closed without a goodbye")

    def end(self) -> None:
        """Forget the client."""
        self._outbox.close()
        self._end_all()
        if not self.ended.done():
            self.ended.set_result(None)

    def _end_all(self) -> None:
        for ticket in self._tickets.values():
            self._server.unsubscribe(ticket)
        self._tickets.clear()

    async def _read(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                text = (message.get("bytes") or b"").decode(errors="replace")
            try:
                await self._handle(text)
            except Exception:
                logger.exception("a LiveQuery frame could not be handled")
                self.close(FAILED)
                return

    async def _handle(self, text: str) -> None:
        for action in self._session.receive(text):
            match action:
                case str():
                    self._outbox.offer(action)
                case Connect():
                    self._end_all()
                case Subscribe():
                    await self._subscribe(action)
                case Unsubscribe():
                    self._drop(action.request_id)
                case Close():
                    self.close(action.code)

    async def _subscribe(self, request: Subscribe) -> None:
        if request.replaces_first:
            self._drop(request.request_id)
            self._session.forget(request.request_id)
        try:
            ticket = await self._server.subscribe(request, self._session, self._outbox)
        except ParseError as error:
            self._outbox.offer(self._server.refusal(error, request.request_id))
            return
        self._drop(request.request_id)
        if ticket is not None:
            self._tickets[request.request_id] = ticket
        self._outbox.offer(self._session.subscribed(request.request_id, request.size))

    def _drop(self, request_id: RequestId) -> None:
        ticket = self._tickets.pop(request_id, None)
        if ticket is not None:
            self._server.unsubscribe(ticket)


def _file_url(settings: Settings) -> FileUrl:
    mount = settings.public_server_url or settings.server_url
    return lambda name: file_url(mount, settings.app_id, name)
