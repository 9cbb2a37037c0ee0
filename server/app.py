"""The composition root: makes every part of one app and joins them."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any, TypeAlias

from livequery.endpoint import LiveQueryServer
from server.access.caller import MASTER, Context
from server.access.callers import CallerResolver
from server.accounts.accounts import Accounts
from server.cloud.backend import Backend
from server.cloud.loader import CloudCode
from server.errors import ParseError
from server.files.files import Files
from server.files.whole import WholeFiles
from server.objects.store import ObjectStore
from server.rest.batch import BatchResource
from server.rest.call import Route
from server.rest.classes import ClassesResource, Limits
from server.rest.files import FileResource
from server.rest.functions import FunctionsResource
from server.rest.gateway import Gateway
from server.rest.hooks import HooksResource
from server.rest.identify import Identifier
from server.rest.info import InfoResource
from server.rest.roles import RoleResource
from server.rest.router import Router
from server.rest.schemas import SchemasResource
from server.rest.sessions import SessionResource
from server.rest.users import UserResource
from server.schema import migrate
from server.schema.classes import ClassSchema
from server.schema.document import SchemaDocument
from server.schema.registry import SchemaRegistry
from server.schema.system import default_fields
from server.settings import Settings
from server.storage.changes import Change, ChangeFeed, Watched
from server.storage.gridfs import GridFs
from server.storage.mongo import Database
from server.storage.topology import require_replica_set
from server.triggers.registry import Triggers
from server.triggers.webhooks import Webhooks
from server.values import StoredDocument, WireObject, file_url

logger = logging.getLogger(__name__)

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_CACHED: Watched = ("_SCHEMA", "_Hooks", re.compile(r"_Join:(users|roles):_Role"))
# Of these nothing can be cached before it exists.
_CACHED_ONCE_MADE = ("_Session", "_User", "_Role")


class App:
    """One app as an ASGI application. `start` and `stop` frame its life (lifespan calls them)."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database.connect(
            settings.database_uri or "",
            prefix=settings.collection_prefix,
            options=_driver_options(settings),
        )
        self.registry = SchemaRegistry(
            self.database,
            protected_fields=settings.protected_fields,
            custom_ids=settings.allow_custom_object_id,
        )
        self.resolver = CallerResolver(
            self.database, self._render_user, is_expiring=settings.expire_inactive_sessions
        )
        self.triggers = Triggers(time_limit_s=settings.cloud_timeout)
        self.webhooks = Webhooks(
            self.database,
            self.triggers,
            webhook_key=settings.webhook_key,
            time_limit_s=settings.cloud_timeout,
        )
        self.objects = ObjectStore(
            self.database, self.registry, self.triggers, settings, self.resolver
        )
        self.accounts = Accounts(self.database, self.registry, self.resolver, settings)
        self.accounts.attach(self.objects, self.triggers)
        self.objects.use_rules(self.accounts.rules)
        if settings.extend_session_on_use:
            self.resolver.on_use = self.accounts.sessions.extend
        self.files = Files(GridFs(self.database), settings)
        backend = Backend(self.objects, self.triggers, self.resolver, WholeFiles(self.files))
        self.cloud = CloudCode(settings.cloud, backend) if settings.cloud else None
        self.feed = ChangeFeed(
            self.database, collections=self._watched, without_inserts=_CACHED_ONCE_MADE
        )
        self._live_classes = settings.live_query.class_names
        # The caches hear of a change before LiveQuery does, which asks them.
        self.feed.subscribe(self._on_change, self._on_feed_state)
        self.live_query = LiveQueryServer(
            settings, self.registry, self.resolver, self.feed, file_url=self._file_url
        )
        self._gateway = self._make_gateway()

    def _make_gateway(self) -> Gateway:
        settings = self.settings
        limits = Limits(settings)
        batch = BatchResource(self.database, settings)
        resources: Sequence[Any] = (
            ClassesResource(self.objects, limits),
            UserResource(self.objects, limits, self.accounts.login),
            SessionResource(self.objects, limits, self.accounts.sessions),
            RoleResource(self.objects, limits),
            FileResource(self.files),
            FunctionsResource(self.triggers),
            HooksResource(self.webhooks),
            SchemasResource(self.registry),
            InfoResource(lambda: self.feed.is_live),
            batch,
        )
        routes: Iterable[Route] = (route for item in resources for route in item.routes())
        router = Router(routes)
        batch.serve(router)
        return Gateway(settings, router, Identifier(settings, self.resolver))

    # ---- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read schema and hooks and open the change feed; then requests can be served."""
        self._load_code()
        await self.feed.start()
        await self.registry.load()
        await self.webhooks.load()
        await self.live_query.start()

    async def stop(self) -> None:
        """Close LiveQuery connections, then the feed, then the database."""
        await self.live_query.stop()
        await self.feed.stop()
        await self.webhooks.stop()
        if self.cloud is not None:
            self.cloud.stop()
        self.accounts.close()
        await self.database.close()

    async def prepare(self) -> None:
        """What one process does before the first worker starts: system classes and indexes,
        and whatever ``schema.json`` adds. Raises MigrationError where it contradicts the data."""
        await require_replica_set(self.database.client)
        await self.registry.prepare(
            providers=self.accounts.providers.names, options=self.settings.database_options
        )
        document = self._document()
        if document is not None:
            await migrate.apply(document, self.registry)
            self._use_document(document)
        await self.feed.ensure_images(_plain_names(self._live_classes))
        if self.cloud is not None:
            self.cloud.load()
            await self.cloud.start(Context(MASTER, self.settings.server_url))

    def _load_code(self) -> None:
        """Put ``schema.json`` and the cloud code into force in this process."""
        document = self._document()
        if document is not None:
            self._use_document(document)
        if self.cloud is not None:
            self.cloud.load()

    async def reload(self) -> None:
        """Take edits of ``schema.json``, for which the database is changed, and the cloud code.

        Raises:
            SchemaDocumentError, MigrationError, CloudCodeError: the edit has a mistake; what was
                in force stays.
        """
        document = self._document()
        if document is not None:
            await migrate.apply(document, self.registry)
        if self.cloud is not None:
            self.cloud.load()
        if document is not None:
            live_before = self._live_classes
            self._use_document(document)
            if self._live_classes != live_before:
                await self.feed.reopen()

    def _use_document(self, document: SchemaDocument) -> None:
        """What a process keeps of ``schema.json``: constraints, and by default the live classes."""
        self.registry.set_document(document)
        if not self.settings.live_query.class_names:
            self._live_classes = tuple(document.classes)
            self.live_query.publish(self._live_classes)

    def _document(self) -> SchemaDocument | None:
        path = self.settings.schema_path
        return SchemaDocument.load(path) if path else None

    # ---- changes ------------------------------------------------------------------------------

    def _watched(self) -> Watched:
        live = (re.compile(pattern) for pattern in self._live_classes)
        return (*_CACHED, *live)

    def _on_change(self, change: Change) -> None:
        if change.collection == "_SCHEMA":
            self.registry.invalidate()
        elif change.collection == "_Hooks":
            self.webhooks.invalidate()
        elif change.op == "dropDatabase":
            self.registry.invalidate()
            self.resolver.forget_all()
        else:
            self.resolver.on_change(change.collection, change.op, change.key, change.after)

    def _on_feed_state(self, is_live: bool) -> None:
        """Caches are only trusted while somebody tells them what changes."""
        self.resolver.forget_all()
        self.resolver.trusted = is_live
        self.registry.trusted = is_live
        if is_live:
            self.webhooks.invalidate()

    def _render_user(self, document: StoredDocument) -> WireObject:
        """A user as its own hooks see it; they have no request to take an address from."""
        class_schema = self.registry.current.get("_User") or _BARE_USER
        return class_schema.layout.render(document, self._file_url)

    def _file_url(self, name: str) -> str:
        settings = self.settings
        mount = settings.public_server_url or settings.server_url
        return file_url(mount, settings.app_id, name)

    # ---- ASGI ---------------------------------------------------------------------------------

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await self._gateway(scope, receive, send)
        elif kind == "websocket" and self.settings.start_live_query_server:
            await self.live_query(scope, receive, send)
        elif kind == "websocket":
            # Before it is accepted, so the ASGI server answers 403.
            await send({"type": "websocket.close"})
        else:
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except Exception as error:
                    is_known = isinstance(error, ParseError)
                    logger.error("The worker cannot start: %s", error, exc_info=not is_known)
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


_BARE_USER = ClassSchema("_User", default_fields("_User"))


def _plain_names(patterns: Iterable[str]) -> list[str]:
    """The class names among ``liveQuery.classNames``, which may also be patterns."""
    return [name for name in patterns if re.fullmatch(r"\w+", name)]


# Parse Server's own database options; all others are the driver's.
_NOT_THE_DRIVERS = re.compile(
    r"enableSchemaHooks|schemaCacheTtl|maxTimeMS|batchSize|allowPublicExplain|createIndex\w+|"
    r"disableIndexFieldValidation|logClientEvents|clientMetadata|autoSelectFamily\w*|"
    r"forceServerObjectId"
)


def _driver_options(settings: Settings) -> dict[str, Any]:
    return {
        name: value
        for name, value in settings.database_options.items()
        if not _NOT_THE_DRIVERS.fullmatch(name)
    }


def create_app(settings: Settings) -> App:
    """One app, not started."""
    return App(settings)
