"""What an app uses: it checks in, sends in the background, and minds the permission."""

# of this package, all of them
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar
from weakref import WeakValueDictionary

from doorstep._answers import CheckIn
from doorstep._async_client import AsyncClient, AsyncRunner
from doorstep._check_in import Action, JudgedCheckIn, NewCheckIn
from doorstep._client import Client
from doorstep._core import Flow
from doorstep._endpoints import PermissionState
from doorstep._errors import DoorstepError
from doorstep._fix import Fix
from doorstep._flushing import flushing
from doorstep._keeper import EpochPassed, Nothing
from doorstep._location import LocationProvider, Unavailable
from doorstep._outbox import Outbox
from doorstep._permissions import GRANTED, WITHDRAWN
from doorstep._queue import End
from doorstep._sending import Sender
from doorstep._steps import AskPermission, Desk, Exchange, Step, Work
from doorstep._threads import ThreadedTransport
from doorstep._ticket import Ticket
from doorstep._tickets import ProvisionalVerdict, TicketStatus
from doorstep._value import Unpicklable

if TYPE_CHECKING:
    from uuid import UUID

T = TypeVar("T")

#: when nothing else says when: another process may have stored something
_LOOK_AGAIN_S = 60.0
_UNUSABLE_AGAIN_S = 30.0
#: how often a position is taken anew when a withdrawal becomes known meanwhile
_CAPTURES = 3


