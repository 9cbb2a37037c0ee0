"""Password hashes: the peer's forms, long passwords, and time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import bcrypt
import pytest

from server.accounts.passwords import Passwords


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    passwords = Passwords()
    yield passwords
    passwords.close()


async def test_hash_is_bcrypt_of_cost_ten_and_verifies(passwords: Passwords) -> None:
    hashed = await passwords.hash("päss")

    assert hashed.startswith("$2b$10$")
    assert await passwords.verify("päss", hashed)
    assert not await passwords.verify("pass", hashed)


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
async def test_hashes_of_all_bcrypt_prefixes_verify(passwords: Passwords, prefix: str) -> None:
    """Parse Server writes ``$2y$`` with its native module, else ``$2a$`` or ``$2b$``."""
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode().replace("$2b$", prefix)

    assert await passwords.verify("secret", hashed)


async def test_bytes_after_the_72nd_do_not_count(passwords: Passwords) -> None:
    """As on the peer, whose users must be able to log in here."""
    hashed = await passwords.hash("x" * 72 + "A")

    assert await passwords.verify("x" * 72 + "B", hashed)
    assert not await passwords.verify("x" * 71, hashed)


async def test_nul_bytes_count(passwords: Passwords) -> None:
    hashed = await passwords.hash("ab\0cd")

    assert await passwords.verify("ab\0cd", hashed)
    assert not await passwords.verify("ab\0ce", hashed)
    assert not await passwords.verify("ab", hashed)


@pytest.mark.parametrize("hashed", [None, "", "rubbish", "$2b$10$short"])
async def test_what_is_no_hash_never_matches(passwords: Passwords, hashed: str | None) -> None:
    assert not await passwords.verify("secret", hashed)


async def test_an_unknown_user_takes_the_time_of_a_known_one(passwords: Passwords) -> None:
    hashed = await passwords.hash("secret")

    async def fastest(stored: str | None) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            await passwords.verify("other", stored)
            times.append(time.perf_counter() - start)
        return min(times)

    assert await fastest(None) > await fastest(hashed) / 3


async def test_hashing_leaves_the_event_loop_free(passwords: Passwords) -> None:
    busy = asyncio.gather(*(passwords.hash("secret") for _ in range(4)))
    turns = 0
    while not busy.done():
        await asyncio.sleep(0.001)
        turns += 1
    await busy

    assert turns > 10
