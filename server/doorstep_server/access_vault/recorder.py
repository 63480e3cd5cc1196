"""Writes accesses into the vault, in a thread of its own: no request waits for it or fails."""

import logging
import queue
import threading
from collections.abc import Callable
from datetime import date, datetime

from doorstep_server import logs
from doorstep_server.access_vault.entries import Access
from doorstep_server.access_vault.key import VaultUnusable
from doorstep_server.access_vault.vault import AccessVault

#: at 1,000 requests a second, ten seconds in which the disk may not answer
CAPACITY = 10_000
GROUP_LIMIT = 1_000
#: how often what is too old is looked for while nothing happens
EVERY_S = 3600.0


class Recorder:
    """A bounded queue before the vault. What finds no room, or cannot be written, is counted."""

    def __init__(
        self,
        vault: AccessVault,
        now: Callable[[], datetime],
        *,
        capacity: int = CAPACITY,
        every_s: float = EVERY_S,
    ) -> None:
        self._vault = vault
        self._now = now
        self._every_s = every_s
        #: None: no more will come
        self._waiting: queue.Queue[Access | None] = queue.Queue(capacity)
        self._dropped = 0
        self._counting = threading.Lock()
        self._expired_on: date | None = None
        self._thread = threading.Thread(target=self._work, name="access-vault", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def record(self, access: Access) -> None:
        """Have an access written, if there is room; never waits."""
        try:
            self._waiting.put_nowait(access)
        except queue.Full:
            self._drop(1)

    def close(self) -> None:
        """Return when all that waits is written."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def _work(self) -> None:
        is_open = True
        while is_open:
            self._expire()
            group, is_open = self._next_group()
            self._write(group)
            self._tell_dropped()

    def _next_group(self) -> tuple[list[Access], bool]:
        """All that waits, up to a number; and whether more may come."""
        group: list[Access] = []
        timeout: float | None = self._every_s
        while len(group) < GROUP_LIMIT:
            try:
                access = self._waiting.get(block=timeout is not None, timeout=timeout)
            except queue.Empty:
                break
            if access is None:
                return group, False
            group.append(access)
            timeout = None
        return group, True

    def _write(self, group: list[Access]) -> None:
        if not group:
            return
        try:
            self._vault.append(group)
        except VaultUnusable:
            self._drop(len(group))
        except Exception as error:  # noqa: BLE001 - the next group must come, whatever happened
            logs.failure(error)
            self._drop(len(group))

    def _expire(self) -> None:
        """Once a day, and again until it is done."""
        today = self._now().date()
        if today == self._expired_on:
            return
        try:
            if self._vault.expire(today):
                self._expired_on = today
        except Exception as error:  # noqa: BLE001 - accesses must be written all the same
            logs.failure(error)

    def _drop(self, count: int) -> None:
        with self._counting:
            self._dropped += count

    def _tell_dropped(self) -> None:
        with self._counting:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            logs.event("accesses-not-kept", level=logging.WARNING, accesses_dropped=dropped)
