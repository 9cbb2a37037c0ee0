"""Imports the app's cloud code, afresh each time, and puts it into force at once or not at all."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import logging
import sys
import traceback
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from server.access.caller import Context
from server.cloud.adapter import called, registrations
from server.cloud.backend import Backend, running_in
from server.cloud.marks import Mark, collected
from server.triggers.runner import run_hook
from server.triggers.watchdog import Watchdog

logger = logging.getLogger(__name__)

_START_LIMIT_S = 60.0


class CloudCodeError(Exception):
    """The app's code could not be loaded: where, why, and what to do about it."""

    def __init__(self, file: str, line: int, message: str, mend: str) -> None:
        super().__init__(file, line, message, mend)
        self.file = file
        self.line = line
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}\n  {self.mend}"


class CloudCode:
    """The cloud code of one server: `load` at the start and after each edit.

    Its directory is a package, named as it is: with ``cloud/main.py``, both ``from cloud.audit
    import x`` and ``from .audit import x`` find ``cloud/audit.py``.
    """

    def __init__(self, path: str | Path, backend: Backend) -> None:
        """``path``: the main file, or a directory that holds a ``main.py``."""
        main = Path(path).resolve()
        self.main = main / "main.py" if main.is_dir() else main
        self._backend = backend
        self._on_start: list[Mark] = []
        directory = str(self.main.parent) + "/"
        self._watchdog = Watchdog(lambda file: file.startswith(directory))

    def load(self) -> None:
        """Import everything anew and replace all hooks.

        Raises:
            CloudCodeError: Nothing changed; what was loaded before stays in force.
        """
        marks = collect(self.main)
        self._backend.triggers.replace(registrations(marks, self._backend))
        self._on_start = [mark for mark in marks if mark.kind == "start"]
        self._watchdog.start()
        logger.info("cloud code loaded: %d hooks and functions", len(marks))

    async def start(self, ctx: Context) -> None:
        """Run the ``on_start`` functions, in the order of their marks."""
        for mark in self._on_start:
            with running_in(self._backend, ctx):
                await run_hook(mark.place, _call(mark), _START_LIMIT_S)

    def stop(self) -> None:
        self._watchdog.stop()


async def _call(mark: Mark) -> None:
    await called(mark.function)()


def collect(main: Path) -> list[Mark]:
    """Import ``main`` and its siblings and give all marks, each place once."""
    if not main.is_file():
        raise CloudCodeError(
            str(main), 0, "there is no such file", "Create it, or set the option cloud to yours."
        )
    package = main.parent.name if main.parent.name.isidentifier() else "cloud"
    marks: list[Mark] = []
    token = collected.set(marks)
    before = _take_modules(package)
    finder = _Finder(package, main.parent)
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module(f"{package}.{main.stem}")
        _refuse_doubles(marks)
    except (Exception, SystemExit) as error:
        sys.meta_path.remove(finder)
        _take_modules(package)
        sys.modules.update(before)
        raise _explained(error, main) from error
    finally:
        collected.reset(token)
    # Imports inside hooks, later, must find the same modules.
    for old in [f for f in sys.meta_path if isinstance(f, _Finder) and f.package == package]:
        if old is not finder:
            sys.meta_path.remove(old)
    return marks


def _take_modules(package: str) -> dict[str, ModuleType]:
    names = [n for n in sys.modules if n == package or n.startswith(f"{package}.")]
    return {name: sys.modules.pop(name) for name in names}


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the source each time: a byte-code file of the same second would be stale."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _Finder(MetaPathFinder):
    """Finds the app's package in its own directory, whatever else has that name."""

    def __init__(self, package: str, directory: Path) -> None:
        self.package = package
        self._directory = directory

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        names = fullname.split(".")
        if names[0] != self.package:
            return None
        base = self._directory.joinpath(*names[1:])
        if (base / "__init__.py").is_file():
            file = base / "__init__.py"
        elif len(names) == 1 or base.is_dir():
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(base)]
            return spec
        elif base.with_suffix(".py").is_file():
            return _spec(fullname, base.with_suffix(".py"), None)
        else:
            return None
        return _spec(fullname, file, [str(base)])


def _spec(name: str, file: Path, locations: list[str] | None) -> ModuleSpec | None:
    return importlib.util.spec_from_file_location(
        name, file, loader=_Loader(name, str(file)), submodule_search_locations=locations
    )


def _refuse_doubles(marks: list[Mark]) -> None:
    first: dict[tuple[Any, str], Mark] = {}
    for mark in marks:
        if mark.kind == "start":
            continue
        other = first.setdefault((mark.kind, mark.target), mark)
        if other is not mark:
            raise CloudCodeError(
                shown(mark.file),
                mark.line,
                f"{mark.place} is handled by {mark.function.__name__}, and already by"
                f" {other.function.__name__} in {shown(other.file)}:{other.line}",
                "Keep one; it may call the other.",
            )


def shown(file: str) -> str:
    """A path as people write it: from the working directory, when it is below that."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return file


def _explained(error: BaseException, main: Path) -> CloudCodeError:
    """The place in the app's own code that an error came from, and a hint."""
    if isinstance(error, CloudCodeError):
        return error
    if isinstance(error, SyntaxError) and error.filename:
        message = f"{type(error).__name__}: {error.msg}"
        return CloudCodeError(
            shown(error.filename), error.lineno or 0, message, "Correct the line; then it loads."
        )
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(main.parent)
    ]
    file, line = (frames[-1].filename, frames[-1].lineno or 0) if frames else (str(main), 0)
    message = f"{type(error).__name__}: {error}"
    return CloudCodeError(shown(file), line, message, _mend(error))


def _mend(error: BaseException) -> str:
    match error:
        case ModuleNotFoundError():
            return f"Install {error.name!r} beside the server, or correct the name."
        case ImportError():
            return "Check the name, and that the two files do not import each other."
        case AttributeError(obj=ModuleType()) if str(error).startswith("module 'cloud'"):
            return (
                "`import cloud.x` hides what `from server import cloud` gave; write"
                " `from cloud import x`."
            )
        case NameError():
            return "Import or define the name before this line."
        case SystemExit():
            return "Cloud code must not end the process while it loads."
    return "Correct the line; then it loads."
