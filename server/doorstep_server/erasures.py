"""Erasures in a server: asked for by requests, finished beside them, and again at each start."""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from uuid import UUID

from doorstep_server import logs
from doorstep_server.erasing import Eraser, new_erasure, public_key
from doorstep_server.keyring import KeyringUnusable
from doorstep_server.meters import Meters
from doorstep_server.store.database import DatabaseUnavailable
from doorstep_server.store.people import Erasure

#: what could not be finished is tried again this often
EVERY_S = 30.0


class Erasures:
    """The erasures of a deployment, in one process of its."""

    def __init__(self, eraser: Eraser, now: Callable[[], datetime], meters: Meters) -> None:
        self.eraser = eraser
        self._meters = meters
        self._now = now
        self._asked = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    def begin(self) -> None:
        """One was asked for: it is finished as soon as may be."""
        self._asked.set()

    async def finish(self) -> None:
        """Finish what was begun; what cannot be done now is told and stays to be done."""
        async with self._one_at_a_time:
            try:
                done = await asyncio.to_thread(self.eraser.finish_all, self._now().date())
            except DatabaseUnavailable as error:
                self._meters.erasure_runs.add("put-off")
                logs.event("erasure-put-off", level=logging.WARNING, cause=error.code)
            except KeyringUnusable as error:
                self._meters.erasure_runs.add("failed")
                self._meters.keyring_failures.add()
                logs.failure(error)
            else:
                self._meters.erasure_runs.add("done")
                self._meters.erasures.add(count=done)
                if done:
                    logs.event("erased", subjects_erased=done)

    async def keep_finishing(self) -> None:
        """Finish what is asked for, and what was left, until cancelled."""
        while True:
            wait_s = EVERY_S * random.uniform(0.8, 1.2)  # noqa: S311
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), wait_s)
            self._asked.clear()
            try:
                await self.finish()
            except Exception as error:  # noqa: BLE001 - the next must be finished, whatever happened
                logs.failure(error)

    def public_key(self) -> str:
        """What deletion receipts are checked with. Waits, so not in the event loop."""
        return public_key(self.eraser.keyring)

    def wanted(self, subject_id: UUID) -> Erasure:
        """An erasure to begin."""
        return new_erasure(subject_id, self._now().date())
