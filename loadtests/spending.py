"""Where the CPU of a check-in goes, module by module, in a server under load.

    PYTHONPATH=tests python loadtests/spending.py --database sqlite

The server is the one that `bench.py` measures, with a look at its threads after each millisecond of
CPU. What was used since the last look goes to the innermost module of ours, else to the package, in
which a thread is then. So by a module stands what it does itself and what it has done by others
than us: by the driver, by msgspec, by the operating system. Python looks when a function begins, so
what was done just before stands by that: take neighbours together. Threads beside the event loop
are seen where they let others run. What looking itself costs is left out.
"""

import argparse
import json
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import contenders as servers
import postgres
from bench import DURABLE
from contenders import Contender, Running, started
from costs import cores, pin
from deployed import Deployed
from doorstep_server.cli import main as doorstep
from doorstep_server.settings import Settings
from driving import HOST
from rounds import Generator, Load

EVERY_S = 0.001
_OURS = ("doorstep_server", "doorstep_geofences")
#: where a thread waits for work
_WAITING = frozenset({"threading.py", "thread.py", "queue.py", "selectors.py"})
_LOOP, _OTHERS = "event loop", "other threads"
#: what a thread used that waits again
_DONE = "done by now"
#: what runs the event loop: in every one of its frames
_RUNNING = "doorstep_server.cli.serving"


# --- in the server ---------------------------------------------------------------------------


@dataclass(slots=True)
class Looks:
    """What was seen: seconds of CPU, by thread and module."""

    out: Path
    found: dict[str, Counter[str]] = field(
        default_factory=lambda: {_LOOP: Counter(), _OTHERS: Counter()}
    )
    loop_s: float = 0.0
    all_s: float = 0.0

    def begin(self, *_: object) -> None:
        """Look from now on."""
        self._note_used()
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def end(self, *_: object) -> None:
        """Write down what was seen."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.out.write_text(json.dumps(self.found))

    def look(self, _: int, frame: FrameType | None) -> None:
        """At what each thread does; in the main thread, which runs the event loop."""
        loop_s = time.thread_time() - self.loop_s
        others_s = time.process_time() - self.all_s - loop_s
        if frame is not None:
            self.found[_LOOP][module_of(frame)] += loop_s
        busy = list(_busy()) or [_DONE]
        for module in busy:
            self.found[_OTHERS][module] += others_s / len(busy)
        self._note_used()

    def _note_used(self) -> None:
        self.loop_s, self.all_s = time.thread_time(), time.process_time()


def _busy() -> Iterator[str]:
    for thread, frame in sys._current_frames().items():  # noqa: SLF001 - it is what there is for it
        is_loop = thread == threading.main_thread().ident
        if not is_loop and Path(frame.f_code.co_filename).name not in _WAITING:
            yield module_of(frame)


def module_of(frame: FrameType) -> str:
    """The innermost module of ours; else the innermost package that is not Python's."""
    package = ""
    for name in _names(frame):
        if name.partition(".")[0] in _OURS:
            return name
        package = package or name.partition(".")[0]
    return package


def _names(frame: FrameType) -> Iterator[str]:
    at: FrameType | None = frame
    while at is not None:
        name = str(at.f_globals.get("__name__", ""))
        if name == _RUNNING:
            return
        if name.partition(".")[0] not in sys.stdlib_module_names:
            yield name
        at = at.f_back


def serve(home: str, port: str, out: str) -> None:
    """`doorstep serve`, looked at between two signals."""
    looks = Looks(Path(out))
    signal.signal(signal.SIGUSR1, looks.begin)
    signal.signal(signal.SIGUSR2, looks.end)
    signal.signal(signal.SIGPROF, looks.look)
    doorstep(["--home", home, "serve", "--host", HOST, "--port", port])


# --- beside it -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Spending:
    """Microseconds a check-in."""

    check_ins: int
    rate: float
    by_module: dict[str, dict[str, float]]


def spending(contender: Contender, folder: Path, out: Path, load: Load, seconds: float) -> Spending:
    """Of a server under load. Raises `ServerEnded`."""
    pinned = cores()
    generator = Generator(pinned=pinned)
    pin(pinned, 0)
    with started(contender, folder) as running:
        pin(pinned, 1)
        generator.round(running, load, seconds)
        running.process.send_signal(signal.SIGUSR1)
        turn = generator.round(running, load, seconds)
        found = _told(running, out)
    if contender.failures or not turn.check_ins:
        raise SystemExit(f"Not all were accepted: {dict(contender.failures)}")
    by_module = {
        thread: {module: used / turn.check_ins * 1e6 for module, used in modules.items()}
        for thread, modules in found.items()
    }
    return Spending(check_ins=turn.check_ins, rate=turn.rate, by_module=by_module)


def _told(running: Running, out: Path) -> dict[str, dict[str, float]]:
    """What the server wrote down; it does so before it stops."""
    running.process.send_signal(signal.SIGUSR2)
    running.process.terminate()
    running.process.wait()
    found: dict[str, dict[str, float]] = json.loads(out.read_text())
    return found


def table(found: Spending, least_us: float) -> Iterator[str]:
    """As Markdown; modules that take less go together."""
    for thread, modules in found.by_module.items():
        total = sum(modules.values())
        yield f"| {thread} | {total:.0f} µs |"
        yield "|---|---|"
        shown = {name: us for name, us in modules.items() if us >= least_us}
        for name, us in sorted(shown.items(), key=lambda one: -one[1]):
            yield f"| {name} | {us:.0f} |"
        yield f"| others | {total - sum(shown.values()):.0f} |"
        yield ""


@contextmanager
def deployment(database: str, folder: Path) -> Iterator[Deployed]:
    """Made for this."""
    settings = Settings(home=folder / "home")
    if database == "sqlite":
        yield Deployed(settings=settings)
        return
    with postgres.Cluster(DURABLE) as cluster, postgres.Server(cluster.url()) as server:
        made = server.new_database()
        urls = {"database_url": made.url, "admin_database_url": made.admin_url}
        yield Deployed(settings=replace(settings, **urls))


def main() -> None:
    """Deploy, load, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--devices", type=int, default=1_000)
    parser.add_argument("--sites", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=1, help="check-ins of a request")
    parser.add_argument("--least-us", type=float, default=5.0, help="that a module is shown")
    chosen = parser.parse_args()
    load = Load(name="single", size=chosen.size, connections=chosen.connections, is_claimed=True)
    with (
        tempfile.TemporaryDirectory() as name,
        deployment(chosen.database, folder := Path(name)) as deployed,
    ):
        deployed.furnish(chosen.devices, chosen.sites)
        out = folder / "spending.json"
        home, program = str(deployed.settings.home), str(Path(__file__).absolute())
        contender = replace(
            servers.doorstep(chosen.database, deployed),
            program=(program, "--serve", home, servers.PORT, str(out)),
        )
        found = spending(contender, folder, out, load, chosen.seconds)
    print(f"{found.check_ins} check-ins, {found.rate:.0f} a second\n")
    print("\n".join(table(found, chosen.least_us)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        main()
