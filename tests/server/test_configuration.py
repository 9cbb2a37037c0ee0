"""Settings from file, environment and flags: precedence, casts, and errors that name the mend."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path
from typing import Any

import pytest

from server.configuration import UNUSED, load_settings
from server.settings import Settings, SettingsError, options_of


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config(content: Any) -> Path:
    path = Path("config.json")
    path.write_text(json.dumps(content))
    return path


def load(
    content: Any = None, env: dict[str, str] | None = None, flags: dict[str, Any] | None = None
) -> Settings:
    return load_settings(config(content) if content is not None else None, env or {}, flags or {})


def test_a_flag_beats_the_environment_which_beats_the_file() -> None:
    file = {"appId": "file", "maxLimit": 1, "defaultLimit": 1}
    env = {"PARSE_SERVER_MAX_LIMIT": "2", "PARSE_SERVER_DEFAULT_LIMIT": "2"}
    settings = load(file, env, {"maxLimit": "3"})
    assert (settings.app_id, settings.default_limit, settings.max_limit) == ("file", 2, 3)


def test_a_file_may_hold_one_app_in_apps() -> None:
    assert load({"apps": [{"appId": "a"}]}).app_id == "a"
    with pytest.raises(SettingsError, match="apps holds 2"):
        load({"apps": [{"appId": "a"}, {"appId": "b"}]})


def test_every_option_is_found_by_each_of_its_names() -> None:
    names = [option.name for option in options_of(Settings).values()]
    environment = [option.env for option in options_of(Settings).values()]
    assert len({*names}) == len(names)
    assert len({*environment}) == len(environment)
    assert not {*names} & {*UNUSED}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PARSE_SERVER_MAX_UPLOAD_SIZE", "20mb", 20 << 20),
        ("PARSE_SERVER_MAX_UPLOAD_SIZE", "1.5 KB", 1536),
        ("PARSE_SERVER_ALLOW_CUSTOM_OBJECT_ID", "1", True),
        ("PARSE_SERVER_ALLOW_CUSTOM_OBJECT_ID", "false", False),
        ("PARSE_SERVER_TRUST_PROXY", "loopback,10.0.0.7", ("127.0.0.0/8", "::1", "10.0.0.7")),
        ("PARSE_SERVER_TRUST_PROXY", "true", ("0.0.0.0/0", "::/0")),
        ("PARSE_SERVER_MASTER_KEY_IPS", "10.0.0.0/8, ::0", ("10.0.0.0/8", "::/0")),
        ("PARSE_SERVER_ALLOW_ORIGIN", '["a","b"]', ("a", "b")),
        ("PARSE_SERVER_MOUNT_PATH", "api/", "/api"),
        ("PARSE_SERVER_URL", "http://h:1/parse/", "http://h:1/parse"),
        ("PARSE_SERVER_DATABASE_URI", "mongodb://h/db", "mongodb://h/db"),
        ("PORT", "80", 80),
    ],
)
def test_values_of_the_environment_are_cast(name: str, value: str, expected: Any) -> None:
    options = options_of(Settings)
    field = next(field for field, option in options.items() if option.env == name)
    assert getattr(load(env={name: value}), field) == expected


@pytest.mark.parametrize(
    ("content", "env", "message"),
    [
        ({"maxLimit": "many"}, {}, r"maxLimit \(PARSE_SERVER_MAX_LIMIT\) must be a whole number"),
        ({"maxLimit": True}, {}, "maxLimit"),
        ({"port": 70000}, {}, r"port \(PORT\).*to 65535"),
        ({}, {"PARSE_SERVER_MAX_LIMIT": "0"}, r"PARSE_SERVER_MAX_LIMIT \(maxLimit\)"),
        ({"masterKeyIps": ["here"]}, {}, "masterKeyIps.*'here'"),
        ({"trustProxy": ["front"]}, {}, "trustProxy.*'front'"),
        ({"maxUploadSize": "big"}, {}, "maxUploadSize.*such as 20mb"),
        ({"databaseURI": "postgres://x"}, {}, r"databaseURI.*mongodb://"),
        ({"fileUpload": {"enableForPublic": 3}}, {}, r"fileUpload\.enableForPublic must be true"),
        ({"auth": "{"}, {}, "auth.*valid JSON"),
        ({"requestKeywordDenylist": [1]}, {}, "requestKeywordDenylist"),
        ({"masterKey": "k", "maintenanceKey": "k"}, {}, "maintenanceKey.* equals masterKey"),
        ([], {}, "no JSON object"),
    ],
)
def test_a_bad_value_is_refused_by_name(content: Any, env: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(content, env)


def test_a_bad_key_is_not_printed() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"masterKey": {"secret": "hunter2"}})
    assert "hunter2" not in str(caught.value)


def test_secrets_are_not_in_the_repr() -> None:
    keys = ("masterKey", "maintenanceKey", "clientKey", "webhookKey", "restAPIKey")
    settings = load({key: f"hunter-{key}" for key in keys} | {"databaseURI": "mongodb://hunter@h"})
    assert "hunter" not in repr(settings)


def test_an_unknown_name_is_a_warning_with_the_nearest_known_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    load({"maxLimt": 1, "liveQuery": {"classNamez": []}}, {"PARSE_SERVER_MAXLIMIT": "1"})
    assert "maxLimt in config.json; did you mean maxLimit?" in caplog.text
    assert "liveQuery.classNamez in config.json; did you mean liveQuery.classNames?" in caplog.text
    assert "PARSE_SERVER_MAXLIMIT; did you mean PARSE_SERVER_MAX_LIMIT?" in caplog.text


def test_an_option_without_effect_is_accepted_with_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    load(
        {"cluster": 4, "fileUpload": {"allowedFileUrlDomains": []}},
        {"PARSE_SERVER_RATE_LIMIT": "[]", "PARSE_SERVER_LIVEQUERY_REDIS_URL": "redis://x"},
    )
    assert sorted(record.getMessage() for record in caplog.records) == [
        "PARSE_SERVER_LIVEQUERY_REDIS_URL is accepted but not used: Pestle has this built in.",
        "PARSE_SERVER_RATE_LIMIT is accepted but not used: Pestle does not honour it yet.",
        "cluster is accepted but not used: Pestle has this built in.",
        "fileUpload.allowedFileUrlDomains is accepted but not used: Pestle does not honour it yet.",
    ]


def test_groups_join_over_all_sources() -> None:
    settings = load(
        {"fileUpload": {"enableForPublic": True}, "databaseOptions": {"maxPoolSize": 5}},
        {
            "PARSE_SERVER_FILE_UPLOAD_ENABLE_FOR_ANONYMOUS_USER": "true",
            "PARSE_SERVER_DATABASE_MAX_TIME_MS": "100",
        },
    )
    assert settings.file_upload.enable_for_public
    assert settings.file_upload.enable_for_anonymous_user
    assert settings.file_upload.enable_for_authenticated_user
    assert settings.database_options == {"maxPoolSize": 5, "maxTimeMS": 100}


def test_protected_fields_join_the_default() -> None:
    settings = load({"protectedFields": {"_User": {"*": ["phone"]}, "Note": {"*": ["x"]}}})
    assert settings.protected_fields == {
        "_User": {"*": ["email", "phone"]},
        "Note": {"*": ["x"]},
    }


def test_a_master_key_is_made_once_and_kept_private() -> None:
    first = load()
    assert len(first.master_key) >= 32
    path = Path(".pestle/keys.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load().master_key == first.master_key
    assert load({"masterKey": "mine"}).master_key == "mine"


def test_a_direct_settings_without_master_key_is_refused() -> None:
    with pytest.raises(SettingsError, match="masterKey"):
        Settings(app_id="a")


def test_paths_are_beside_the_file_and_found_there(tmp_path: Path) -> None:
    app = tmp_path / "app"
    (app / "cloud").mkdir(parents=True)
    (app / "cloud" / "main.py").write_text("")
    (app / "schema.json").write_text('{"classes": [{"className": "Note"}]}')
    (app / "config.json").write_text("{}")
    settings = load_settings(app / "config.json", {}, {})
    assert settings.cloud == str(app / "cloud" / "main.py")
    assert settings.schema_path == str(app / "schema.json")
    assert settings.data_dir == str(app / ".pestle")
    assert settings.live_query.class_names == ()
    live = load_settings(app / "config.json", {}, {"liveQuery": {"classNames": ["Other"]}})
    assert live.live_query.class_names == ("Other",)
    assert load().cloud is None


def test_the_server_url_follows_port_and_mount() -> None:
    assert load(flags={"port": "99", "mountPath": "/api"}).server_url == "http://localhost:99/api"
