"""Positions of check-ins that were judged here: in memory, and nowhere else.

A verdict may have to be found anew while it waits: where a site has changed since, or where fresher
sites may say more. That is so for as long as this process runs; the file holds verdicts alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from doorstep._check_in import JudgedCheckIn, NewCheckIn
from doorstep._value import Unpicklable

_MOST = 1000


class Positions(Unpicklable):
    """What was captured, by the check-in's id, until it is answered or may not be used any more."""

    def __init__(self) -> None:
        self._kept: dict[str, NewCheckIn] = {}
        #: the server may have taken what was said of these: a repetition must say the same
        self._sent: set[str] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"<{len(self)} positions>"

    def ids(self) -> frozenset[str]:
        """Of which check-ins there are any."""
        return frozenset(self._kept)

    def keep(self, new: NewCheckIn) -> None:
        """Hold one more; beyond a thousand the oldest goes."""
        self._kept[new.id] = new
        if len(self._kept) > _MOST:
            self.forget(next(iter(self._kept)))

    def of(self, id_: str) -> NewCheckIn | None:
        """The check-in with its position, if it is still there."""
        return self._kept.get(id_)

    def may_say_more(self, judged: JudgedCheckIn) -> NewCheckIn | None:
        """The same with its position, where fresher sites may accept it and nobody was told yet."""
        if judged.outcome == "accepted" or judged.id in self._sent:
            return None
        return self.of(judged.id)

    def sending(self, ids: Iterable[str]) -> None:
        """From now on the server may know what was said of these."""
        self._sent.update(id_ for id_ in ids if id_ in self._kept)

    def forget(self, *ids: str) -> None:
        """These are over."""
        for id_ in ids:
            self._kept.pop(id_, None)
            self._sent.discard(id_)

    def clear(self) -> None:
        """Nothing that was captured may be used any more."""
        self._kept.clear()
        self._sent.clear()
