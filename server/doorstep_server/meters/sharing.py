"""Numbers that the processes of one server share: each writes a file of its own, and all read all.

`doorstep serve` makes a folder for them, in the system's temporary one, and takes it away at its
end; what a killed one left is taken away by the next. A file holds numbers and nothing else. A
process takes over the file of one that has died, and counts on in it: so no counter ever goes back,
and there are no more files than there were processes at once.
"""

import array
import contextlib
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

if sys.platform != "win32":
    import fcntl

_PREFIX = "doorstep-meters-"
_SERVED = "served"
NUMBER_BYTES = 8


@contextlib.contextmanager
def shared_folder() -> Iterator[Path | None]:
    """A folder for the processes of one server, until the block ends; None: there can be none."""
    with contextlib.ExitStack() as held:
        folder: Path | None = None
        with contextlib.suppress(OSError):
            parent = Path(tempfile.gettempdir())
            _sweep(parent)
            made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            held.callback(shutil.rmtree, made, ignore_errors=True)
            _lock(held.enter_context((made / _SERVED).open("wb")))
            folder = made
        yield folder


def _sweep(parent: Path) -> None:
    """Take away the folders of servers that were killed."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (folder / _SERVED).open("r+b") as lock:
            if _lock(lock):
                shutil.rmtree(folder, ignore_errors=True)


def _lock(file: IO[bytes]) -> bool:
    """Hold a file as long as it is open; whether nobody else does."""
    # on Windows, where there are no such locks, a file that is open cannot be removed
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


class SharedNumbers:
    """The numbers of this process, in a file of the folder."""

    def __init__(self, folder: Path, length: int) -> None:
        self._folder = folder
        self._size = length * NUMBER_BYTES
        # open as long as the process lives: it is held by that
        self._file = self._take()
        self._map = mmap.mmap(self._file.fileno(), self._size)
        #: what is written to
        self.numbers = memoryview(self._map).cast("d")

    def _take(self) -> IO[bytes]:
        """The first file that nobody holds, or a new one."""
        number = os.getpid() if sys.platform == "win32" else 0
        while True:
            file = (self._folder / f"{number}.numbers").open("a+b")
            if _lock(file):
                # written, not only made as long: a process that writes into a hole of a map is
                # killed where the disk is full
                file.write(bytes(max(0, self._size - os.fstat(file.fileno()).st_size)))
                file.flush()
                return file
            file.close()
            number += 1

    def all(self) -> list[Sequence[float]]:
        """The numbers of every process, in the order of their files; of dead ones, too."""
        files = sorted(self._folder.glob("*.numbers"), key=lambda file: int(file.stem))
        return [array.array("d", file.read_bytes()[: self._size]) for file in files]

    def close(self) -> None:
        """Hold the file no more."""
        self.numbers.release()
        self._map.close()
        self._file.close()


class OwnNumbers:
    """The numbers of a process that shares them with nobody."""

    def __init__(self, length: int) -> None:
        self.numbers = array.array("d", bytes(length * NUMBER_BYTES))

    def all(self) -> list[Sequence[float]]:
        """Those of this process."""
        return [self.numbers]

    def close(self) -> None:
        """Nothing is held."""
