"""The app. All that it does with positions is in `VisitApp.check_in`."""

from __future__ import annotations

from typing import Any

import toga
from toga.style import Pack

from doorstep import AsyncClient, DoorstepError, LocationError, LocationProvider, PermissionUnknown
from doorstep.providers import TogaProvider

PURPOSE = "visit"
#: how old a position may be, and how long the person waits for one
FRESH_S, PATIENCE_S = 30.0, 20.0

WORDS = {
    "accepted": "Checked in.",
    "uncertain": "That was not sure enough. Go where the sky can be seen, or ask for the QR code.",
    "rejected": "You do not seem to be at a site.",
}


class VisitApp(toga.App):
    """A code, two buttons and a line of text."""

    def __init__(
        self,
        *names: str,
        client: AsyncClient,
        provider: LocationProvider | None = None,
    ) -> None:
        self.client = client
        self.provider = provider or TogaProvider(self)
        super().__init__(*names)

    def startup(self) -> None:
        """Build the window."""
        self.code = toga.TextInput(placeholder="Your code")
        self.enroll_button = toga.Button("Enroll", on_press=self.enroll)
        self.check_in_button = toga.Button("Check in", on_press=self.check_in, enabled=False)
        self.result = toga.Label("Enter the code that you were given.")
        column = Pack(direction="column", margin=20, gap=10)
        children = [self.code, self.enroll_button, self.check_in_button, self.result]
        self.main_window = toga.MainWindow(title=self.formal_name)
        self.main_window.content = toga.Box(children=children, style=column)
        self.main_window.show()

    async def enroll(self, widget: Any, **_: Any) -> None:
        """Enroll with the code, and ask for the permission."""
        del widget
        try:
            await self.client.device.enroll(self.code.value)
            state = await self.provider.request_permission()
            await self.client.permission.report(state)
        except DoorstepError as error:
            self.result.text = str(error)
            return
        self.code.value = ""
        self.check_in_button.enabled = True
        self.result.text = "Enrolled. Check in when you are there."

    async def check_in(self, widget: Any, **_: Any) -> None:
        """Take a position, check in with it, and forget it.

        With `doorstep.Session` this is `await session.check_in(purpose=PURPOSE)`: the same, and it
        goes on offline, and after the app was closed.
        """
        del widget
        self.result.text = "Looking where you are…"
        try:
            self.result.text = await self._checked_in()
        except LocationError as error:
            # perhaps the permission is gone: the server must know
            await self._report()
            self.result.text = str(error)
        except DoorstepError as error:
            self.result.text = str(error)

    async def _checked_in(self) -> str:
        fix = await self.provider.current(max_age_s=FRESH_S, timeout_s=PATIENCE_S)
        try:
            answer = await self.client.check_ins.create(purpose=PURPOSE, fix=fix)
        except PermissionUnknown:
            await self._report()
            answer = await self.client.check_ins.create(purpose=PURPOSE, fix=fix)
        return WORDS.get(answer.outcome, answer.outcome)

    async def _report(self) -> None:
        await self.client.permission.report(await self.provider.permission())
