"""The classes every app has: their columns, and which of them have no entry in ``_SCHEMA``."""

from __future__ import annotations

from collections.abc import Mapping

from server.schema.classes import DEFAULT_FIELDS, ClassSchema
from server.values import Field


def _columns(text: str) -> Mapping[str, Field]:
    """Read ``"name:String users:Relation<_User>"``."""
    columns = {}
    for item in text.split():
        name, _, spec = item.partition(":")
        kind, _, target = spec.rstrip(">").partition("<")
        columns[name] = Field(kind, target or None)
    return columns


SYSTEM_FIELDS: Mapping[str, Mapping[str, Field]] = {
    "_User": _columns(
        "username:String password:String email:String emailVerified:Boolean authData:Object"
    ),
    "_Role": _columns("name:String users:Relation<_User> roles:Relation<_Role>"),
    "_Session": _columns(
        "user:Pointer<_User> installationId:String sessionToken:String expiresAt:Date "
        "createdWith:Object"
    ),
    "_Installation": _columns(
        "installationId:String deviceToken:String channels:Array deviceType:String "
        "pushType:String GCMSenderId:String timeZone:String localeIdentifier:String badge:Number "
        "appVersion:String appName:String appIdentifier:String parseVersion:String"
    ),
    "_Product": _columns(
        "productIdentifier:String download:File downloadName:String icon:File order:Number "
        "title:String subtitle:String"
    ),
    "_PushStatus": _columns(
        "pushTime:String source:String query:String payload:String title:String expiry:Number "
        "expiration_interval:Number status:String numSent:Number numFailed:Number "
        "pushHash:String errorMessage:Object sentPerType:Object failedPerType:Object "
        "sentPerUTCOffset:Object failedPerUTCOffset:Object count:Number"
    ),
    "_JobStatus": _columns(
        "jobName:String source:String status:String message:String params:Object finishedAt:Date"
    ),
    "_JobSchedule": _columns(
        "jobName:String description:String params:String startAfter:String daysOfWeek:Array "
        "timeOfDay:String lastRun:Number repeatMinutes:Number"
    ),
    "_Hooks": _columns("functionName:String className:String triggerName:String url:String"),
    "_GlobalConfig": _columns("params:Object masterKeyOnly:Object"),
    "_GraphQLConfig": _columns("config:Object"),
    "_Audience": _columns("name:String query:String lastUsed:Date timesUsed:Number"),
    "_Idempotency": _columns("reqId:String expire:Date"),
}

VOLATILE_CLASSES = frozenset(
    "_JobStatus _PushStatus _Hooks _GlobalConfig _GraphQLConfig _JobSchedule _Audience "
    "_Idempotency".split()
)
"""Classes whose columns are fixed here and which never get an entry in ``_SCHEMA``."""

START_CLASSES = ("_User", "_Role")
"""Classes that a fresh database gets at start; the others appear with their first object."""


def default_fields(class_name: str) -> Mapping[str, Field]:
    """The columns a class always has: every object's, and those of a system class."""
    return {**DEFAULT_FIELDS, **SYSTEM_FIELDS.get(class_name, {})}


def volatile_classes() -> Mapping[str, ClassSchema]:
    """The classes without an entry in ``_SCHEMA``; only the server and the master key use them."""
    return {name: ClassSchema(name, default_fields(name), clp={}) for name in VOLATILE_CLASSES}
