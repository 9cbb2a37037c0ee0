"""The embedded mongod: it comes back from every kind of end, with its data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from server.storage import embedded
from server.storage.embedded import EmbeddedMongo, EmbeddedMongoError
from tests.harness.processes import PATIENCE_S, wait_for


def client_of(mongo: EmbeddedMongo) -> MongoClient[dict[str, Any]]:
    return MongoClient(mongo.uri, serverSelectionTimeoutMS=20_000)


def gone(pid: int) -> bool:
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs an embedded mongod in ``tmp_path`` until it is killed."""
    program = (
        "import sys, time; from pathlib import Path\n"
        "from server.storage.embedded import EmbeddedMongo\n"
        "with EmbeddedMongo(Path(sys.argv[1])) as mongo:\n"
        "    print(mongo.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_data_and_place_survive_a_stop(tmp_path: Path) -> None:
    first = tmp_path / "first"
    with EmbeddedMongo(first) as mongo, client_of(mongo) as client:
        client.parse.Note.insert_one({"_id": "a"})
        pid = mongo.pid
    assert pid is not None and gone(pid)
    assert not mongo.socket_path.exists()

    first.rename(tmp_path / "moved")
    with EmbeddedMongo(tmp_path / "moved") as mongo, client_of(mongo) as client:
        assert client.parse.Note.find_one() == {"_id": "a"}


def test_a_killed_mongod_is_started_again_with_every_acknowledged_write(tmp_path: Path) -> None:
    with EmbeddedMongo(tmp_path) as mongo, client_of(mongo) as client:
        for number in range(200):
            client.parse.Note.insert_one({"_id": number})
        pid = mongo.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        client.parse.Note.insert_one({"_id": 200})
        assert client.parse.Note.count_documents({}) == 201
        assert mongo.pid != pid


@pytest.mark.parametrize("has_socket", [False, True], ids=["at once", "while it recovers"])
def test_a_mongod_killed_while_it_starts_again_is_started_once_more(
    tmp_path: Path, has_socket: bool
) -> None:
    with EmbeddedMongo(tmp_path) as mongo, client_of(mongo) as client:
        client.parse.Note.insert_one({"_id": "kept"})
        killed = mongo.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)

        def second() -> int | None:
            is_there = mongo.pid != killed and (mongo.socket_path.exists() or not has_socket)
            return mongo.pid if is_there else None

        next_one = wait_for(second, "the second mongod")
        assert gone(killed)
        os.kill(next_one, signal.SIGKILL)
        since = time.monotonic()
        assert client.parse.Note.find_one() == {"_id": "kept"}
        assert time.monotonic() - since < PATIENCE_S / 2
        assert mongo.pid != next_one


def test_it_dies_with_a_killed_parent_and_the_next_start_recovers(
    owner: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    with pytest.raises(EmbeddedMongoError, match=f"in use by process {owner.pid}"):
        EmbeddedMongo(tmp_path).launch()
    owner.kill()
    assert gone(pid)
    with EmbeddedMongo(tmp_path) as mongo, client_of(mongo) as client:
        client.parse.Note.insert_one({})


def test_a_leftover_of_a_killed_server_is_ended(tmp_path: Path) -> None:
    left = EmbeddedMongo(tmp_path)
    left.launch()
    assert left.pid is not None
    (tmp_path / "mongod.pid").write_text(f"{left.pid} 999999999")
    with EmbeddedMongo(tmp_path) as mongo:
        assert mongo.pid != left.pid
        assert left._process is not None and left._process.wait(10) is not None


def test_a_fork_does_not_stop_it(tmp_path: Path) -> None:
    mongo = EmbeddedMongo(tmp_path)
    with mongo, client_of(mongo) as client:
        mongo._owner += 1
        mongo.stop()
        mongo._owner -= 1
        client.admin.command("ping")


def test_a_long_path_gets_a_short_private_socket(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 30)
    mongo = EmbeddedMongo(data_dir)
    assert len(os.fsencode(mongo.socket_path)) <= 107
    with mongo, client_of(mongo) as client:
        client.admin.command("ping")
        assert mongo.socket_path.parent.stat().st_mode & 0o077 == 0


def test_without_a_binary_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.shutil, "which", lambda name: None)
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedMongoError, match=r"pestle\[embedded\].*databaseURI"):
        embedded.find_mongod()


def test_a_mongod_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "mongod"
    broken.write_text(
        "#!/bin/sh\n"
        """echo '{"s":"E", "msg":"the disk is full"}' >> """
        + str(tmp_path / "mongod.log")
        + "\nexit 1\n"
    )
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedMongoError, match="the disk is full"), EmbeddedMongo(tmp_path):
        pass
