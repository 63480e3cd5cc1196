"""What an app holds of a check-in that it has made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date

from doorstep._answers import CheckIn
from doorstep._tickets import ProvisionalVerdict, TicketStatus

#: another process may send what this one has stored: then only the file tells
_LOOK_AGAIN_S = 1.0


class Ticket:
    """A check-in that is stored on the device. Sent or not, it holds no position."""

    def __init__(
        self, status: TicketStatus, look: Callable[[str], Awaitable[TicketStatus | None]]
    ) -> None:
        self._status = status
        self._look = look
        self._settled = asyncio.Event()
        self._check_in: CheckIn | None = None
        self._provisional = status.provisional
        if status.is_settled:
            self._settled.set()

    @property
    def id(self) -> str:
        """The check-in's."""
        return self._status.id

    @property
    def state(self) -> str:
        """queued; accepted, uncertain, rejected by the server; expired, withdrawn or failed."""
        return self._status.state

    @property
    def reason(self) -> str | None:
        """Why, in one stable word: the server's, or the outbox's."""
        return self._status.reason

    @property
    def time_confidence(self) -> str:
        """low when the phone was restarted in between: then only its wall clock tells the age."""
        return self._status.time_confidence

    @property
    def expires_on(self) -> date | None:
        """The day on which the server forgets it."""
        return self._status.expires_on

    @property
    def decision(self) -> str | None:
        """Sealed for the business, when nothing was stored: show it in a review request."""
        return self._status.decision

    @property
    def request_id(self) -> str | None:
        """Names the request in the server's logs."""
        return self._status.request_id

    @property
    def provisional(self) -> ProvisionalVerdict | None:
        """What this device found, for a purpose that devices judge for; the server may differ.

        There at once, also offline. None where the server judges, where this device has no sites
        yet, and of a ticket that was found again after it was settled.
        """
        return self._provisional

    @property
    def check_in(self) -> CheckIn | None:
        """The whole answer, if it came while this ticket was held."""
        return self._check_in

    async def settled(self, timeout_s: float = 10.0) -> str:
        """Wait until it is known what became of it, or for so long; gives the state."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._status.is_settled:
                    await self._wait()
        except TimeoutError:
            pass
        return self.state

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_AGAIN_S):
                await self._settled.wait()
        except TimeoutError:
            found = await self._look(self.id)
            if found is not None:
                self._take(found)

    def _take(self, status: TicketStatus) -> None:
        if not self._status.is_settled:
            self._status = status
        if status.is_settled:
            self._settled.set()

    def _deliver(self, check_in: CheckIn) -> None:
        self._check_in = check_in

    def __repr__(self) -> str:
        return f"<Ticket {self.id} {self.state}>"