class Session(Unpicklable):
    """Checks in so that nothing is lost and nothing is kept too long.

    `client` is an `AsyncClient` or a `Client`; it stays open when the session closes. `max_age_s`
    and `fix_timeout_s` say how old a position may be when it is taken, and how long to wait for
    one. Use it as `async with`, from one event loop.
    """

    def __init__(
        self,
        client: AsyncClient | Client,
        *,
        outbox: Outbox,
        provider: LocationProvider,
        max_age_s: float = 10.0,
        fix_timeout_s: float = 30.0,
    ) -> None:
        self._client = client
        self._runner: AsyncRunner | None = None
        self._own_threads: ThreadedTransport | None = None
        self._core = client._runner.core  # noqa: SLF001 (of this package)
        self._outbox = outbox._keeper  # noqa: SLF001 (of this package)
        self._provider = provider
        self._max_age_s = max_age_s
        self._fix_timeout_s = fix_timeout_s
        self._sender = Sender(self._core.system.chance)
        self._desk = Desk(
            core=self._core, outbox=self._outbox, sender=self._sender, deliver=self._deliver
        )
        self._tickets: WeakValueDictionary[str, Ticket] = WeakValueDictionary()
        #: how often what was captured before became worthless
        self._withdrawals = 0
        self._noted: PermissionState | None = None
        #: the next turn begins without the waits of those before, also of one that fails just now
        self._tries_now = False
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._sending: asyncio.Task[Nothing] | None = None
        self._background: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def __aenter__(self) -> Self:
        await self.resume()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.suspend()

    # -- checking in -----------------------------------------------------------------------------

    async def check_in(
        self,
        *,
        purpose: str,
        site_id: str | UUID | None = None,
        action: Action | None = None,
        fix: Fix | None = None,
    ) -> Ticket:
        """Check in where the device is, or with a position that was just taken.

        When this returns, the check-in is on the disk: it survives the app, the phone's restart and
        any time without a network up to the outbox's `ttl_s`. For a purpose that devices judge for
        it is judged now, if this device has its sites: then no position is stored, and the ticket's
        `provisional` says what was found. Raises `LocationError` without a usable position,
        `OutboxFull`, or `NotEnrolled`; then nothing is stored.
        """
        for _ in range(_CAPTURES):
            state, epoch = await self._allowed()
            withdrawals = self._withdrawals
            new = NewCheckIn(
                purpose=purpose, fix=fix or await self._fix(), site_id=site_id, action=action
            )
            judged = self._core.judged_here(new)
            ticket = self._hold(_queued(new, judged))
            if withdrawals == self._withdrawals and await self._put(new, judged, state, epoch):
                return ticket
            if fix is not None:
                break
        raise Unavailable

    async def ticket(self, id: str) -> Ticket | None:  # noqa: A002 (the wire's word)
        """The ticket of an earlier check-in, also of an earlier run; None when it is forgotten."""
        status = await self._look(id)
        return None if status is None else self._tickets.get(id) or self._hold(status)

    async def flush(self) -> str:
        """Send now what waits. Gives the reason to stop: `empty` when nothing waits any more."""
        return (await self._flush(now=True)).why

    async def waiting(self) -> int:
        """How many check-ins wait."""
        return await self._do(lambda: len(self._outbox))

    async def losses(self) -> Mapping[str, int]:
        """How many check-ins did not and will not arrive, by the reason."""
        return await self._do(self._outbox.losses)

    # -- permission and person -------------------------------------------------------------------

    async def foreground(self) -> None:
        """The app is in front: read the permission again, and send what waits."""
        await self._noted_permission()
        self._tries_now = True
        self._desk.sites_of = None
        self._wake.set()

    async def withdraw(self) -> bool:
        """The person switches check-ins by location off, in the app: also offline, at once.

        When this returns, no position is left in the outbox's file and nothing is on its way. False
        while another process reads the file: the bytes go as soon as it lets them, and nothing is
        sent before. It holds until `allow`, whatever the platform permits.
        """
        await self._do(lambda: self._outbox.switch(off=True))
        gone = await self._note("denied")
        self._wake.set()
        return gone

    async def allow(self) -> None:
        """The person switches check-ins by location on again."""
        await self._do(lambda: self._outbox.switch(off=False))
        await self.foreground()

    async def sign_out(self) -> None:
        """Forget the person: the token, and everything that waits. Nothing more is sent of it."""
        self._core.known.forget()
        self._noted = None
        self._forget_captures()
        await self._abort()
        await self._do(self._outbox.sign_out)

    # -- the app's life --------------------------------------------------------------------------

    async def suspend(self) -> None:
        """Stop sending and close the file: iOS kills an app that holds a lock in the background."""
        if self._thread is None:
            return
        background, self._background = self._background, None
        if background is not None:
            background.cancel()
            await asyncio.wait({background})
        await self._abort()
        self._desk.positions.clear()
        await self._stop()
        if background is not None and not background.cancelled():
            background.result()  # it never ends by itself, unless with an error

    async def resume(self) -> None:
        """Open the file again, read the permission, and go on sending."""
        if self._thread is not None:
            return
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="doorstep-outbox")
        self._outbox.subscribe(self._ended_in(asyncio.get_running_loop()))
        self._runner = self._connected()
        try:
            await self._do(self._outbox.open)
            await self._begin()
        except BaseException:
            await self._stop()
            raise
        self._tries_now = True
        self._desk.sites_of = None
        self._background = asyncio.create_task(self._go_on())

    async def _stop(self) -> None:
        await self._do(self._outbox.close)
        assert self._thread is not None, "it is there while the session runs"
        self._thread.shutdown()
        self._thread = self._runner = self._noted = None
        if self._own_threads is not None:
            await self._own_threads.close()

    async def _begin(self) -> None:
        """At each start the server is told how the permission stands: it believes for a week."""
        if not self._core.known.has_token:
            return
        identity = await self._do(lambda: self._outbox.identity(self._core.who()))
        self._core.known.remember(identity.epoch, identity.report_sequence)
        await self._use_kept_sites()
        await self._note(await self._permission(), report=True)

    async def _use_kept_sites(self) -> None:
        """Those of the last start, until there are fresher ones: judging works offline at once."""
        who, known = self._core.who(), self._core.known
        content = None if known.bundle else await self._do(lambda: self._outbox.bundle(who))
        if content is None:
            return
        from doorstep._bundle import Bundle  # noqa: PLC0415 (slow to import, and rarely needed)

        # a newer version of this package may have kept them
        with contextlib.suppress(ValueError):
            known.bundle = Bundle(content)

    # -- inside ----------------------------------------------------------------------------------

    async def _allowed(self) -> tuple[PermissionState, int | None]:
        """What is permitted at this moment, and its epoch."""
        state = await self._noted_permission()
        if state not in GRANTED:
            raise Unavailable
        identity = await self._do(lambda: self._outbox.identity(self._core.who()))
        return state, identity.epoch

    async def _fix(self) -> Fix:
        return await self._provider.current(
            max_age_s=self._max_age_s, timeout_s=self._fix_timeout_s
        )

    async def _put(
        self,
        new: NewCheckIn,
        judged: JudgedCheckIn | None,
        state: PermissionState,
        epoch: int | None,
    ) -> bool:
        """Store it; False when it was taken before a withdrawal that became known meanwhile."""
        who, positions = self._core.who(), self._desk.positions
        if judged is not None:
            positions.keep(new)
        try:
            await self._do(
                lambda: self._outbox.put(who, new, permission=state, epoch=epoch, judged=judged)
            )
        except BaseException as failure:
            positions.forget(new.id)
            if isinstance(failure, EpochPassed):
                return False
            raise
        self._wake.set()
        return True

    async def _permission(self) -> PermissionState:
        return "denied" if self._outbox.switched_off else await self._provider.permission()

    async def _noted_permission(self) -> PermissionState:
        state = await self._permission()
        await self._note(state)
        return state

    async def _note(self, state: PermissionState, *, report: bool = False) -> bool:
        """What is no longer allowed is stopped first, then forgotten."""
        if state != self._noted and state in {*WITHDRAWN, "approximate"}:
            await self._abort()
            self._forget_captures()
        if not self._core.known.has_token:
            return True
        who = self._core.who()
        gone = await self._do(lambda: self._outbox.note_permission(who, state, report=report))
        self._noted = state
        return gone

    def _forget_captures(self) -> None:
        """What was captured before is worthless now."""
        self._withdrawals += 1
        self._desk.positions.clear()

    async def _do(self, work: Callable[[], T]) -> T:
        """Use the outbox: one after the other, in a thread of its own."""
        if self._thread is None:
            raise RuntimeError("the session is not running: use `async with`, or call resume()")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _look(self, id_: str) -> TicketStatus | None:
        return await self._do(lambda: self._outbox.ticket(id_))

    def _hold(self, status: TicketStatus) -> Ticket:
        ticket = self._tickets[status.id] = Ticket(status, self._look)
        return ticket

    def _ended_in(self, loop: asyncio.AbstractEventLoop) -> Callable[[Sequence[End]], None]:
        def tell(ends: Sequence[End]) -> None:
            loop.call_soon_threadsafe(self._ended, ends)

        return tell

    def _ended(self, ends: Sequence[End]) -> None:
        for one in ends:
            self._desk.positions.forget(one.id)
            if ticket := self._tickets.get(one.id):
                ticket._take(one)  # noqa: SLF001 (of this package)

    def _deliver(self, check_ins: Sequence[CheckIn]) -> None:
        for one in check_ins:
            if ticket := self._tickets.get(one.id):
                ticket._deliver(one)  # noqa: SLF001 (of this package)

    # -- sending ---------------------------------------------------------------------------------

    async def _go_on(self) -> None:
        """Send whenever there is something to send and a reason to try."""
        while True:
            self._wake.clear()
            try:
                rest = await self._flush()
                wait_s = _LOOK_AGAIN_S if rest.wait_s is None else rest.wait_s
            except DoorstepError:  # the file cannot be used now; whoever checks in is told
                wait_s = _UNUSABLE_AGAIN_S
            try:
                async with asyncio.timeout(min(wait_s, _LOOK_AGAIN_S)):
                    await self._wake.wait()
            except TimeoutError:
                await self._sweep()

    async def _sweep(self) -> None:
        """What is too old goes, also while the server wants to be left alone."""
        with contextlib.suppress(DoorstepError):
            await self._do(self._outbox.sweep)

    async def _flush(self, *, now: bool = False) -> Nothing:
        """One at a time, in a task that a withdrawal can cancel."""
        async with self._turn:
            if now or self._tries_now:
                self._tries_now = False
                self._sender.wake()
            task = self._sending = asyncio.create_task(self._send())
            try:
                await asyncio.wait({task})
            finally:
                task.cancel()
            if task.cancelled():
                return Nothing(why="aborted", wait_s=0.0)
            return task.result()

    async def _send(self) -> Nothing:
        flow = flushing(self._desk)
        answer: object = None
        while True:
            try:
                step = flow.send(answer)
            except StopIteration as stop:
                rest: Nothing = stop.value
                return rest
            answer = await self._take_step(step)

    async def _take_step(self, step: Step) -> object:
        if isinstance(step, Work):
            return await self._do(step.do)
        if isinstance(step, Exchange):
            return await self._exchange(step.flow)
        assert isinstance(step, AskPermission), "there is nothing else"
        try:
            return await self._permission()
        except Exception:  # noqa: BLE001 (the app's own code: nothing is sent until it can tell)
            return None

    async def _exchange(self, flow: Flow[T]) -> T | DoorstepError:
        assert self._runner is not None, "it is there while the session runs"
        try:
            return await self._runner.run(flow)
        except DoorstepError as error:
            return error

    def _connected(self) -> AsyncRunner:
        """A blocking client's requests are sent in threads, so that they can be called back."""
        runner = self._client._runner  # noqa: SLF001 (of this package)
        if isinstance(runner, AsyncRunner):
            return runner
        self._own_threads = ThreadedTransport(runner.transport)
        return AsyncRunner(runner.core, self._own_threads, asyncio.sleep)

    async def _abort(self) -> None:
        """Whatever is on its way is called back."""
        task = self._sending
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})


def _queued(new: NewCheckIn, judged: JudgedCheckIn | None) -> TicketStatus:
    found = None if judged is None else ProvisionalVerdict.of(judged)
    return TicketStatus(id=new.id, state="queued", provisional=found)
