"""Runs the Kivy example as it is, in a window that nobody sees, and presses its buttons.

Prints as JSON what the app showed, and the outcomes that the server stored.
"""

import json
import os
import runpy

os.environ |= {"SDL_VIDEODRIVER": "offscreen", "KIVY_NO_ARGS": "1", "KIVY_NO_FILELOG": "1"}

from kivy.app import App
from kivy.clock import Clock
from kivy.uix.button import Button

import doorstep
from doorstep import AsyncClient, Fix, providers
from doorstep.testing import FakeServer

HERE = {"lat": 52.3702157, "lon": 4.8951679}
server = FakeServer()
server.add_site(**HERE)
shown = []


def press(label):
    app = App.get_running_app()
    [button] = [one for one in app.root.children if isinstance(one, Button) and one.text == label]
    button.dispatch("on_press")


def go_on(_, text):
    shown.append(text)
    if text.startswith("Enrolled"):
        press("Check in")
    else:
        App.get_running_app().stop()


def begin(_):
    app = App.get_running_app()
    app.code.text = server.code()
    app.result.bind(text=go_on)
    press("Enroll")


doorstep.AsyncClient = lambda _: AsyncClient(server.url, transport=server.async_transport())
providers.PlyerProvider = lambda: providers.FakeProvider([Fix.now(**HERE, accuracy_m=8.0)])
Clock.schedule_once(begin, 0)
runpy.run_module("kivy_visit", run_name="__main__")
print(json.dumps({"shown": shown, "stored": [one["outcome"] for one in server.stored()]}))
