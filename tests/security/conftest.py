"""What attacks have in common: rows of refused requests, and a picture of the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pymongo import MongoClient

from tests.harness.api import Api, assert_parse_error

# Each call and log-in is recorded there, refused ones too.
_RECORDS = "AuditLog"


@dataclass(frozen=True)
class Attack:
    """One request, who sends it, and the code of its refusal.

    ``path``, ``body`` and ``params`` may name things of the world in braces: ``{alice}``.
    ``code`` ``None``: a refusal without a code (403).
    """

    name: str
    who: str
    method: str
    path: str
    body: Any = None
    code: int | None = 119
    status: int | None = None
    params: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class World:
    """An app in this process, those who speak to it, and what the rows may name."""

    uri: str
    callers: dict[str, Api]
    names: dict[str, str]
    secrets: tuple[str, ...]

    async def refuses(self, attack: Attack) -> None:
        """Send it: the right refusal, no secret in it, and nothing written."""
        before = picture(self.uri)
        answer = await self.callers[attack.who].request(
            attack.method,
            filled(attack.path, self.names),
            filled(attack.body, self.names),
            params=filled(attack.params, self.names),
            headers=attack.headers,
        )
        assert_parse_error(answer, attack.code, attack.status)
        assert not self.leaks(answer.text)
        assert picture(self.uri) == before

    def leaks(self, text: str) -> list[str]:
        return [secret for secret in self.secrets if secret in text]


def filled(value: Any, names: dict[str, str]) -> Any:
    """The value with each ``{name}`` in its texts replaced."""
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace("{" + name + "}", text)
        return value
    if isinstance(value, dict):
        return {filled(key, names): filled(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, names) for item in value]
    return value


def picture(uri: str) -> dict[str, list[Any]]:
    """All documents of the database but the records of attempts."""
    with MongoClient[dict[str, Any]](uri) as client:
        database = client.get_default_database()
        return {
            name: sorted(database[name].find({}), key=lambda row: str(row["_id"]))
            for name in database.list_collection_names()
            if name != _RECORDS
        }
