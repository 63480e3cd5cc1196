"""What the terminal shows: a live table, or a line for each check-in where there is no terminal."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from doorstep_server.demo.events import REFUSED, Told, Totals, stored_text

TITLE = "DEMO – simulated people, made-up customers, nothing here is real"
_COLOURS = {
    "accepted": "green",
    "uncertain": "yellow",
    "rejected": "red",
    REFUSED: "magenta",
}
_WIDE = ("time", "phone", "claimed", "fix, and the truth", "verdict", "reason", "stored")
_NARROW = ("phone", "claimed", "fix, and the truth", "verdict, reason", "kept")
#: columns of the terminal
_WIDE_FROM = 120
_REDRAW_S = 0.1
#: lines around the table: header, the last record in full, and the invitation
_OTHER_LINES = 27
_FEWEST_ROWS, _MOST_ROWS = 5, 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Heading:
    """What stands above."""

    docs_url: str
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The lines below the title."""
        return [f"API documentation: {self.docs_url}", *self.notes, "Ctrl-C ends it."]


class Screen(Protocol):
    """Where a run is shown."""

    def invite(self, lines: Sequence[str]) -> None:
        """Show how to check in yourself."""

    def show(self, event: Told) -> None:
        """Show one more event."""

    def close(self) -> None:
        """End the display; what was shown last stays."""


def screen(console: Console, heading: Heading, totals: Totals) -> Screen:
    """The screen that suits where the output goes."""
    if console.is_terminal and not console.is_dumb_terminal:
        return Board(console, heading, totals)
    return Lines(console, heading)


class Lines:
    """One line for each check-in."""

    def __init__(self, console: Console, heading: Heading) -> None:
        self._console = console
        for line in [TITLE, *heading.lines()]:
            self._print(line)

    def invite(self, lines: Sequence[str]) -> None:
        """Print them."""
        for line in lines:
            self._print(line)
        self._print("")

    def show(self, event: Told) -> None:
        """Print it."""
        verdict = f"{event.verdict}: {event.reason}" if event.verdict else ""
        stored = f"stored {stored_text(event)}" if event.verdict else ""
        marks = ", ".join(event.marks)
        parts = [event.claimed, event.fix, verdict, stored, marks]
        told = " | ".join(part for part in parts if part)
        self._print(f"{event.at:%H:%M:%S} {event.phone} | {told}")

    def close(self) -> None:
        """Nothing to end."""

    def _print(self, line: str) -> None:
        print(line, file=self._console.file, flush=True)


class Board:
    """A table that lives."""

    def __init__(self, console: Console, heading: Heading, totals: Totals) -> None:
        self._console = console
        self._heading = heading
        self._totals = totals
        self._rows: deque[Told] = deque(maxlen=_MOST_ROWS)
        self._invitation: Sequence[str] = ()
        self._drawn = 0.0
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._live.start()

    def invite(self, lines: Sequence[str]) -> None:
        """Show them below the table."""
        self._invitation = lines
        self._draw()

    def show(self, event: Told) -> None:
        """Add a row."""
        self._rows.append(event)
        if time.monotonic() > self._drawn + _REDRAW_S:
            self._draw()

    def close(self) -> None:
        """Leave the last state standing."""
        self._draw()
        self._live.stop()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._live.update(self.renderable(), refresh=True)

    def renderable(self) -> RenderableType:
        """Everything that is shown."""
        head = Text("\n".join(self._heading.lines()))
        head.append(f"\n{self._totals.text()}", style="bold")
        parts: list[RenderableType] = [Panel(head, title=TITLE, style="cyan"), self._table()]
        if (last := self._last()) is not None:
            title = f"exactly what was stored of {last.phone}'s check-in"
            parts.append(Panel(Text(stored_text(last)), title=title, border_style="dim"))
        parts.append(Text("\n".join(self._invitation), no_wrap=True, overflow="ignore"))
        return Group(*parts)

    def _last(self) -> Told | None:
        return next((event for event in reversed(self._rows) if event.verdict), None)

    def _table(self) -> Table:
        columns = _WIDE if self._console.size.width >= _WIDE_FROM else _NARROW
        table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
        for name in columns:
            # what is claimed takes the room that is left
            ratio = 1 if name == "claimed" else None
            table.add_column(name, no_wrap=True, ratio=ratio, overflow="ellipsis")
        room = self._console.size.height - _OTHER_LINES
        for event in list(self._rows)[-max(_FEWEST_ROWS, room) :]:
            cells = _cells(event)
            table.add_row(*(cells[name] for name in columns))
        return table


def _cells(event: Told) -> dict[str, Text]:
    colour = _COLOURS.get(event.verdict, "dim")
    verdict = " ".join([event.verdict, *(f"({mark})" for mark in event.marks)])
    return {
        "time": Text(f"{event.at:%H:%M:%S}", style="dim"),
        "phone": Text(event.phone),
        "claimed": Text(
            event.claimed.removesuffix(" (demo)"), style="" if event.verdict else "magenta"
        ),
        "fix, and the truth": Text(event.fix),
        "verdict": Text(verdict, style=colour),
        "reason": Text(event.reason, style=colour),
        "verdict, reason": Text(f"{verdict} {event.reason}", style=colour),
        "stored": Text(_kept(event), style="dim"),
        "kept": Text(event.level, style="dim"),
    }


def _kept(event: Told) -> str:
    """The level, and until when; the panel below the table tells every field."""
    if not event.verdict:
        return ""
    expires_on = event.stored.get("expires_on")
    if expires_on is None:
        return f"{event.level}: only counted" if event.level else "nothing"
    return f"{event.level}, until {expires_on}"
