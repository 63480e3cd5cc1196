"""The outbox: check-ins that survive the app, and that are forgotten when they must be."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Literal, Self

from doorstep._keeper import Keeper
from doorstep._sealing import Sealer
from doorstep._tickets import TicketStatus
from doorstep._value import Unpicklable


class Outbox(Unpicklable):
    """Check-ins that wait in one SQLite file until the server has answered.

    `path` is a file of its own; its folder exists. `capacity` bounds what waits: when it is full,
    `OutboxFull` is raised, or with `when_full="drop_oldest"` the oldest is dropped and counted.
    Nothing waits longer than `ttl_s` (at most seven days). `sealer` encrypts with the platform's
    keystore. `on_loss(reason, count)` hears of every check-in that will not arrive; it may be
    called from another thread.

    One outbox per file and process, used by one `Session`; other processes may have the same file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        capacity: int = 1000,
        ttl_s: float = 72 * 3600,
        when_full: Literal["refuse", "drop_oldest"] = "refuse",
        sealer: Sealer | None = None,
        on_loss: Callable[[str, int], None] | None = None,
    ) -> None:
        self._keeper = Keeper(
            path,
            capacity=capacity,
            ttl_s=ttl_s,
            when_full=when_full,
            sealer=sealer,
            on_loss=on_loss,
        )

    def open(self) -> None:
        """Open the file, finish what somebody was killed over, and drop what is too old.

        A session does this, and closes it: this is for looking at an outbox without one.
        """
        self._keeper.open()

    def close(self) -> None:
        """Close the file: no lock is held after this."""
        self._keeper.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many check-ins wait."""
        return len(self._keeper)

    def losses(self) -> Mapping[str, int]:
        """How many check-ins did not and will not arrive, by the reason, since the file began."""
        return self._keeper.losses()

    def ticket(self, id: str) -> TicketStatus | None:  # noqa: A002 (the wire's word)
        """How it stands with a check-in; None when it is not known here (any more)."""
        return self._keeper.ticket(id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
