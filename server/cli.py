"""The ``pestle`` command."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from server.configuration import load_settings
from server.serve import running_database, serve
from server.settings import Option, Settings, SettingsError, boolean, options_of
from server.storage.embedded import EmbeddedMongoError
from server.storage.topology import UnfitDatabase

_LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO}
_MAIN_HELP = """\
commands:
  serve          run the server in the foreground: REST and LiveQuery
  schema check   look for mistakes in schema.json
  schema diff    say what schema.json would change in the database
  schema apply   change the database so
  role add       put a user into a role:  pestle role add admin alice
  role remove    take a user out of a role
"""
_SERVE_HELP = """\
Without databaseURI Pestle runs its own MongoDB under .pestle/; without masterKey it makes one and
keeps it in .pestle/keys.json. schema.json and cloud/main.py beside CONFIG.json, or in the current
directory, are used when they exist.

Every option may also stand in CONFIG.json under its camelCase name (--max-limit is maxLimit) or
in the environment; a flag overrides the environment, which overrides the file.
"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 1 refused or failed, 2 a wrong command line."""
    parser = _parser()
    known, unknown = parser.parse_known_args(
        _joined(sys.argv[1:] if arguments is None else arguments)
    )
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        flags = _given_flags(known) | _unknown_flags(parser, unknown)
        settings = load_settings(known.config, os.environ, flags)
        _set_up_logging(settings)
        sys.exit(known.run(settings, known))
    except KeyboardInterrupt:
        sys.exit(130)
    except _expected_errors() as error:
        print(f"pestle: {error}", file=sys.stderr)
        sys.exit(1)


def _expected_errors() -> tuple[type[Exception], ...]:
    """Errors whose text is meant for the person at the terminal."""
    from server.cloud.loader import CloudCodeError
    from server.members import UnknownMember
    from server.schema.document import SchemaDocumentError
    from server.schema.migrate import MigrationError

    ours = (SettingsError, EmbeddedMongoError, UnfitDatabase, UnknownMember)
    return (*ours, SchemaDocumentError, MigrationError, CloudCodeError)


class _Formatter(logging.Formatter):
    """SECURITY: no name that a client sent passes for an entry of its own or moves the cursor."""

    _CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

    def format(self, record: logging.LogRecord) -> str:
        text = self._CONTROL.sub(
            lambda found: f"\\x{ord(found.group()):02x}", super().format(record)
        )
        return text.replace("\n", "\n  ")


