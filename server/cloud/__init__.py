"""What an app's cloud code imports: ``from server import cloud``.

Decorators mark functions as hooks; `Object`, `Query`, `User`, `Role` and `File` reach the data,
acting as the caller of the running hook and with the master key only where said.
"""

from __future__ import annotations

from server.cloud.acl import ACL
from server.cloud.calling import run
from server.cloud.files import File
from server.cloud.geo import GeoPoint, Polygon
from server.cloud.marks import (
    after_delete,
    after_find,
    after_login,
    after_logout,
    after_save,
    before_delete,
    before_find,
    before_login,
    before_save,
    define,
    on_start,
)
from server.cloud.objects import Object, Relation
from server.cloud.people import Role, User
from server.cloud.query import Query
from server.cloud.requests import Request, Trigger
from server.errors import Code
from server.errors import ParseError as Error

__all__ = [
    "ACL",
    "Code",
    "Error",
    "File",
    "GeoPoint",
    "Object",
    "Polygon",
    "Query",
    "Relation",
    "Request",
    "Role",
    "Trigger",
    "User",
    "after_delete",
    "after_find",
    "after_login",
    "after_logout",
    "after_save",
    "before_delete",
    "before_find",
    "before_login",
    "before_save",
    "define",
    "on_start",
    "run",
]
