"""The command line in processes that are forked, not started anew, and that may kill themselves.

What is imported once need not be imported for each of many commands. A command may be told the
moment at which it ends as by `kill -9`: moments are what it does to its files and its database,
each statement, each commit and whatever comes after a commit, counted from 1.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from forking import import_all

#: an exit status that no command has; what went wrong with this program itself
BROKEN = 99


@dataclass(frozen=True)
class Done:
    """What became of a command."""

    #: as of `subprocess`: negative where a signal ended it
    status: int
    output: str
    #: how many moments it had
    moments: int


class Commands:
    """Runs commands, one after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(
        self, home: Path, *arguments: str, where: Mapping[str, str], until: int | None = None
    ) -> Done:
        """One command; it does not live to see the moment `until`."""
        order = {"arguments": ["--home", str(home), *arguments], "where": dict(where)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({**order, "until": until}), file=self._process.stdin, flush=True)
        return Done(**json.loads(self._process.stdout.readline()))


@contextmanager
def commands() -> Iterator[Commands]:
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Commands(process)


# --- in the process that forks -------------------------------------------------------------------


def main() -> None:
    import_all()
    for line in sys.stdin:
        order = json.loads(line)
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as count:
            child = os.fork()
            if child == 0:
                _be(order, output, count)
            _, status = os.waitpid(child, 0)
            output.seek(0)
            count.seek(0)
            answer = {
                "status": os.waitstatus_to_exitcode(status),
                "output": output.read(),
                "moments": len(count.read()),
            }
        print(json.dumps(answer), flush=True)


def _be(order: Mapping[str, Any], output: IO[str], count: IO[str]) -> None:
    """The forked child becomes the command."""
    try:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        os.environ.update(order["where"])
        _count(count, order["until"])
        from doorstep_server.cli import main as doorstep  # noqa: PLC0415

        doorstep(order["arguments"])
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:  # noqa: BLE001 - the parent's loop must not go on in the child
        traceback.print_exc()
    os._exit(BROKEN)


def _count(count: IO[str], until: int | None) -> None:
    """Moments: statements, commits, and what SQLite and the keyring do to files."""
    from sqlalchemy import Engine, event  # noqa: PLC0415
    from sqlalchemy.pool import Pool  # noqa: PLC0415

    from doorstep_server.store import driver  # noqa: PLC0415

    passed = 0

    def moment(*_: object) -> None:
        nonlocal passed
        passed += 1
        os.write(count.fileno(), b".")
        if passed == until:
            os.kill(os.getpid(), signal.SIGKILL)

    def audited(name: str, arguments: tuple[object, ...]) -> None:
        opened = name == "open" and str(arguments[0]).endswith("keyring.db")
        if opened or name == "sqlite3.connect":
            moment()

    for what in ("before_cursor_execute", "commit"):
        event.listen(Engine, what, moment)
    # given back when it has been committed
    event.listen(Pool, "checkin", moment)
    # what is said to the driver itself
    for name in ("fetch", "write"):
        setattr(driver, name, _after(moment, getattr(driver, name)))
    sys.addaudithook(audited)


def _after(moment: Callable[[], None], said: Callable[..., Any]) -> Callable[..., Any]:
    def saying(*what: Any) -> Any:
        moment()
        return said(*what)

    return saying


if __name__ == "__main__":
    main()
