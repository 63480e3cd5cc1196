"""The person's own switch in the app: an empty file beside the outbox, there while it is off.

Not in the database, since a corrupt one must not switch on what a person has switched off.
"""

# ruff: noqa: PTH108, PTH110, PTH120 (pathlib is slow to import: an app waits for its outbox)

from __future__ import annotations

import os


class Switch:
    """On unless its file is there."""

    def __init__(self, outbox_path: str) -> None:
        self._path = f"{outbox_path}.off"

    @property
    def is_off(self) -> bool:
        return os.path.exists(self._path)

    def turn(self, *, off: bool) -> None:
        """On the disk when this returns."""
        if off:
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600))
        elif self.is_off:
            os.unlink(self._path)
        _sync_folder(os.path.dirname(self._path) or os.curdir)


def _sync_folder(path: str) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
