"""Password hashes: bcrypt of cost 10, computed in threads of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import bcrypt

COST = 10
# bcrypt reads 72 bytes. The peer cuts longer passwords, so hashes it wrote match only if we do.
_USED_BYTES = 72
_THREADS = 2
_NICENESS = 5
# The hash of a random password nobody knows, of the same cost as real ones.
_NOBODY = b"$2b$10$gd/pOCGEpIpf7aNqSUdqvOiHOyTSPELp15LenW6L/s612g4ciALAe"


def _yield_to_event_loop() -> None:
    """PERF: on a busy machine the kernel then prefers the event loops to the hashing threads."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "replace")[:_USED_BYTES]


def _matches(password: str, hashed: str | None) -> bool:
    try:
        found = bcrypt.checkpw(_bytes(password), hashed.encode() if hashed else _NOBODY)
    except ValueError:  # not a bcrypt hash
        return False
    return found and bool(hashed)


class Passwords:
    """Hashing and checking. The threads release the interpreter while they compute."""

    def __init__(self, threads: int = _THREADS) -> None:
        self._pool = ThreadPoolExecutor(
            threads, thread_name_prefix="bcrypt", initializer=_yield_to_event_loop
        )

    async def hash(self, password: str) -> str:
        """A ``$2b$10$`` hash of the first 72 bytes of ``password`` in UTF-8."""
        loop = asyncio.get_running_loop()
        salt = bcrypt.gensalt(COST)
        return (
            await loop.run_in_executor(self._pool, bcrypt.hashpw, _bytes(password), salt)
        ).decode()

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Whether ``password`` has this hash (``$2a$``, ``$2b$`` or ``$2y$``).

        SECURITY: ``None`` (no such user, or one without a password) is never a match but takes
        the time of one, so that the time of an answer does not tell which users exist.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, _matches, password, hashed)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
