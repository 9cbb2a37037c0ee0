"""The documentation names what there is, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server import cloud
from server.cloud.marks import Rules
from server.cloud.query import Query
from server.configuration import UNUSED, group_env
from server.errors import Code
from server.settings import Option, Settings, env_name, options_of
from server.triggers.calls import Kind

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")]
    + [*ROOT.glob("benchmarks/*.md")]
)
OPERATIONS = (ROOT / "docs/operations.md").read_text()
CLOUD_CODE = (ROOT / "docs/cloud-code.md").read_text()


def _rows(page: str) -> dict[str, str]:
    """The rows of a page's tables, by what their first cell says."""
    rows = re.findall(r"^\| (.+?) \|.*$", page, re.MULTILINE)
    lines = re.findall(r"^\| .+$", page, re.MULTILINE)
    return dict(zip(rows, lines, strict=True))


def _options() -> list[tuple[str, str]]:
    """Name and environment variable of every option, those of groups as ``group.name``."""
    found = []
    for option in options_of(Settings).values():
        found.append((option.name, option.env))
        if option.group is not None:
            members: list[Option] = list(options_of(option.group).values())
            start = group_env(option)
            found += [(f"{option.name}.{m.name}", env_name(m.name, start)) for m in members]
    return found


@pytest.mark.parametrize(("name", "env"), _options())
def test_every_option_has_a_row_with_its_variable(name: str, env: str) -> None:
    assert f"| `{env}` |" in _rows(OPERATIONS).get(f"`{name}`", "")


def test_no_option_is_documented_that_does_not_exist() -> None:
    known = {env for _, env in _options()} | {"PARSE_SERVER_CONFIG"}
    prefixes = ("PARSE_SERVER_", "PARSE_SERVER_DATABASE_")
    named = set(re.findall(r"\b(?:PARSE|PESTLE)_[A-Z_]+\b", OPERATIONS)) - set(prefixes)
    assert named <= known


@pytest.mark.parametrize("field", options_of(Settings))
def test_every_option_has_an_effect(field: str) -> None:
    """One that has none belongs to `server.configuration.UNUSED`, which says so in the log."""
    sources = [*ROOT.glob("server/**/*.py"), *ROOT.glob("livequery/**/*.py")]
    readers = [path for path in sources if path.name not in ("settings.py", "configuration.py")]
    assert any(re.search(rf"\.{field}\b", path.read_text()) for path in readers)


def test_options_without_effect_are_told() -> None:
    differences = (ROOT / "docs/differences.md").read_text()
    assert [name for name in UNUSED if f"`{name}`" not in differences] == []


@pytest.mark.parametrize("code", Code, ids=lambda code: code.name)
def test_every_error_code_has_a_row(code: Code) -> None:
    assert f"| `{code.name}` |" in _rows(OPERATIONS).get(str(code.value), "")


@pytest.mark.parametrize("kind", Kind)
def test_every_trigger_has_a_row(kind: Kind) -> None:
    decorator = re.sub(r"(?=[A-Z])", "_", kind.value).lower()
    assert re.search(rf"^\| `@cloud\.{decorator}\b", CLOUD_CODE, re.MULTILINE)


@pytest.mark.parametrize("rule", sorted(Rules.__annotations__))
def test_every_validator_is_described(rule: str) -> None:
    assert f"`{rule}=" in CLOUD_CODE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = page if not path else page.parent / path
        if link.startswith("http"):
            continue
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


def _anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub and others name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("name", sorted(name for name in vars(Query) if not name.startswith("_")))
def test_every_method_of_a_query_is_named(name: str) -> None:
    if name not in ("to_params", "class_name"):
        assert re.search(rf"\b{name}\b", CLOUD_CODE)


@pytest.mark.parametrize("name", cloud.__all__)
def test_every_name_of_cloud_code_is_named(name: str) -> None:
    assert re.search(rf"\bcloud\.{name}\b", CLOUD_CODE)