def _set_up_logging(settings: Settings) -> None:
    level = _LEVELS.get(settings.log_level, logging.DEBUG)
    formatter = _Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    root = logging.getLogger()
    root.setLevel(level)
    for handler in root.handlers:
        handler.setFormatter(formatter)
    # Their debug lines hold documents, that is passwords and tokens.
    for name in ("pymongo", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # The driver's clearing up after a lost connection fails with a traceback in each outage.
    logging.getLogger("pymongo.client").setLevel(logging.CRITICAL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pestle",
        description="A Parse-compatible backend server.",
        epilog=_MAIN_HELP + "\n`pestle serve --help` lists the options of the server.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_schema(commands)
    _add_role(commands)
    return parser


def _add_serve(commands: Any) -> None:
    parser = commands.add_parser(
        "serve",
        help="run the server",
        description=_SERVE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_config(parser)
    parser.add_argument("--reload", action="store_true", help="make edits live while running")
    _add_options(parser, shown=True)
    parser.set_defaults(run=_serve)


def _add_schema(commands: Any) -> None:
    parser = commands.add_parser("schema", help="check, compare or apply schema.json")
    actions = parser.add_subparsers(metavar="check|diff|apply", required=True)
    for name, run, text in (
        ("check", _schema_check, "look for mistakes in the document"),
        ("diff", _schema_diff, "say what it would change in the database"),
        ("apply", _schema_apply, "change the database so"),
    ):
        action = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        _add_config(action)
        if name == "apply":
            action.add_argument(
                "--allow-loss", action="store_true", help="also drop what contradicts it"
            )
        _add_options(action, shown=False)
        action.set_defaults(run=run)


def _add_role(commands: Any) -> None:
    parser = commands.add_parser("role", help="put users into roles")
    actions = parser.add_subparsers(metavar="add|remove", required=True)
    for name in ("add", "remove"):
        action = actions.add_parser(name, allow_abbrev=False)
        action.add_argument("role", metavar="ROLE")
        action.add_argument("username", metavar="USERNAME")
        _add_config(action)
        _add_options(action, shown=False)
        action.set_defaults(run=_role, action=name)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config",
        nargs="?",
        metavar="CONFIG.json",
        default=os.environ.get("PARSE_SERVER_CONFIG"),
        help="options of the server, as JSON",
    )


def _add_options(parser: argparse.ArgumentParser, *, shown: bool) -> None:
    """One flag per setting, in both spellings."""
    group = parser.add_argument_group("options of the server")
    for field, option in options_of(Settings).items():
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if option.cast is boolean else {}
        group.add_argument(
            *_spellings(option),
            dest=f"option_{field}",
            metavar="VALUE",
            help=f"{option.help} [{option.env}]" if shown else argparse.SUPPRESS,
            **switch,
        )


def _joined(words: Sequence[str]) -> list[str]:
    """``--unknown value`` as ``--unknown=value``: argparse would take the value for CONFIG.json."""
    flags = {flag for option in options_of(Settings).values() for flag in _spellings(option)}
    flags |= {"--help", "--reload", "--allow-loss"}
    joined: list[str] = []
    for word in words:
        before = joined[-1] if joined else ""
        is_value = before.startswith("--") and "=" not in before and before not in flags
        if is_value and not word.startswith("-") and not word.endswith(".json"):
            joined[-1] = f"{before}={word}"
        else:
            joined.append(word)
    return joined


def _spellings(option: Option) -> tuple[str, ...]:
    """``--max-limit`` and ``--maxLimit``."""
    return tuple(dict.fromkeys((option.flag, f"--{option.name}")))


def _given_flags(known: argparse.Namespace) -> dict[str, Any]:
    """``{option name: text}`` of the flags on the command line."""
    options = options_of(Settings)
    return {
        options[dest.removeprefix("option_")].name: value
        for dest, value in vars(known).items()
        if dest.startswith("option_") and value is not None
    }


def _unknown_flags(parser: argparse.ArgumentParser, words: Sequence[str]) -> dict[str, str]:
    """Flags that are no setting, by camelCase name: options of Parse Server, or typing errors."""
    flags: dict[str, str] = {}
    name = None
    for word in words:
        if word.startswith("--"):
            flag, _, value = word[2:].partition("=")
            name = re.sub(r"-([a-z])", lambda found: found[1].upper(), flag)
            flags[name] = value or "true"
        elif name is not None:
            flags[name] = word
            name = None
        else:
            parser.error(f"what is {word!r}? See --help")
    return flags


def _serve(settings: Settings, known: argparse.Namespace) -> int:
    serve(settings, reload=known.reload)
    return 0


def _schema_path(settings: Settings) -> str:
    if settings.schema_path is None:
        raise SettingsError("no schema.json here; name one with --schema-path")
    return settings.schema_path


def _schema_check(settings: Settings, known: argparse.Namespace) -> int:
    from server.schema.document import SchemaDocument

    document = SchemaDocument.load(_schema_path(settings))
    for warning in document.warnings:
        print(f"warning: {warning}")
    print(f"{document.source}: {len(document.classes)} classes, no mistakes")
    return 0


def _schema_diff(settings: Settings, known: argparse.Namespace) -> int:
    return _compare_schema(settings, apply=False, allow_loss=False)


def _schema_apply(settings: Settings, known: argparse.Namespace) -> int:
    return _compare_schema(settings, apply=True, allow_loss=known.allow_loss)


def _compare_schema(settings: Settings, *, apply: bool, allow_loss: bool) -> int:
    """Compare or apply the document, saying each difference; 1 when a diff finds any."""
    from server.schema import migrate
    from server.schema.document import SchemaDocument
    from server.schema.registry import SchemaRegistry
    from server.storage.mongo import Database
    from server.storage.topology import require_replica_set

    document = SchemaDocument.load(_schema_path(settings))

    async def work(uri: str) -> list[migrate.Difference]:
        database = Database.connect(uri, prefix=settings.collection_prefix)
        try:
            await require_replica_set(database.client)
            registry = SchemaRegistry(database, document=document)
            if apply:
                return await migrate.apply(document, registry, allow_loss=allow_loss)
            return await migrate.compare(document, registry)
        finally:
            await database.close()

    with running_database(settings) as running:
        found = asyncio.run(work(running.database_uri or ""))
    if not apply:  # applying logs each step as it is done
        for difference in found:
            print(difference)
    if not found:
        print("The database is as the document says.")
    return 1 if found and not apply else 0


def _role(settings: Settings, known: argparse.Namespace) -> int:
    from server.members import add_to_role, remove_from_role
    from server.storage.mongo import Database

    change = add_to_role if known.action == "add" else remove_from_role

    async def work(uri: str) -> bool:
        database = Database.connect(uri, prefix=settings.collection_prefix)
        try:
            return await change(database, known.role, known.username)
        finally:
            await database.close()

    with running_database(settings) as running:
        changed = asyncio.run(work(running.database_uri or ""))
    place = "in" if known.action == "add" else "not in"
    now = "now" if changed else "already"
    print(f"{known.username} is {now} {place} the role {known.role}")
    return 0


if __name__ == "__main__":
    main()
