"""What the app does, without a window: each call gives the words to show."""

from __future__ import annotations

from doorstep import AsyncClient, DoorstepError, LocationError, LocationProvider

PURPOSE = "visit"
#: how old a position may be, and how long the person waits for one
FRESH_S, PATIENCE_S = 30.0, 20.0

WORDS = {
    "accepted": "Checked in.",
    "uncertain": "That was not sure enough. Go where the sky can be seen, or ask for the QR code.",
    "rejected": "You do not seem to be at a site.",
}


class Visits:
    """Enrolling and checking in."""

    def __init__(self, client: AsyncClient, provider: LocationProvider) -> None:
        self._client = client
        self._provider = provider

    async def enroll(self, code: str) -> str:
        """Enroll with a code, and ask for the permission."""
        try:
            await self._client.device.enroll(code)
            state = await self._provider.request_permission()
            await self._client.permission.report(state)
        except DoorstepError as error:
            return str(error)
        return "Enrolled. Check in when you are there."

    async def check_in(self) -> str:
        """Take a position, check in with it, and forget it.

        With `doorstep.Session` this is `await session.check_in(purpose=PURPOSE)`: the same, and it
        goes on offline, and after the app was closed.
        """
        try:
            fix = await self._provider.current(max_age_s=FRESH_S, timeout_s=PATIENCE_S)
            answer = await self._client.check_ins.create(purpose=PURPOSE, fix=fix)
        except LocationError as error:
            # perhaps the permission is gone: the server must know
            await self._client.permission.report(await self._provider.permission())
            return str(error)
        except DoorstepError as error:
            return str(error)
        return WORDS.get(answer.outcome, answer.outcome)
