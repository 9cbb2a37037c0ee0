"""Reads settings from a JSON file, the environment and flags; names what is wrong and the mend."""

from __future__ import annotations

import difflib
import json
import logging
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.settings import (
    Option,
    Settings,
    SettingsError,
    env_name,
    options_of,
)
from server.values import loads

log = logging.getLogger(__name__)

_HERE = "Pestle has this built in"
_NODE = "it configures Node.js"
_LATER = "Pestle does not honour it yet"
# Options of Parse Server that are accepted and not used, with the reason that is logged.
UNUSED: Mapping[str, str] = {
    **dict.fromkeys(
        "cacheAdapter cacheMaxSize cacheTTL cluster databaseAdapter directAccess "
        "enableProductPurchaseLegacyApi loggerAdapter schema".split(),
        _HERE,
    ),
    **dict.fromkeys(
        "enableExpressErrorHandler middleware requestContextMiddleware serverCloseComplete "
        "verifyServerUrl maxLogFiles logsFolder".split(),
        _NODE,
    ),
    **dict.fromkeys(
        "accountLockout allowAggregationForReadOnlyMasterKey allowExpiredAuthDataToken "
        "analyticsAdapter appName convertEmailToLowercase convertUsernameToLowercase customPages "
        "emailAdapter emailVerifySuccessOnInvalidEmail emailVerifyTokenReuseIfValid "
        "emailVerifyTokenValidityDuration enableCollationCaseComparison "
        "enableInsecureAuthAdapters encryptionKey fileDownload fileKey filesAdapter "
        "graphQLPath graphQLPublicIntrospection graphQLSchema idempotencyOptions installation "
        "jsonLogs logLevels masterKeyTtl mountGraphQL mountPlayground pages passwordPolicy "
        "playgroundPath preventLoginWithUnverifiedEmail preventSignupWithUnverifiedEmail "
        "protectedFieldsSaveResponseExempt push query rateLimit "
        "requestComplexity routeAllowList scheduledPush security sendUserEmailVerification "
        "silent userSensitiveFields verbose verifyUserEmails".split(),
        _LATER,
    ),
}
_UNUSED_GROUP: Mapping[str, str] = {
    **dict.fromkeys("redisURL redisOptions pubSubAdapter wssAdapter".split(), _HERE),
    **dict.fromkeys("appId masterKey serverURL cacheTimeout logLevel port".split(), _HERE),
    "allowedFileUrlDomains": _LATER,
}
# What such variables start with, and the reason.
_UNUSED_ENV = {env_name(name): reason for name, reason in UNUSED.items()} | {
    "PARSE_SERVER_EXPERIMENTAL_IDEMPOTENCY_OPTIONS": _LATER,
    "PARSE_SERVER_GRAPHQL_PATH": _LATER,
    "PARSE_SERVER_MOUNT_GRAPHQL": _LATER,
    "PARSE_SERVER_CLEANUP_INVALID_INSTALLATIONS": _LATER,
    "PARSE_SERVER_FILE_UPLOAD_ALLOWED_FILE_URL_DOMAINS": _LATER,
    "PARSE_SERVER_LIVEQUERY_REDIS": _HERE,
}
# Read by the process around the settings, not settings themselves.
_OTHER_ENV = {"PARSE_SERVER_CONFIG"}
_DATABASE_OPTIONS = (
    "enableSchemaHooks schemaCacheTtl maxTimeMS batchSize allowPublicExplain "
    "disableIndexFieldValidation createIndexUserUsername createIndexUserUsernameCaseInsensitive "
    "createIndexUserEmail createIndexUserEmailCaseInsensitive createIndexUserEmailVerifyToken "
    "createIndexUserPasswordResetToken createIndexRoleName createIndexAuthDataUniqueness "
    "appName authMechanism authSource compressors connectTimeoutMS directConnection "
    "heartbeatFrequencyMS loadBalanced localThresholdMS maxConnecting maxIdleTimeMS maxPoolSize "
    "minPoolSize maxStalenessSeconds readConcernLevel readPreference replicaSet retryReads "
    "retryWrites serverMonitoringMode serverSelectionTimeoutMS socketTimeoutMS ssl tls tlsCAFile "
    "tlsCertificateKeyFile tlsAllowInvalidCertificates waitQueueTimeoutMS zlibCompressionLevel"
).split()
_DATABASE_ENV = {env_name(name, "PARSE_SERVER_DATABASE_"): name for name in _DATABASE_OPTIONS}


