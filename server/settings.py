"""Every setting of the server: Parse Server's option name, environment variable, default, help.

Plain data. `server.configuration` fills a `Settings` from a file, the environment and flags.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from server.values import loads

Cast = Callable[[Any], Any]


class SettingsError(Exception):
    """A setting has a value the server cannot run with; the text names it and the mend."""


@dataclass(frozen=True, slots=True)
class Option:
    """Where one setting comes from. ``group``: the dataclass of a nested option."""

    name: str
    env: str
    help: str
    cast: Cast
    group: type[Any] | None = None

    @property
    def flag(self) -> str:
        """``--max-limit`` of ``maxLimit``."""
        return "--" + _kebab(self.name)


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def env_name(option_name: str, prefix: str = "PARSE_SERVER_") -> str:
    """``PARSE_SERVER_MAX_LIMIT`` of ``maxLimit``."""
    return prefix + _kebab(option_name).replace("-", "_").upper()


# Casts: from JSON or from text to the field's type. They raise ValueError, whose text is an
# expectation ("a whole number such as 100") that the caller completes with the name.


def text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a non-empty text")
    return value


def boolean(value: Any) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise ValueError("true or false")


def whole(least: int, most: int | None = None) -> Cast:
    """A whole number from ``least`` to ``most``."""

    def cast(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?\d+", value.strip()):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not fits or (most is not None and value > most):
            raise ValueError(f"a whole number from {least}" + (f" to {most}" if most else " up"))
        return int(value)

    return cast


def seconds(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool) or not 0 < number < float("inf"):
        raise ValueError("a number of seconds above 0")
    return number


def optional(cast: Cast) -> Cast:
    """``cast``, or ``None`` for JSON's null."""
    return lambda value: None if value is None else cast(value)


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts: JSON, or separated by commas."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            value = _json(value)
        else:
            value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)) or not all(isinstance(part, str) for part in value):
        raise ValueError("a list of texts")
    return tuple(value)


def addresses(value: Any) -> tuple[str, ...]:
    """IP addresses and ranges. ``::0`` and ``::`` mean every IPv6 address, as in Parse Server."""
    found = []
    for part in texts(value):
        whole_range = "::/0" if part in ("::", "::0") else part
        try:
            ipaddress.ip_network(whole_range, strict=False)
        except ValueError:
            raise ValueError(f"IP addresses or CIDR ranges, which {part!r} is not") from None
        found.append(whole_range)
    return tuple(found)


_PROXIES = {
    "true": ("0.0.0.0/0", "::/0"),
    "false": (),
    "loopback": ("127.0.0.0/8", "::1"),
    "linklocal": ("169.254.0.0/16", "fe80::/10"),
    "uniquelocal": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
}


def proxies(value: Any) -> tuple[str, ...]:
    """As `addresses`, with the names that Express has: ``true`` (all), ``loopback``, ..."""
    names = str(value).lower() if isinstance(value, bool) else value
    found: list[str] = []
    for part in texts(names):
        found += _PROXIES.get(part, (part,))
    return addresses(found)


def _json(value: str) -> Any:
    try:
        return loads(value)
    except ValueError:
        raise ValueError("valid JSON") from None


def mapping(value: Any) -> Mapping[str, Any]:
    value = _json(value) if isinstance(value, str) else value
    if not isinstance(value, dict):
        raise ValueError('a JSON object such as {"key": "value"}')
    return value


def denylist(value: Any) -> tuple[Mapping[str, Any], ...]:
    value = _json(value) if isinstance(value, str) else value
    fits = isinstance(value, (list, tuple)) and all(
        isinstance(entry, dict) and entry.keys() & {"key", "value"} for entry in value
    )
    if not fits:
        raise ValueError('a list of {"key": ..., "value": ...}')
    return tuple(value)


def mount(value: Any) -> str:
    path = "/" + text(value).strip("/")
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]*", path):
        raise ValueError("a path such as /parse")
    return "" if path == "/" else path


def url(value: Any) -> str:
    if not re.match(r"https?://[^/\s]+", text(value)):
        raise ValueError("a URL such as https://api.example.com/parse")
    return str(value).rstrip("/")


