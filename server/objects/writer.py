"""Writing: create, update and delete, each a list of steps in the order Parse has them.

Save: reachable and known class → class rules → (pre-check and beforeSave) → denylist → types →
required and default values → class-level permissions → rules' completion → one write with the ACL
in its filter → relation rows → rules' follow-up → afterSave → answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.access.acl import with_write_access
from server.access.caller import PUBLIC, Context
from server.access.callers import CallerResolver
from server.access.clp import check, pointer_filter
from server.errors import Code, Forbidden, ParseError, object_not_found
from server.objects.bodies import hook_changes
from server.objects.changes import Changes, RelationChange, echoed_values, read_changes
from server.objects.classes import check_reachable
from server.objects.denylist import Denylist
from server.objects.finder import Finder
from server.objects.rules import NoRules, Saved, Write
from server.schema.classes import ClassSchema
from server.schema.constraints import check_constraints, needs_current
from server.schema.outcomes import apply_body
from server.schema.registry import SchemaRegistry
from server.settings import Settings
from server.storage.documents import decode_date
from server.storage.mongo import Database, DuplicateValue
from server.triggers.calls import Kind, TriggerCall
from server.triggers.registry import Triggers
from server.values import StoredDocument, WireObject, new_object_id, to_iso, utc_now

_NO_RULES = NoRules()
_DELETE = "Delete"


class Writer:
    """Saves and deletes objects on behalf of callers."""

    def __init__(
        self,
        database: Database,
        registry: SchemaRegistry,
        triggers: Triggers,
        settings: Settings,
        finder: Finder,
        resolver: CallerResolver,
    ) -> None:
        self._database = database
        self._registry = registry
        self._triggers = triggers
        self._settings = settings
        self._finder = finder
        self._resolver = resolver
        self._denylist = Denylist(settings.request_keyword_denylist)
        self.rules: dict[str, NoRules] = {}

    # ---- create -------------------------------------------------------------------------------

    async def create(self, ctx: Context, class_name: str, body: WireObject) -> Saved:
        """Save a new object. See `server.objects.store.ObjectStore.create`."""
        check_reachable(ctx.caller, class_name, "create")
        class_schema = await self._finder.class_for(ctx, class_name)
        rules = self.rules.get(class_name, _NO_RULES)
        write = Write(class_name, self._given_id(ctx, class_name, body), body, is_new=True)
        await rules.check(ctx, write)
        if write.answer is not None:
            return write.answer
        sent = write.body
        if self._triggers.has(Kind.BEFORE_SAVE, class_name):
            if class_schema is not None:
                check(class_schema, "create", ctx.caller)
            await self._before_save(ctx, write, apply_body({}, sent))
        self._denylist.check(write.body)
        if class_schema is None:
            class_schema = await self._registry.ensure_class(class_name)
        self._fill_defaults(class_schema, write, ctx)
        changes = read_changes(write.body, class_schema, is_new=True)
        check(class_schema, "create", ctx.caller)
        check_constraints(class_schema, write.body, is_new=True)
        class_schema = await self._add_fields(ctx, class_schema, changes, is_new=True)
        write.object_id = write.object_id or new_object_id(self._settings.object_id_size)
        await rules.complete(ctx, write)
        document = self._new_document(ctx, write, changes)
        try:
            await self._database.insert(class_name, document, session=ctx.session)
        except DuplicateValue as error:
            raise rules.duplicate(error, error.fields) from error
        await self._write_relations(ctx, class_schema, write.object_id, changes.relations)
        write.document = document
        self._forget_caller(class_name, "insert", write.object_id)
        await rules.after(ctx, write)
        response = self._news(ctx, class_schema, write, sent, changes.echoed)
        response["objectId"] = write.object_id
        response["createdAt"] = to_iso(document["_created_at"])
        response.update(write.response)
        response = await self._after_save(ctx, class_schema, write, response)
        return Saved(write.object_id, response)

    def _given_id(self, ctx: Context, class_name: str, body: WireObject) -> str | None:
        """The id a client chose, where it may."""
        if "objectId" not in body and "id" not in body:
            return None
        if not self._settings.allow_custom_object_id:
            name = "objectId" if "objectId" in body else "id"
            # Maintenance restores rows, ids included.
            if not ctx.caller.is_maintenance or name == "id":
                raise ParseError(Code.INVALID_KEY_NAME, f"{name} is an invalid field name.")
        object_id = body.get("objectId")
        if object_id is None or object_id == "":
            raise ParseError(
                Code.MISSING_OBJECT_ID, "objectId must not be empty, null or undefined"
            )
        if not isinstance(object_id, str) or "\0" in object_id or len(object_id) > 512:
            raise ParseError(Code.INVALID_JSON, "bad objectId")
        if class_name == "_User" and object_id.startswith("role:"):
            # SECURITY: such an id would pass for a role in an ACL.
            raise Forbidden("Invalid object ID.")
        return object_id

    def _new_document(self, ctx: Context, write: Write, changes: Changes) -> StoredDocument:
        now = utc_now()
        document: StoredDocument = {"_id": write.object_id, **changes.as_document()}
        document.update(write.stored_set)
        for key in write.stored_unset:
            document.pop(key, None)
        if ctx.caller.is_maintenance:
            document["_created_at"] = _maintained(write.body.get("createdAt"), now)
            document["_updated_at"] = _maintained(write.body.get("updatedAt"), now)
        else:
            document["_created_at"] = document["_updated_at"] = now
        return document

    # ---- update -------------------------------------------------------------------------------

    async def update(
        self, ctx: Context, class_name: str, object_id: str, body: WireObject
    ) -> WireObject:
        """Change an object. See `server.objects.store.ObjectStore.update`."""
        check_reachable(ctx.caller, class_name, "update")
        class_schema = await self._finder.class_for(ctx, class_name)
        if class_schema is None:
            raise object_not_found()
        _refuse_append_only(class_schema, "changed")
        rules = self.rules.get(class_name, _NO_RULES)
        has_hooks = self._triggers.has(Kind.BEFORE_SAVE, class_name)
        has_after = self._triggers.has(Kind.AFTER_SAVE, class_name)
        filter = self._write_filter(ctx, class_schema, object_id, "update")
        write = Write(class_name, object_id, body, is_new=False)
        if rules.needs_original or has_hooks or has_after:
            # The rights stand in the filter, so hooks never run for a write that is refused.
            write.original = await self._database.find_one(class_name, filter, session=ctx.session)
            if write.original is None:
                raise rules.missing(ctx, object_id)
        await rules.check(ctx, write)
        sent = write.body
        if has_hooks and write.original is not None:
            original = self._as_seen(ctx, class_schema, write.original)
            await self._before_save(ctx, write, apply_body(original, sent), original)
        self._denylist.check(write.body)
        changes = read_changes(write.body, class_schema, is_new=False)
        if changes.new_fields:
            filter = self._restrict(
                filter, check(class_schema, "addField", ctx.caller), class_schema, ctx
            )
        await self._check_constraints(ctx, class_schema, write, filter)
        if changes.new_fields:
            # SECURITY: a write that is refused must not leave its columns behind.
            if await self._database.find_one(class_name, filter, session=ctx.session) is None:
                raise rules.missing(ctx, object_id)
            class_schema = await self._add_fields(ctx, class_schema, changes, is_new=False)
        await rules.complete(ctx, write)
        changes.set.update(write.stored_set)
        for key in write.stored_unset:
            changes.set.pop(key, None)
            changes.unset.append(key)
        now = utc_now()
        changes.set["_updated_at"] = now
        try:
            document = await self._database.find_and_update(
                class_name, filter, changes.as_update(), session=ctx.session
            )
        except DuplicateValue as error:
            raise rules.duplicate(error, error.fields) from error
        if document is None:
            raise rules.missing(ctx, object_id)
        await self._write_relations(ctx, class_schema, object_id, changes.relations)
        write.document = document
        self._forget_caller(class_name, "update", object_id)
        await rules.after(ctx, write)
        response = self._news(ctx, class_schema, write, sent, changes.echoed)
        response["updatedAt"] = to_iso(now)
        response.update(write.response)
        return await self._after_save(ctx, class_schema, write, response)

    async def _check_constraints(
        self, ctx: Context, class_schema: ClassSchema, write: Write, filter: dict[str, Any]
    ) -> None:
        """The rules of ``schema.json``, for operations on what they would make of the object."""
        current = None
        if needs_current(class_schema, write.body):
            # SECURITY: with the rights in the filter, or a refusal would tell strangers of values.
            document = write.original or await self._database.find_one(
                class_schema.name, filter, session=ctx.session
            )
            current = self._finder.render(ctx, class_schema, document) if document else None
        check_constraints(class_schema, write.body, current=current)

    def _write_filter(
        self, ctx: Context, class_schema: ClassSchema, object_id: str, operation: str
    ) -> dict[str, Any]:
        """The object by its id, if the caller may write it. Raises 119 or 101."""
        fields = check(class_schema, operation, ctx.caller)
        filter = with_write_access({"_id": object_id}, ctx.caller)
        return self._restrict(filter, fields, class_schema, ctx)

    def _restrict(
        self,
        filter: dict[str, Any],
        fields: tuple[str, ...],
        class_schema: ClassSchema,
        ctx: Context,
    ) -> dict[str, Any]:
        if not fields:
            return filter
        return {"$and": [filter, pointer_filter(fields, class_schema, ctx.caller)]}

    # ---- delete -------------------------------------------------------------------------------

    async def delete(self, ctx: Context, class_name: str, object_id: str) -> WireObject:
        """Delete an object. See `server.objects.store.ObjectStore.delete`."""
        check_reachable(ctx.caller, class_name, "delete")
        class_schema = await self._finder.class_for(ctx, class_name)
        if class_schema is None:
            raise object_not_found()
        _refuse_append_only(class_schema, "deleted")
        rules = self.rules.get(class_name, _NO_RULES)
        filter = self._write_filter(ctx, class_schema, object_id, "delete")
        has_before = self._triggers.has(Kind.BEFORE_DELETE, class_name)
        has_after = self._triggers.has(Kind.AFTER_DELETE, class_name)
        document: StoredDocument = {}
        rendered: WireObject = {}
        if has_before or has_after or rules.needs_document:
            found = await self._database.find_one(class_name, filter, session=ctx.session)
            if found is None:
                raise rules.missing(ctx, object_id)
            document = found
            await rules.before_delete(ctx, object_id, document)
            rendered = self._as_seen(ctx, class_schema, document)
        if has_before:
            await self._run(Kind.BEFORE_DELETE, ctx, class_name, rendered)
        if not await self._database.delete(class_name, filter, session=ctx.session):
            raise rules.missing(ctx, object_id)
        self._forget_caller(class_name, "delete", object_id)
        await rules.after_delete(ctx, object_id, document)
        if has_after:
            await self._run(Kind.AFTER_DELETE, ctx, class_name, rendered)
        return {}

    async def _run(self, kind: Kind, ctx: Context, class_name: str, rendered: WireObject) -> None:
        await self._triggers.run(
            kind, TriggerCall(kind, class_name, ctx, object={**rendered, "className": class_name})
        )

    # ---- shared steps -------------------------------------------------------------------------

    async def _before_save(
        self,
        ctx: Context,
        write: Write,
        current: WireObject,
        original: WireObject | None = None,
    ) -> None:
        result = await self._triggers.run(
            Kind.BEFORE_SAVE,
            TriggerCall(
                Kind.BEFORE_SAVE,
                write.class_name,
                ctx,
                object={**current, "className": write.class_name},
                original=original and {**original, "className": write.class_name},
                body=write.body,
            ),
        )
        if result.body is not None:
            write.body = result.body

    def _news(
        self,
        ctx: Context,
        class_schema: ClassSchema,
        write: Write,
        sent: WireObject,
        echoed: list[str],
    ) -> WireObject:
        """What the client cannot know: results of operations, and what hooks and defaults chose.

        SECURITY: an Increment by 0 must not tell somebody who may only write what is there.
        """
        document = write.document or {}
        news: WireObject = {}
        if echoed and (write.is_new or self._finder.may_read(ctx.caller, class_schema, document)):
            rendered = self._finder.render(ctx, class_schema, document)
            news = echoed_values(document, rendered, echoed)
        if write.body is not sent:
            news = {**hook_changes(sent, write.body), **news}
        protected = self._finder.protection(class_schema, ctx.caller) if news else None
        if protected is not None:
            for name in protected.hidden_in(document, class_schema, ctx.caller):
                news.pop(name, None)
        return news

    async def _after_save(
        self, ctx: Context, class_schema: ClassSchema, write: Write, response: WireObject
    ) -> WireObject:
        if not self._triggers.has(Kind.AFTER_SAVE, write.class_name):
            return response
        document = write.document or {}
        original = None
        if write.original is not None:
            original = {
                **self._as_seen(ctx, class_schema, write.original),
                "className": write.class_name,
            }
        result = await self._triggers.run(
            Kind.AFTER_SAVE,
            TriggerCall(
                Kind.AFTER_SAVE,
                write.class_name,
                ctx,
                object={
                    **self._as_seen(ctx, class_schema, document),
                    "className": write.class_name,
                },
                original=original,
                body=write.body,
            ),
        )
        if result.response is not None:
            return result.response
        return {**response, **result.echo} if result.echo else response

    def _as_seen(
        self, ctx: Context, class_schema: ClassSchema, document: StoredDocument
    ) -> WireObject:
        """The object as hooks get it: with the caller's view of protected fields."""
        protected = None
        if not self._settings.protected_fields_trigger_exempt:
            protected = self._finder.protection(class_schema, ctx.caller)
        return self._finder.render(ctx, class_schema, document, protected)

    def _fill_defaults(self, class_schema: ClassSchema, write: Write, ctx: Context) -> None:
        """Default values, and the class's default ACL."""
        added: WireObject = {}
        for name, default in class_schema.defaults.items():
            value = write.body.get(name)
            if name not in write.body or _is_delete(value):
                added[name] = default
        default_acl = (class_schema.clp or {}).get("ACL")
        if default_acl and "ACL" not in write.body and write.class_name != "_User":
            added["ACL"] = _default_acl(default_acl, ctx)
        if added:
            write.body = {**write.body, **added}

    async def _add_fields(
        self, ctx: Context, class_schema: ClassSchema, changes: Changes, *, is_new: bool
    ) -> ClassSchema:
        if not changes.new_fields:
            return class_schema
        fields = check(class_schema, "addField", ctx.caller)
        if fields and is_new:
            raise Forbidden(f"Permission denied for action addField on class {class_schema.name}.")
        return await self._registry.add_fields(class_schema.name, changes.new_fields)

    async def _write_relations(
        self,
        ctx: Context,
        class_schema: ClassSchema,
        object_id: str,
        relations: list[RelationChange],
    ) -> None:
        for change in relations:
            join = f"_Join:{change.name}:{class_schema.name}"
            for related_id in dict.fromkeys(change.add):
                row = {"owningId": object_id, "relatedId": related_id}
                await self._database.update_one(
                    join, row, {"$set": row}, upsert=True, session=ctx.session
                )
            if change.remove:
                filter = {"owningId": object_id, "relatedId": {"$in": change.remove}}
                await self._database.delete(join, filter, many=True, session=ctx.session)
            if class_schema.name == "_Role":
                self._forget_members(change)

    def _forget_members(self, change: RelationChange) -> None:
        """Roles of users changed: of these ones, or, in nested roles, of who knows whom."""
        if change.name == "users":
            for user_id in (*change.add, *change.remove):
                self._resolver.forget_user(user_id)
        else:
            self._resolver.forget_all()

    def _forget_caller(self, class_name: str, op: str, object_id: str) -> None:
        """This process sees its own writes at once, not when the change feed reports them."""
        if class_name in ("_User", "_Session", "_Role"):
            self._resolver.on_change(class_name, op, object_id, None)


def _refuse_append_only(class_schema: ClassSchema, verb: str) -> None:
    if class_schema.append_only:
        raise ParseError(
            Code.OPERATION_FORBIDDEN,
            f"{class_schema.name} is append-only: its objects cannot be {verb}.",
        )


def _is_delete(value: Any) -> bool:
    return isinstance(value, dict) and value.get("__op") == _DELETE


def _default_acl(template: Mapping[str, Any], ctx: Context) -> WireObject:
    """A class's default ACL; ``currentUser`` stands for the creator."""
    acl: WireObject = {}
    for entity, rights in template.items():
        if entity == "currentUser":
            if ctx.caller.user_id is not None:
                acl[ctx.caller.user_id] = dict(rights)
        else:
            acl[entity] = dict(rights) if isinstance(rights, Mapping) else rights
    return acl or {PUBLIC: {}}


def _maintained(value: Any, now: Any) -> Any:
    """A time that the maintenance key restores."""
    return now if value is None else decode_date(value)
