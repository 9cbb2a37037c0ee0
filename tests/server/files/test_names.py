"""Names of files, as the peer takes and makes them."""

from __future__ import annotations

import re

import pytest

from server.errors import ParseError
from server.files import names
from server.values import file_url


@pytest.mark.parametrize("name", ["a.txt", "_a", "9", "a b~c@d-e.f", "a..b", "x" * 128])
def test_allowed_names(name: str) -> None:
    names.check_name(name)


@pytest.mark.parametrize(
    "name", ["", ".a", "-a", " a", "a/b", "a\\b", "a\0", "a\n", "€", "a%2Fb", "x" * 129]
)
def test_refused_names(name: str) -> None:
    with pytest.raises(ParseError) as refused:
        names.check_name(name)
    assert refused.value.code == 122


@pytest.mark.parametrize("directory", ["a", "a/b-c_d", "x/metadata", "x" * 256])
def test_allowed_directories(directory: str) -> None:
    assert names.check_directory(directory) == directory


@pytest.mark.parametrize(
    "directory",
    [5, "", "/a", "a/", "a//b", "..", "a/../b", "metadata", "metadata/x", "-a", "a.b", "a b"],
)
def test_refused_directories(directory: object) -> None:
    with pytest.raises(ParseError) as refused:
        names.check_directory(directory)
    assert refused.value.code == 122


def test_stored_names_begin_with_random_digits() -> None:
    first, second = names.stored_name("a.txt"), names.stored_name("a.txt")

    assert re.fullmatch(r"[0-9a-f]{32}_a\.txt", first)
    assert first != second
    assert re.fullmatch(r"d/e/[0-9a-f]{32}_a\.txt", names.stored_name("a.txt", directory="d/e"))
    assert names.stored_name("a.txt", preserve=True) == "a.txt"


@pytest.mark.parametrize(
    ("name", "content_type", "completed"),
    [
        ("noext", "image/jpeg", "noext.jpg"),
        ("noext", "text/plain; charset=utf-8", "noext.txt"),
        ("noext", "application/octet-stream", "noext.bin"),
        ("noext", "weird/zzz", "noext"),
        ("noext", None, "noext"),
        ("a.txt.", "text/plain", "a.txt.txt"),
        ("a.dat", "image/png", "a.dat"),
    ],
)
def test_names_without_extension_get_the_one_of_their_type(
    name: str, content_type: str | None, completed: str
) -> None:
    assert names.with_extension(name, content_type) == completed


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.JPG", "image/jpeg"),
        ("a.webp", "image/webp"),
        ("a.json", "application/json; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.pdf", "application/pdf"),
        ("a.unknown", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_content_types_come_from_the_name(name: str, content_type: str) -> None:
    assert names.content_type_of(name) == content_type


def test_urls_are_encoded_and_keep_directories() -> None:
    url = file_url("http://h/parse", "my app", "a/b/00_a b@c~d.txt")

    assert url == "http://h/parse/files/my%20app/a/b/00_a%20b%40c~d.txt"


@pytest.mark.parametrize("content_type", ["", "plain", "a/b/c", "/x", "x/"])
def test_malformed_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(ParseError) as refused:
        names.subtype_of(content_type)
    assert refused.value.code == 130
