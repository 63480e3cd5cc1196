"""What a flow of the outbox asks for, and what it works with: a session does it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeAlias

from doorstep._answers import CheckIn
from doorstep._core import Core, Flow
from doorstep._keeper import Keeper
from doorstep._positions import Positions
from doorstep._sending import Sender
from doorstep._value import Value


class AskPermission(Value):
    """Read the permission from the platform; answered with it, or None where that failed."""


class Work(Value):
    """Do something with the outbox; answered with what it gives."""

    do: Callable[[], object]


class Exchange(Value):
    """Run a call of the client; answered with its result or with its `DoorstepError`."""

    flow: Flow[Any]


Step: TypeAlias = AskPermission | Work | Exchange
#: may give an answer to each step, and comes to an end
Steps: TypeAlias = Generator[Step, Any, Any]


class Desk:
    """What stays the same from flow to flow."""

    def __init__(
        self,
        *,
        core: Core,
        outbox: Keeper,
        sender: Sender,
        deliver: Callable[[Sequence[CheckIn]], None],
    ) -> None:
        self.core = core
        self.outbox = outbox
        self.sender = sender
        self.deliver = deliver
        self.positions = Positions()
        #: as whom (a token's mark) the sites were asked for since the app came to the front
        self.sites_of: str | None = None

    def exchange(self, core: Core, flow: Flow[Any]) -> Steps:
        """Run a call of a pinned client, and take over what that learned."""
        answered = yield Exchange(flow=flow)
        self.core.known.take(core.known)
        return answered
