"""What processes cost: CPU time and memory of a whole process tree, from /proc (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def tree(root: int) -> set[int]:
    """``root`` and all its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                parents[int(entry.name)] = int(fields[1])
    found = {root}
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def cpu_seconds(pids: set[int]) -> float:
    """User and system time so far, ended threads included."""
    return sum(
        (int(fields[11]) + int(fields[12])) * _TICK_S for pid in pids if (fields := _stat(pid))
    )


def memory_mb(pids: set[int]) -> float:
    """Resident memory; pages that processes share are counted once (PSS)."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line[:4] == "Pss:")
    return total / 1024


def process_of_connection(port: int, client_port: int, pids: set[int]) -> int | None:
    """The process that holds the server's end of a loopback connection."""
    wanted = (f"0100007F:{port:04X}", f"0100007F:{client_port:04X}")
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if (fields[1], fields[2]) == wanted:
            link = f"socket:[{fields[9]}]"
            return next((pid for pid in sorted(pids) if link in _open_files(pid)), None)
    return None


def _open_files(pid: int) -> set[str]:
    found = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            found.add(os.readlink(entry))
    except OSError:
        pass
    return found


def _stat(pid: int) -> list[str]:
    """The fields after the name: state, parent, ...; none when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
