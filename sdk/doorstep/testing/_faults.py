"""A network that fails as asked, between a client and any transport."""

from __future__ import annotations

from collections.abc import Iterable

from doorstep._errors import ConnectFailed, ConnectionLost, TimedOut
from doorstep._retry import Timeout
from doorstep._transport import AsyncTransport, Transport
from doorstep._value import Value
from doorstep._wire import Request, Response
from doorstep.testing._time import FakeClock


class Fault(Value):
    """What happens to one request."""


class DropBefore(Fault):
    """The request never arrives: `ConnectFailed`."""


class DropAfter(Fault):
    """The server takes it, and its answer is lost: `ConnectionLost`."""


class Truncate(Fault):
    """The answer breaks off: `ConnectionLost`, as a transport has to tell it."""


class Duplicate(Fault):
    """The request arrives twice; the second answer is the one that comes back."""


class Delay(Fault):
    """It takes so long. Where that is more than the call has left, its answer is lost."""

    seconds: float


class Refuse(Fault):
    """Something before the server answers: 429 or 503, with Retry-After if it is given."""

    status: int = 503
    retry_after: str | None = None


#: the server took the request, and the client does not know
_LOST = {DropAfter, Truncate}


class _Network:
    """Which fault is next, and what it does."""

    def __init__(self, faults: Iterable[Fault | None], clock: FakeClock | None) -> None:
        self._faults = iter(faults)
        self._clock = clock or FakeClock()
        #: how often each kind struck
        self.struck: dict[str, int] = {}

    def next(self) -> Fault | None:
        """None when all is well, as after the last."""
        fault = next(self._faults, None)
        if fault is not None:
            name = type(fault).__name__
            self.struck[name] = self.struck.get(name, 0) + 1
        return fault

    def before(self, fault: Fault | None) -> Response | None:
        """What is answered in the server's place, if it is; raises where nothing arrives."""
        if isinstance(fault, DropBefore):
            raise ConnectFailed
        return _refusal(fault) if isinstance(fault, Refuse) else None

    def after(self, fault: Fault | None, answer: Response, timeout: Timeout) -> Response:
        """The answer, if it comes back."""
        if type(fault) in _LOST:
            raise ConnectionLost
        if isinstance(fault, Delay):
            self._clock.advance(min(fault.seconds, timeout.total))
            if fault.seconds >= timeout.total:
                raise TimedOut
        return answer


class FaultTransport:
    """A blocking transport in which the faults strike, one a request; None is a good one.

    After the last all goes well. Delays pass on `clock`, without waiting.
    """

    def __init__(
        self,
        transport: Transport,
        faults: Iterable[Fault | None],
        *,
        clock: FakeClock | None = None,
    ) -> None:
        self._transport = transport
        self._network = _Network(faults, clock)

    @property
    def struck(self) -> dict[str, int]:
        """How often each kind of fault struck, by its name."""
        return self._network.struck

    def send(self, request: Request, *, timeout: Timeout) -> Response:
        """Send it, as far as the fault lets it."""
        fault = self._network.next()
        answer = self._network.before(fault)
        if answer is None:
            if isinstance(fault, Duplicate):
                self._transport.send(request, timeout=timeout)
            answer = self._transport.send(request, timeout=timeout)
        return self._network.after(fault, answer, timeout)


class AsyncFaultTransport:
    """The same around an async transport."""

    def __init__(
        self,
        transport: AsyncTransport,
        faults: Iterable[Fault | None],
        *,
        clock: FakeClock | None = None,
    ) -> None:
        self._transport = transport
        self._network = _Network(faults, clock)

    @property
    def struck(self) -> dict[str, int]:
        """How often each kind of fault struck, by its name."""
        return self._network.struck

    async def send(
        self,
        request: Request,
        *,
        timeout: Timeout,  # noqa: ASYNC109 (what the call has left)
    ) -> Response:
        """Send it, as far as the fault lets it."""
        fault = self._network.next()
        answer = self._network.before(fault)
        if answer is None:
            if isinstance(fault, Duplicate):
                await self._transport.send(request, timeout=timeout)
            answer = await self._transport.send(request, timeout=timeout)
        return self._network.after(fault, answer, timeout)


def _refusal(fault: Refuse) -> Response:
    headers = {} if fault.retry_after is None else {"retry-after": fault.retry_after}
    return Response(status=fault.status, headers=headers, body=b"")
