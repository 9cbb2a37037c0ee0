"""The Range header: RFC 9110, where the peer is one byte off."""

from __future__ import annotations

import pytest

from server.files.ranges import UnsatisfiableRange, read_range


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-4", (0, 5)),
        ("bytes=6-", (6, 11)),
        ("bytes=-5", (6, 11)),
        ("bytes=-99", (0, 11)),
        ("bytes=0-99", (0, 11)),
        ("bytes=10-10", (10, 11)),
        ("Bytes=0-0", (0, 1)),
    ],
)
def test_one_range(header: str, part: tuple[int, int]) -> None:
    assert read_range(header, 11) == part


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes=", "bytes=-", "bytes=abc", "bytes=5-2", "bytes=0-1,3-4", "items=0-1"],
)
def test_what_is_no_single_range_gives_the_whole_file(header: str | None) -> None:
    assert read_range(header, 11) is None


@pytest.mark.parametrize("header", ["bytes=11-", "bytes=20-30", "bytes=-0"])
def test_ranges_outside_of_the_file(header: str) -> None:
    with pytest.raises(UnsatisfiableRange):
        read_range(header, 11)


def test_an_empty_file_has_no_ranges() -> None:
    with pytest.raises(UnsatisfiableRange):
        read_range("bytes=0-", 0)