def load_settings(
    config_path: str | Path | None, env: Mapping[str, str], flags: Mapping[str, Any]
) -> Settings:
    """The settings of a file, overridden by the environment, overridden by flags.

    Relative paths mean the directory of the file, else the current one; there ``schema.json``
    and ``cloud/main.py`` are used when nothing else is said. Without a master key one is made
    and kept in ``keys.json`` of the data directory.

    Args:
        flags: By option name, values as text or as in JSON.
    Raises:
        SettingsError: A value is wrong or the file cannot be read.
    """
    home = Path(config_path).resolve().parent if config_path else Path.cwd()
    given = _read_file(Path(config_path)) if config_path else {}
    sources = [
        _from_names(Settings, given, str(config_path)),
        _from_env(env),
        _from_names(Settings, flags, "the command line"),
    ]
    values: dict[str, Any] = {}
    for source in sources:
        for name, value in source.items():
            both_groups = isinstance(value, dict) and isinstance(values.get(name), dict)
            values[name] = {**values[name], **value} if both_groups else value
    for name, option in options_of(Settings).items():
        if option.group is not None and name in values:
            values[name] = option.group(**values[name])
    for name, default in (("schema_path", "schema.json"), ("cloud", "cloud/main.py")):
        if name in values and values[name] is not None:
            values[name] = str(home / values[name])
        elif name not in values and (home / default).exists():
            values[name] = str(home / default)
    values["data_dir"] = str(home / values.get("data_dir", ".pestle"))
    if not values.get("master_key"):
        values["master_key"] = generated_key(keys_path(values["data_dir"]), "masterKey")
    return Settings(**values)


def keys_path(data_dir: str) -> Path:
    return Path(data_dir) / "keys.json"


def generated_key(path: Path, name: str) -> str:
    """The key of this name in ``path`` (``{name: text}``), made at the first call; mode 600."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        keys: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        keys = {}
    except ValueError as error:
        raise SettingsError(f"{path}: not JSON ({error}); mend or delete it") from None
    if not keys.get(name):
        keys[name] = secrets.token_urlsafe(32)
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            json.dump(keys, file, indent=2)
        fresh.replace(path)
    return keys[name]


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = loads(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; give the path of a JSON file") from None
    except ValueError as error:
        raise SettingsError(f"{path}: not JSON: {error}") from None
    if isinstance(content, dict) and isinstance(content.get("apps"), list):
        if len(content["apps"]) != 1:
            raise SettingsError(f"{path}: apps holds {len(content['apps'])}; Pestle serves one")
        content = content["apps"][0]
    if not isinstance(content, dict):
        raise SettingsError(f'{path}: holds no JSON object; write {{"appId": ..., ...}}')
    return content


def _cast(option: Option, value: Any, label: str) -> Any:
    try:
        value = option.cast(value)
    except ValueError as error:
        shown = "" if "key" in option.name.lower() else f", not {_short(value)}"
        raise SettingsError(f"{label} must be {error}{shown}") from None
    return value


def _short(value: Any) -> str:
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _from_names(
    owner: type[Any], given: Mapping[str, Any], origin: str, prefix: str = ""
) -> dict[str, Any]:
    """Field values of ``{option name: value}``; groups stay dicts, to be joined later."""
    by_name = {option.name: (field, option) for field, option in options_of(owner).items()}
    unused = UNUSED if owner is Settings else _UNUSED_GROUP
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in by_name:
            field, option = by_name[name]
            label = f"{prefix}{name} ({option.env})" if not prefix else f"{prefix}{name}"
            cast = _cast(option, value, label)
            if option.group is not None:
                cast = _from_names(option.group, cast, origin, f"{name}.")
            values[field] = cast
        elif name in unused:
            log.info("%s%s is accepted but not used: %s.", prefix, name, unused[name])
        else:
            near = difflib.get_close_matches(name, [*by_name, *unused], 1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            log.warning("Unknown option %s%s in %s%s", prefix, name, origin, hint)
    return values


def group_env(option: Option) -> str:
    """The start of the environment names of a group's options."""
    if option.name == "liveQuery":
        return "PARSE_SERVER_LIVEQUERY_"
    return option.env.removesuffix("_OPTIONS") + "_"


def _from_env(env: Mapping[str, str]) -> dict[str, Any]:
    """Field values of the environment; an empty variable is no variable."""
    values: dict[str, Any] = {}
    known = set(_OTHER_ENV)
    for field, option in options_of(Settings).items():
        known.add(option.env)
        if env.get(option.env):
            values[field] = _cast(option, env[option.env], f"{option.env} ({option.name})")
            if option.group is not None:
                values[field] = _from_names(
                    option.group, values[field], option.env, f"{option.name}."
                )
        if option.group is None:
            continue
        for member, inner in options_of(option.group).items():
            name = env_name(inner.name, group_env(option))
            known.add(name)
            if env.get(name):
                label = f"{name} ({option.name}.{inner.name})"
                values.setdefault(field, {})[member] = _cast(inner, env[name], label)
    for name, database_option in _DATABASE_ENV.items():
        if env.get(name):
            options = values.setdefault("database_options", {})
            options[database_option] = _plain(env[name])
    _report_unknown_env(env, known | set(_DATABASE_ENV))
    return values


def _plain(value: str) -> Any:
    """A number, boolean or text, as the variable's spelling suggests."""
    if value in ("true", "false"):
        return value == "true"
    return int(value) if re.fullmatch(r"-?\d+", value) else value


def _report_unknown_env(env: Mapping[str, str], known: set[str]) -> None:
    for name in sorted(env):
        if not name.startswith("PARSE_SERVER_") or name in known:
            continue
        reason = next(
            (r for e, r in _UNUSED_ENV.items() if name == e or name.startswith(e + "_")), None
        )
        if reason is not None:
            log.info("%s is accepted but not used: %s.", name, reason)
        else:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            log.warning("Unknown environment variable %s%s", name, hint)
