"""What serving costs: processors of one's own, CPU time, memory, and the machine they are of."""

import os
import platform
import re
import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

#: what the figures depend on, beside the machine
_PACKAGES = ("litestar", "msgspec", "uvicorn", "uvloop", "httptools", "sqlalchemy", "asyncpg")

#: the core of what serves, and the generator's; None where processes cannot be told
Pinned = tuple[int, int] | None


def cores() -> Pinned:
    """The first and the last that this process may use."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[-1]) if len(allowed) > 1 else None


def pin(pinned: Pinned, which: int) -> None:
    """From now on, this process, and those that it starts."""
    if pinned is not None:
        os.sched_setaffinity(0, {pinned[which]})


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What was used up to some moment, in seconds; None where the system does not tell."""

    wall: float
    generator: float
    server: float | None
    database: float | None
    #: how long the cores idled: the one of what serves, and the generator's
    idle: tuple[float, float] | None


def spent(server_pid: int, database_pid: int | None, pinned: Pinned) -> Spent:
    """Until now."""
    return Spent(
        wall=time.perf_counter(),
        generator=time.process_time() + _ended_children_s(),
        server=_cpu_s(server_pid),
        database=_cpu_s(database_pid) if database_pid else None,
        idle=(_idle_s(pinned[0]), _idle_s(pinned[1])) if pinned else None,
    )


def _ended_children_s() -> float:
    """Of programs that this one ran."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _stat(pid: int | str) -> list[int]:
    """Of a process: its parent, and the ticks that it used and that its ended children did."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(fields[i]) for i in (1, 11, 12, 13, 14)]


def _cpu_s(pid: int) -> float | None:
    """CPU seconds of a process and of all the children it has and had."""
    ticks = 0
    try:
        ticks += sum(_stat(pid)[1:])
    except OSError:
        return None
    for user, system in _of_children(pid):
        ticks += user + system
    return ticks / os.sysconf("SC_CLK_TCK")


def _of_children(pid: int) -> Iterator[tuple[int, int]]:
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent, user, system, *_ = _stat(path.name)
            if parent == pid:
                yield user, system


def _idle_s(core: int) -> float:
    found = re.search(rf"^cpu{core} (.*)$", Path("/proc/stat").read_text(), re.MULTILINE)
    assert found is not None
    # idle, and waiting for a disk
    return sum(map(int, found[1].split()[3:5])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float | None:
    """How much memory a process holds."""
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return None


# --- the machine ---------------------------------------------------------------------------------


def machine(folder: Path) -> dict[str, str]:
    """The machine and the versions."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores, load {load()} at the beginning",
        "system": f"{platform.system()} {platform.release()}",
        "disk": f"{_sync_ms(folder):.2f} ms to write 8 KiB and wait for the disk (median)",
        "Python": ", ".join(
            [platform.python_version(), *(f"{name} {version(name)}" for name in _PACKAGES)]
        ),
        "SQLite": f"{sqlite3.sqlite_version}, WAL, synchronous = FULL",
    }


def load() -> str:
    """How busy the machine is."""
    return f"{os.getloadavg()[0]:.2f}"


def _processor() -> str:
    with suppress(OSError):
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found is not None:
            return found[1]
    return platform.processor() or platform.machine()


def _sync_ms(folder: Path) -> float:
    """What each commit waits for at least."""
    took = []
    with (folder / "probe").open("wb", buffering=0) as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(bytes(8192))
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return median(took)
