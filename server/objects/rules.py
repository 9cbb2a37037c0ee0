"""What a special class adds to a write: the seam between the object pipeline and its owners.

`server.accounts` gives ``_User``, ``_Session`` and ``_Role`` their rules through this seam;
every other class has `NoRules`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from server.access.caller import Context
from server.errors import ParseError, object_not_found
from server.values import StoredDocument, WireObject


@dataclass(frozen=True, slots=True)
class Saved:
    """A create's outcome. ``status`` 200: an existing object was found (log-in by authData)."""

    object_id: str
    response: WireObject
    status: int = 201


@dataclass(slots=True)
class Write:
    """One create or update on its way through the pipeline.

    ``body``: the changes in wire form, operations as ``{"__op": ...}``.
    ``original``: the stored document before an update, when somebody needed it.
    ``document``: the stored document after the write (set before `ClassRules.after`).
    ``stored_set``/``stored_unset``: what rules store beside the body, by storage key.
    ``response``: what the answer carries beside the pipeline's own members.
    ``answer``: set by `ClassRules.check` of a create: this is the outcome, nothing is written.
    """

    class_name: str
    object_id: str | None
    body: WireObject
    is_new: bool
    original: StoredDocument | None = None
    document: StoredDocument | None = None
    stored_set: dict[str, Any] = field(default_factory=dict)
    stored_unset: set[str] = field(default_factory=set)
    response: WireObject = field(default_factory=dict)
    answer: Saved | None = None


class NoRules:
    """The rules of an ordinary class: none. Base of the special ones.

    ``needs_original``: updates read the stored document before `check`; it is then
    ``write.original`` (a miss has been answered with 101).
    ``needs_document``: deletes read it for `before_delete`.
    """

    needs_original = False
    needs_document = False

    def missing(self, ctx: Context, object_id: str) -> ParseError:
        """The refusal of an update or delete that found nothing the caller may write."""
        return object_not_found()

    def duplicate(self, error: ParseError, stored_keys: tuple[str, ...]) -> ParseError:
        """The refusal of a write that a unique index over ``stored_keys`` refused."""
        return error

    async def check(self, ctx: Context, write: Write) -> None:
        """Before hooks: restricted fields, auth data. May change ``write.body``; raises."""

    async def complete(self, ctx: Context, write: Write) -> None:
        """Just before the database write: hashes, uniqueness, stored extras; raises."""

    async def after(self, ctx: Context, write: Write) -> None:
        """After the database write: sessions and revocation; adds to ``write.response``."""

    async def before_delete(self, ctx: Context, object_id: str, document: StoredDocument) -> None:
        """Before hooks of a delete; raises."""

    async def after_delete(self, ctx: Context, object_id: str, document: StoredDocument) -> None:
        """After the delete: what must go with the object."""