def mongo_uri(value: Any) -> str:
    if not re.match(r"mongodb(\+srv)?://.", text(value)):
        raise ValueError("a MongoDB URI such as mongodb://host:27017/parse?replicaSet=rs0")
    return str(value)


_UNITS = {"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}


def size(value: Any) -> int:
    """Bytes of ``20mb``, ``512kb`` or a plain number of bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?b)?", str(value).strip().lower())
    if isinstance(value, bool) or not found or float(found[1]) <= 0:
        raise ValueError("a size such as 20mb")
    return int(float(found[1]) * _UNITS[found[2] or ""])


def one_of(*words: str) -> Cast:
    def cast(value: Any) -> str:
        if value not in words:
            raise ValueError("one of " + ", ".join(words))
        return str(value)

    return cast


def option(
    name: str,
    default: Any,
    help: str,
    cast: Cast,
    *,
    env: str | None = None,
    secret: bool = False,
    group: type[Any] | None = None,
) -> Any:
    """A dataclass field that is an option. ``env``: when it is not the usual spelling."""
    described = Option(name, env or env_name(name), help, cast, group)
    metadata = {"option": described}
    if callable(default):
        return field(default_factory=default, metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


def secret(name: str, help: str, env: str | None = None) -> Any:
    return option(name, None, help, optional(text), env=env, secret=True)


# SECURITY: every type that a browser would run as a page of the server's own origin.
_NOT_A_PAGE = r"(?i)^(?!(x?html?|shtml?|xht|svgz?|xml|xslt?|xsd|rng|rdf|owl|mathml)([;+.].*)?$)"


@dataclass(frozen=True)
class FileUpload:
    """Who may upload files, and of which kinds."""

    enable_for_public: bool = option("enableForPublic", False, "Uploads without a user.", boolean)
    enable_for_anonymous_user: bool = option(
        "enableForAnonymousUser", False, "Uploads by anonymous users.", boolean
    )
    enable_for_authenticated_user: bool = option(
        "enableForAuthenticatedUser", True, "Uploads by logged-in users.", boolean
    )
    file_extensions: tuple[str, ...] = option(
        "fileExtensions", (_NOT_A_PAGE,), "Regular expressions of allowed extensions.", texts
    )


@dataclass(frozen=True)
class LiveQueryOptions:
    """Which classes LiveQuery serves."""

    class_names: tuple[str, ...] = option(
        "classNames", (), "Classes that are live; none: those of schemaPath.", texts
    )
    regex_timeout_ms: int = option(
        "regexTimeout", 100, "Time limit of one $regex, in ms.", whole(0)
    )


@dataclass(frozen=True)
class LiveQueryServerOptions:
    """How the LiveQuery endpoint talks to its clients."""

    key_pairs: Mapping[str, str] = option(
        "keyPairs", dict, "Keys of which a client must send one.", mapping, secret=True
    )
    websocket_timeout_ms: int = option(
        "websocketTimeout", 10_000, "Time between pings, in ms.", whole(100)
    )


def _default_denylist() -> tuple[Mapping[str, Any], ...]:
    return (
        {"key": "_bsontype", "value": "Code"},
        {"key": "constructor"},
        {"key": "__proto__"},
    )


def _default_protected_fields() -> Mapping[str, Any]:
    return {"_User": {"*": ["email"]}}


def protected(value: Any) -> Mapping[str, Any]:
    """``{class: {caller: [field, ...]}}``, joined with the default, which it cannot take away."""
    joined = {name: dict(callers) for name, callers in mapping(value).items()}
    for class_name, callers in _default_protected_fields().items():
        ours = joined.setdefault(class_name, {})
        for caller, names in callers.items():
            ours[caller] = sorted({*ours.get(caller, ()), *names})
    return joined


@dataclass(frozen=True)
class Settings:
    """One app's settings. Times are in the unit their name or help gives; sizes in bytes."""

    app_id: str = option(
        "appId",
        "pestle",
        "Id of the app, which clients send.",
        text,
        env="PARSE_SERVER_APPLICATION_ID",
    )
    master_key: str = option("masterKey", "", "Key past all rights.", text, secret=True)
    master_key_ips: tuple[str, ...] = option(
        "masterKeyIps", ("127.0.0.1", "::1"), "Where the master key may come from.", addresses
    )
    read_only_master_key: str | None = secret("readOnlyMasterKey", "Master key that only reads.")
    read_only_master_key_ips: tuple[str, ...] = option(
        "readOnlyMasterKeyIps", ("0.0.0.0/0", "::/0"), "Where it may come from.", addresses
    )
    maintenance_key: str | None = secret("maintenanceKey", "Key that also sees internal fields.")
    maintenance_key_ips: tuple[str, ...] = option(
        "maintenanceKeyIps", ("127.0.0.1", "::1"), "Where it may come from.", addresses
    )
    client_key: str | None = secret("clientKey", "Key of mobile clients; none: not asked for.")
    javascript_key: str | None = secret("javascriptKey", "Key of JavaScript clients.")
    rest_api_key: str | None = secret("restAPIKey", "Key of REST clients.")
    dot_net_key: str | None = secret("dotNetKey", "Key of .NET clients.")
    webhook_key: str | None = secret("webhookKey", "Key sent to and asked from webhooks.")
    port: int = option("port", 1337, "TCP port.", whole(0, 65535), env="PORT")
    host: str = option("host", "0.0.0.0", "Address to listen on.", text)
    mount_path: str = option("mountPath", "/parse", "Path of the API.", mount)
    server_url: str = option(
        "serverURL", "", "URL of the API as this machine sees it.", url, env="PARSE_SERVER_URL"
    )
    public_server_url: str | None = option(
        "publicServerURL", None, "URL of the API as clients see it.", optional(url),
        env="PARSE_PUBLIC_SERVER_URL",
    )  # fmt: skip
    trust_proxy: tuple[str, ...] = option(
        "trustProxy", (), "Proxies whose X-Forwarded-For counts.", proxies
    )
    database_uri: str | None = option(
        "databaseURI", None, "MongoDB 6+ replica set or cluster; none: the embedded one.",
        optional(mongo_uri), env="PARSE_SERVER_DATABASE_URI", secret=True,
    )  # fmt: skip
    database_options: Mapping[str, Any] = option(
        "databaseOptions", dict, "Options of the MongoDB driver.", mapping
    )
    collection_prefix: str = option("collectionPrefix", "", "Put before collection names.", str)
    object_id_size: int = option("objectIdSize", 10, "Characters of an objectId.", whole(6, 64))
    allow_custom_object_id: bool = option(
        "allowCustomObjectId", False, "Clients may choose objectIds.", boolean
    )
    allow_client_class_creation: bool = option(
        "allowClientClassCreation", False, "Clients may make classes by writing to them.", boolean
    )
    default_limit: int = option("defaultLimit", 100, "Results of a find without limit.", whole(1))
    max_limit: int | None = option("maxLimit", None, "Most results of a find.", optional(whole(1)))
    enable_sanitized_error_response: bool = option(
        "enableSanitizedErrorResponse", True, "Hide from clients why a right is refused.", boolean
    )
    protected_fields: Mapping[str, Any] = option(
        "protectedFields",
        _default_protected_fields,
        "Fields hidden by class and caller.",
        protected,
    )
    protected_fields_owner_exempt: bool = option(
        "protectedFieldsOwnerExempt", True, "Users see their own protected fields.", boolean
    )
    protected_fields_trigger_exempt: bool = option(
        "protectedFieldsTriggerExempt", False, "Hooks see protected fields.", boolean
    )
    enforce_private_users: bool = option(
        "enforcePrivateUsers", True, "New users are readable by themselves only.", boolean
    )
    request_keyword_denylist: tuple[Mapping[str, Any], ...] = option(
        "requestKeywordDenylist",
        _default_denylist,
        "Keys and values no request may hold.",
        denylist,
    )
    allow_origin: tuple[str, ...] = option("allowOrigin", ("*",), "Origins for CORS.", texts)
    allow_headers: tuple[str, ...] = option("allowHeaders", (), "More headers for CORS.", texts)
    session_length: int = option("sessionLength", 31_536_000, "Seconds a session lives.", whole(1))
    expire_inactive_sessions: bool = option(
        "expireInactiveSessions", True, "Sessions end after sessionLength.", boolean
    )
    extend_session_on_use: bool = option(
        "extendSessionOnUse", False, "Each use starts sessionLength anew.", boolean
    )
    revoke_session_on_password_reset: bool = option(
        "revokeSessionOnPasswordReset", True, "A new password ends all sessions.", boolean
    )
    enable_anonymous_users: bool = option(
        "enableAnonymousUsers", True, "Anonymous sign-up.", boolean,
        env="PARSE_SERVER_ENABLE_ANON_USERS",
    )  # fmt: skip
    auth: Mapping[str, Any] = option(
        "auth", dict, "Auth providers and their options.", mapping, secret=True,
        env="PARSE_SERVER_AUTH_PROVIDERS",
    )  # fmt: skip
    max_upload_size: int = option("maxUploadSize", 20 << 20, "Largest body, as 20mb.", size)
    file_upload: FileUpload = option(
        "fileUpload", FileUpload, "Who may upload what.", mapping, group=FileUpload
    )
    preserve_file_name: bool = option(
        "preserveFileName", False, "No random prefix on file names.", boolean
    )
    cloud: str | None = option("cloud", None, "Cloud code, as cloud/main.py.", optional(text))
    cloud_timeout: float = option(
        "cloudTimeout", 15.0, "Seconds a hook or function may take.", seconds
    )
    schema_path: str | None = option(
        "schemaPath", None, "The schema document, as schema.json.", optional(text)
    )
    live_query: LiveQueryOptions = option(
        "liveQuery", LiveQueryOptions, "Which classes are live.", mapping, group=LiveQueryOptions
    )
    live_query_server_options: LiveQueryServerOptions = option(
        "liveQueryServerOptions", LiveQueryServerOptions, "The LiveQuery endpoint.", mapping,
        env="PARSE_LIVE_QUERY_SERVER_OPTIONS", group=LiveQueryServerOptions,
    )  # fmt: skip
    start_live_query_server: bool = option(
        "startLiveQueryServer", True, "Serve LiveQuery on the same port.", boolean
    )
    log_level: str = option(
        "logLevel", "info", "error, warn, info, verbose or debug.",
        one_of("error", "warn", "info", "verbose", "debug", "silly"),
    )  # fmt: skip
    workers: int | None = option(
        "workers", None, "Worker processes; none: one per core.", optional(whole(1, 512)),
        env="PESTLE_WORKERS",
    )  # fmt: skip
    data_dir: str = option(
        "dataDir", ".pestle", "Keys and the embedded database.", text, env="PESTLE_DATA_DIR"
    )

    def __post_init__(self) -> None:
        if not self.master_key:
            raise SettingsError(
                "masterKey (PARSE_SERVER_MASTER_KEY) is missing; give a secret text"
            )
        if not self.server_url:
            url = f"http://localhost:{self.port}{self.mount_path}"
            object.__setattr__(self, "server_url", url)
        _refuse_equal_keys(self)


def _refuse_equal_keys(settings: Settings) -> None:
    """SECURITY: a key that is two keys gives everybody who has the lesser one the greater."""
    seen: dict[str, str] = {}
    for name in ("master_key", "read_only_master_key", "maintenance_key"):
        key = getattr(settings, name)
        if key and key in seen:
            options = options_of(Settings)
            ours, other = options[name], options[seen[key]]
            raise SettingsError(
                f"{ours.name} ({ours.env}) equals {other.name}; give each key a value of its own"
            )
        if key:
            seen[key] = name


def options_of(owner: type[Any]) -> dict[str, Option]:
    """The options of `Settings` or of one of its groups, by field name, in order."""
    entries: tuple[Field[Any], ...] = fields(owner)
    return {entry.name: entry.metadata["option"] for entry in entries}
