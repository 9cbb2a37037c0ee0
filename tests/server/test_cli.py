"""The ``pestle`` command beside `serve`: help, schema and roles, on a database of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from server.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status, and all that was printed."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out + printed.err


@pytest.fixture
def app(tmp_path: Path, database_uri: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a config for this test's database and a schema document."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(
        json.dumps({"databaseURI": database_uri, "masterKey": "mk"})
    )
    write_schema(tmp_path, {"text": {"type": "String"}})
    return tmp_path


def write_schema(app: Path, fields: dict[str, Any]) -> None:
    document = {"classes": [{"className": "Note", "fields": fields}]}
    (app / "schema.json").write_text(json.dumps(document))


def test_help_names_every_command_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "--help")
    assert status == 0
    for command in ("serve", "schema check", "schema diff", "schema apply", "role add"):
        assert command in text
    status, text = run(capsys, "serve", "--help")
    assert "--max-limit" in text and "PARSE_SERVER_MAX_LIMIT" in text


def test_diff_then_apply_then_no_difference(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "schema", "diff", "config.json")
    assert status == 1 and "class Note: is new" in text
    status, text = run(capsys, "schema", "apply", "config.json")
    assert status == 0
    status, text = run(capsys, "schema", "diff", "config.json")
    assert status == 0 and "as the document says" in text


def test_apply_refuses_a_loss_unless_told(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "schema", "apply", "config.json")
    write_schema(app, {"text": {"type": "Number"}})
    status, text = run(capsys, "schema", "apply", "config.json")
    assert status == 1 and "Note" in text and "text" in text and "--allow-loss" in text
    assert "Traceback" not in text
    status, text = run(capsys, "schema", "apply", "config.json", "--allow-loss")
    assert status == 0


def test_check_names_file_line_and_mistake(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "schema", "check", "config.json")[0] == 0
    write_schema(app, {"text": {"type": "Strin"}})
    status, text = run(capsys, "schema", "check", "config.json")
    assert status == 1 and "schema.json" in text and "Strin" in text


def test_a_role_gets_and_loses_a_member(
    app: Path, database_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with MongoClient[dict[str, Any]](database_uri) as client:
        database = client.get_default_database()
        database["_Role"].insert_one({"_id": "r1", "name": "admin"})
        database["_User"].insert_one({"_id": "u1", "username": "alice"})
        for expected in ("is now in", "is already in"):
            status, text = run(capsys, "role", "add", "admin", "alice", "config.json")
            assert status == 0 and expected in text
        rows = list(database["_Join:users:_Role"].find({}, {"_id": 0}))
        assert rows == [{"owningId": "r1", "relatedId": "u1"}]
        status, text = run(capsys, "role", "remove", "admin", "alice", "config.json")
        assert status == 0 and "is now not in" in text
        assert database["_Join:users:_Role"].count_documents({}) == 0


@pytest.mark.parametrize(
    ("role", "user", "message"),
    [("nobody", "alice", "no role 'nobody'; there are: admin"), ("admin", "bob", "no user")],
)
def test_an_unknown_role_or_user_is_named(
    app: Path, database_uri: str, capsys: pytest.CaptureFixture[str],
    role: str, user: str, message: str,
) -> None:  # fmt: skip
    with MongoClient[dict[str, Any]](database_uri) as client:
        client.get_default_database()["_Role"].insert_one({"_id": "r1", "name": "admin"})
    status, text = run(capsys, "role", "add", role, user, "config.json")
    assert status == 1 and message in text


def test_an_unknown_flag_is_a_warning_and_a_stray_word_an_error(
    app: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    status, _ = run(capsys, "schema", "check", "config.json", "--max-limt", "3")
    assert status == 0
    assert "did you mean maxLimit?" in caplog.text
    status, text = run(capsys, "schema", "check", "--max-limt", "3")
    assert status == 0, text
    assert run(capsys, "schema", "check", "config.json", "stray")[0] == 2
