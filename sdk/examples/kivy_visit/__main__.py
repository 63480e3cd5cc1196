"""`python -m kivy_visit`: the window; what it does is in `visits`."""

import asyncio
import os
from collections.abc import Coroutine
from threading import Thread
from typing import Any

from kivy.app import App
from kivy.clock import Clock
from kivy.uix.boxlayout import BoxLayout
from kivy.uix.button import Button
from kivy.uix.label import Label
from kivy.uix.textinput import TextInput

from doorstep import AsyncClient
from doorstep.providers import PlyerProvider
from kivy_visit.visits import Visits


class VisitApp(App):
    """A code, two buttons and a line of text. An event loop runs beside Kivy's own."""

    def build(self) -> BoxLayout:
        """The window."""
        self.loop = asyncio.new_event_loop()
        Thread(target=self.loop.run_forever, daemon=True).start()
        url = os.environ.get("DOORSTEP_URL", "http://127.0.0.1:8000")
        self.visits = Visits(AsyncClient(url), PlyerProvider())
        self.code = TextInput(hint_text="Your code", multiline=False)
        self.result = Label(text="Enter the code that you were given.")
        window = BoxLayout(orientation="vertical")
        window.add_widget(self.code)
        window.add_widget(Button(text="Enroll", on_press=self.enroll))
        window.add_widget(Button(text="Check in", on_press=self.check_in))
        window.add_widget(self.result)
        return window

    def enroll(self, _: Any) -> None:
        """A press of the first button."""
        self.tell(self.visits.enroll(self.code.text))

    def check_in(self, _: Any) -> None:
        """A press of the second."""
        self.tell(self.visits.check_in())

    def tell(self, work: Coroutine[Any, Any, str]) -> None:
        """Run it in the event loop, and show what comes of it in Kivy's."""

        def show(done: Any) -> None:
            text = done.result()
            Clock.schedule_once(lambda _: setattr(self.result, "text", text))

        asyncio.run_coroutine_threadsafe(work, self.loop).add_done_callback(show)


VisitApp().run()
