"""Loading the app's code: siblings, fresh copies, and mistakes that name their place."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.access.caller import ANONYMOUS, MASTER, Context
from server.cloud.backend import Backend
from server.cloud.loader import CloudCode, CloudCodeError
from server.errors import ParseError
from server.triggers.calls import FunctionCall, Kind
from server.triggers.registry import Triggers

Write = Callable[..., Path]
HEAD = "from server import cloud\n"


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """``write(main=..., audit=...)``: the files of ``cloud/``; gives the main one."""
    before = {name: sys.modules[name] for name in sys.modules if name.split(".")[0] == "cloud"}
    finders = list(sys.meta_path)

    def files(**sources: str) -> Path:
        for name, source in sources.items():
            path = tmp_path / "cloud" / f"{name.replace('__', '/', 1)}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(HEAD + source)
        return tmp_path / "cloud" / "main.py"

    yield files
    for name in [name for name in sys.modules if name.split(".")[0] == "cloud"]:
        del sys.modules[name]
    sys.modules.update(before)
    sys.meta_path[:] = finders


def make(main: Path) -> tuple[CloudCode, Triggers]:
    triggers = Triggers()
    unused: Any = None
    return CloudCode(main, Backend(unused, triggers, unused)), triggers


async def call(triggers: Triggers, name: str, **params: Any) -> Any:
    return await triggers.call_function(
        FunctionCall(name, params, Context(ANONYMOUS, "http://test"))
    )


FUNCTION = "@cloud.define('{name}')\nasync def {name}(request):\n    return {result}\n"


def function(name: str, result: Any = 1) -> str:
    return FUNCTION.format(name=name, result=result)


async def test_siblings_and_packages(write: Write) -> None:
    main = write(
        main="from cloud.audit import TEN\nfrom . import copay\nfrom cloud.rules.age import adult\n"
        + function("f", "[TEN, copay.five(), adult(18)]"),
        audit="TEN = 10\n" + function("audited"),
        copay="def five(): return 5\n",
        rules__age="def adult(age): return age >= 18\n",
    )
    code, triggers = make(main)
    code.load()
    code.stop()
    assert await call(triggers, "f") == [10, 5, True]
    assert await call(triggers, "audited") == 1


async def test_a_directory_stands_for_its_main_file(write: Write) -> None:
    main = write(main=function("f"))
    code, triggers = make(main.parent)
    code.load()
    code.stop()
    assert await call(triggers, "f") == 1


async def test_reload_takes_fresh_copies_of_all_files(write: Write) -> None:
    main = write(main="from cloud.audit import X\n" + function("f", "X"), audit="X = 1\n")
    code, triggers = make(main)
    code.load()
    assert await call(triggers, "f") == 1
    write(audit="X = 2\n")  # the same size, within the same second
    code.load()
    code.stop()
    assert await call(triggers, "f") == 2
    write(main=function("g"))
    code.load()
    code.stop()
    assert triggers.function("f") is None


async def test_imports_inside_a_function_find_the_loaded_modules(write: Write) -> None:
    body = "\n    from cloud.audit import STATE\n    return STATE is main_state"
    main = write(
        main="from cloud.audit import STATE as main_state\n@cloud.define\n"
        f"async def f(request):{body}\n",
        audit="STATE = []\n",
    )
    code, triggers = make(main)
    code.load()
    code.stop()
    assert await call(triggers, "f") is True


async def test_two_apps_share_nothing(write: Write, tmp_path: Path) -> None:
    main = write(main=function("f", 1))
    other = tmp_path / "other" / "cloud" / "main.py"
    other.parent.mkdir(parents=True)
    other.write_text(HEAD + function("g", 2))
    (code, triggers), (other_code, other_triggers) = make(main), make(other)
    code.load()
    other_code.load()
    code.stop()
    other_code.stop()
    assert (triggers.function("g"), other_triggers.function("f")) == (None, None)


@pytest.mark.parametrize(
    ("sources", "file", "line", "message"),
    [
        ({"main": "def f(:\n"}, "main.py", 2, "SyntaxError"),
        ({"main": "import nowhere_to_be_found\n"}, "main.py", 2, "nowhere_to_be_found"),
        ({"main": "\nx = undefined\n"}, "main.py", 3, "'undefined' is not defined"),
        ({"main": "import cloud.audit\n", "audit": "1 / 0\n"}, "audit.py", 2, "ZeroDivisionError"),
        ({"main": "raise SystemExit(3)\n"}, "main.py", 2, "SystemExit"),
        (
            {"main": "from . import audit\n" + function("f"), "audit": function("f")},
            "main.py",
            3,
            "the function 'f' is handled by f, and already by f in",
        ),
        (
            {
                "main": "@cloud.before_save('Note')\ndef a(r): ...\n"
                "@cloud.before_save('Note')\ndef b(r): ...\n"
            },
            "main.py",
            4,
            "beforeSave of Note is handled by b, and already by a in",
        ),
        ({"main": "@cloud.before_save('_Session')\ndef a(r): ...\n"}, "main.py", 2, "afterLogout"),
        (
            {"main": "@cloud.define('f', fields={'a': object})\ndef a(r): ...\n"},
            "main.py",
            2,
            "'a' has a type that JSON does not know",
        ),
        ({"main": "@cloud.define('f', require_usr=True)\ndef a(r): ...\n"}, "main.py", 2, "usr"),
    ],
)
async def test_mistakes(
    write: Write, sources: dict[str, str], file: str, line: int, message: str
) -> None:
    main = write(main=function("good"))
    code, triggers = make(main)
    code.load()
    module = sys.modules["cloud.main"]
    write(**sources)
    with pytest.raises(CloudCodeError) as caught:
        code.load()
    code.stop()
    error = caught.value
    assert (Path(error.file).name, error.line) == (file, line)
    assert message in error.message
    assert error.mend
    assert str(error).startswith(f"{error.file}:{line}: ")
    assert await call(triggers, "good") == 1  # the last good version
    assert sys.modules["cloud.main"] is module


def test_an_import_that_hides_the_decorators(write: Write) -> None:
    code, _ = make(write(main="import cloud.audit\n" + function("f"), audit="X = 1\n"))
    with pytest.raises(CloudCodeError) as caught:
        code.load()
    assert "from cloud import x" in caught.value.mend


def test_a_missing_file(tmp_path: Path) -> None:
    code, _ = make(tmp_path / "cloud" / "main.py")
    with pytest.raises(CloudCodeError, match="no such file"):
        code.load()


def test_every_decorator(write: Write) -> None:
    triggers_of_a_class = "before_save after_save before_delete after_delete before_find after_find"
    source = "".join(
        f"@cloud.{name}('Note')\nasync def {name}(request): ...\n"
        for name in triggers_of_a_class.split()
    )
    for name in ("before_login", "after_login", "after_logout"):
        source += f"@cloud.{name}\nasync def {name}(request): ...\n"
    source += "@cloud.before_save(cloud.User, require_user=True)\ndef users(request): ...\n"
    code, triggers = make(write(main=source))
    code.load()
    code.stop()
    for kind in Kind:
        login = {Kind.BEFORE_LOGIN: "_User", Kind.AFTER_LOGIN: "_User"}
        place = "_Session" if kind is Kind.AFTER_LOGOUT else login.get(kind, "Note")
        assert triggers.has(kind, place)
    assert triggers.has(Kind.BEFORE_SAVE, "_User")


async def test_on_start(write: Write) -> None:
    main = write(
        main="ran = []\n@cloud.on_start\nasync def one(): ran.append(1)\n"
        "@cloud.on_start\ndef two(): ran.append(2)\n"
    )
    code, _ = make(main)
    code.load()
    code.stop()
    await code.start(Context(MASTER, "http://test"))
    assert sys.modules["cloud.main"].ran == [1, 2]
    write(main="@cloud.on_start\nasync def one(): raise Exception('no roles')\n")
    code.load()
    code.stop()
    with pytest.raises(ParseError, match="no roles"):
        await code.start(Context(MASTER, "http://test"))
