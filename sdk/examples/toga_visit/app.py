"""The app. All that it does with positions is `session.check_in`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import toga
from toga.style import Pack

from doorstep import AsyncClient, DoorstepError, LocationError, LocationProvider, Outbox, Session
from doorstep.providers import TogaProvider

PURPOSE = "visit"
#: how long the person waits for an answer before we say that it comes later
PATIENCE_S = 10.0

WORDS = {
    "accepted": "Checked in.",
    "uncertain": "That was not sure enough. Go where the sky can be seen, or ask for the QR code.",
    "rejected": "You do not seem to be at a site.",
    "queued": "Stored. It is sent when there is a network.",
    "withdrawn": "Location was switched off, so nothing is sent.",
    "expired": "It waited too long, so it does not count.",
}


class VisitApp(toga.App):
    """A code, two buttons and a line of text."""

    def __init__(
        self,
        *names: str,
        client: AsyncClient,
        provider: LocationProvider | None = None,
        outbox: Path | None = None,
    ) -> None:
        self.client = client
        self.provider = provider or TogaProvider(self)
        self.outbox = outbox
        super().__init__(*names)

    def startup(self) -> None:
        """Build the window, and the session that check-ins go through."""
        file = self.outbox or self.paths.data / "outbox.db"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.session = Session(self.client, outbox=Outbox(file), provider=self.provider)
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
        """Enroll with the code, ask for the permission, and begin to send."""
        del widget
        try:
            await self.client.device.enroll(self.code.value)
            await self.provider.request_permission()
            await self.session.resume()
        except DoorstepError as error:
            self.result.text = str(error)
            return
        self.code.value = ""
        self.check_in_button.enabled = True
        self.result.text = "Enrolled. Check in when you are there."

    async def check_in(self, widget: Any, **_: Any) -> None:
        """Check in: what is stored when it returns survives the app, and is sent when it can be."""
        del widget
        self.result.text = "Looking where you are…"
        try:
            ticket = await self.session.check_in(purpose=PURPOSE)
            state = await ticket.settled(PATIENCE_S)
            self.result.text = WORDS.get(state, state)
        except LocationError as error:
            # perhaps the permission is gone: the server must know
            await self.session.foreground()
            self.result.text = str(error)
        except DoorstepError as error:
            self.result.text = str(error)

    async def on_exit(self) -> bool:
        """The system may end the app at any time; the file is closed when it tells."""
        await self.session.suspend()
        return True
