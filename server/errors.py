"""Errors that a client sees: Parse's codes and their HTTP statuses."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Code(IntEnum):
    """Parse's error codes, the ones this server answers with."""

    OTHER_CAUSE = -1
    INTERNAL_SERVER_ERROR = 1
    CONNECTION_FAILED = 100
    OBJECT_NOT_FOUND = 101
    INVALID_QUERY = 102
    INVALID_CLASS_NAME = 103
    MISSING_OBJECT_ID = 104
    INVALID_KEY_NAME = 105
    INVALID_POINTER = 106
    INVALID_JSON = 107
    COMMAND_UNAVAILABLE = 108
    INCORRECT_TYPE = 111
    OBJECT_TOO_LARGE = 116
    OPERATION_FORBIDDEN = 119
    INVALID_NESTED_KEY = 121
    INVALID_FILE_NAME = 122
    INVALID_ACL = 123
    TIMEOUT = 124
    INVALID_EMAIL_ADDRESS = 125
    FILE_SAVE_ERROR = 130
    MISSING_REQUIRED_FIELD = 135
    FIELD_NOT_CHANGEABLE = 136
    DUPLICATE_VALUE = 137
    SCRIPT_FAILED = 141
    VALIDATION_ERROR = 142
    WEBHOOK_ERROR = 143
    FILE_DELETE_ERROR = 153
    DUPLICATE_REQUEST = 159
    INVALID_VALUE = 162
    USERNAME_MISSING = 200
    PASSWORD_MISSING = 201
    USERNAME_TAKEN = 202
    EMAIL_TAKEN = 203
    EMAIL_MISSING = 204
    EMAIL_NOT_FOUND = 205
    SESSION_MISSING = 206
    ACCOUNT_ALREADY_LINKED = 208
    INVALID_SESSION_TOKEN = 209
    UNSUPPORTED_SERVICE = 252
    INVALID_SCHEMA_OPERATION = 255


SANITIZED = "Permission denied"

_STATUS: dict[int, int] = {Code.OBJECT_NOT_FOUND: 404, Code.INTERNAL_SERVER_ERROR: 500}


class ParseError(Exception):
    """An error answered as ``{"code": int, "error": ...}``; its text is safe for strangers.

    ``message`` is normally a string. Cloud code may throw a plain object; then it is that object.
    """

    def __init__(self, code: int, message: Any, *, http_status: int | None = None) -> None:
        super().__init__(code, message)
        self.code = int(code)
        self.message = message
        self.http_status = http_status or _STATUS.get(code, 400)

    def body(self, *, sanitize: bool) -> dict[str, Any]:
        """The JSON body. ``sanitize``: hide why a right was refused (see `Forbidden`)."""
        return {"code": self.code, "error": self.message}

    def __str__(self) -> str:
        return str(self.message)


class Forbidden(ParseError):
    """A refusal whose reason is hidden while ``enableSanitizedErrorResponse`` is on (the default).

    The code and status stay; the text becomes ``Permission denied``.
    """

    def __init__(self, message: str, code: int = Code.OPERATION_FORBIDDEN) -> None:
        super().__init__(code, message)

    def body(self, *, sanitize: bool) -> dict[str, Any]:
        return {"code": self.code, "error": SANITIZED if sanitize else self.message}


class HttpError(Exception):
    """An error whose body carries no Parse code: ``{"error": ...}`` alone."""

    def __init__(self, http_status: int, message: str, detail: str | None = None) -> None:
        super().__init__(http_status, message)
        self.http_status = http_status
        self.message = message
        self.detail = detail or message

    def body(self, *, sanitize: bool) -> dict[str, Any]:
        return {"error": self.message if sanitize else self.detail}


def unauthorized() -> HttpError:
    """The application id, a client key or the address of the caller does not fit."""
    return HttpError(403, "unauthorized")


def master_key_required() -> HttpError:
    """The route is for the master key only."""
    return HttpError(403, SANITIZED, "unauthorized: master key is required")


def object_not_found(message: str = "Object not found.") -> ParseError:
    """No such object, or one the caller may not see: both answers look the same."""
    return ParseError(Code.OBJECT_NOT_FOUND, message)


def invalid_query(message: str) -> ParseError:
    return ParseError(Code.INVALID_QUERY, message)


def invalid_json(message: str) -> ParseError:
    return ParseError(Code.INVALID_JSON, message)
