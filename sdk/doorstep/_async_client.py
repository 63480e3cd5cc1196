"""The client for asyncio: the same thin shell, awaited. `_client` tells more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

from doorstep._answers import (
    BatchResult,
    CheckIn,
    DeviceInfo,
    DeviceStatus,
    Enrollment,
    Erasure,
    ListedCheckIn,
    PermissionStatus,
    Restrictions,
)
from doorstep._check_in import Action, JudgedCheckIn, Judging, NewCheckIn
from doorstep._clock import SYSTEM, System
from doorstep._core import Core, Flow, Outcome, Pause, Send
from doorstep._endpoints import PermissionState
from doorstep._errors import TransportError
from doorstep._fix import Fix
from doorstep._ids import check_in_id, parse_check_in_id
from doorstep._known import Known
from doorstep._retry import DEFAULT_RETRY, DEFAULT_TIMEOUT, Retry, Timeout
from doorstep._threads import ThreadedTransport
from doorstep._transport import AsyncTransport
from doorstep._value import Unpicklable

if TYPE_CHECKING:
    from uuid import UUID

    from doorstep._bundle import Bundle

T = TypeVar("T")


class AsyncClient(Unpicklable):
    """Checks in at a Doorstep server, from one event loop. It works in threads of its own.

    `token` comes from an earlier enrollment; without one, call `device.enroll(code)`.
    `permission_epoch` and `permission_sequence` are what the app stored of its last run: check-ins
    carry the epoch, permission reports go on from the sequence.
    A `transport` that is passed in stays open when the client closes.
    """

    _system: ClassVar[System] = SYSTEM
    _base_url = ""

    def __init__(  # noqa: PLR0913 (each has a default and a name)
        self,
        base_url: str,
        *,
        token: str | None = None,
        timeout: Timeout = DEFAULT_TIMEOUT,
        retry: Retry = DEFAULT_RETRY,
        transport: AsyncTransport | None = None,
        allow_insecure: bool = False,
        permission_epoch: int | None = None,
        permission_sequence: int | None = None,
    ) -> None:
        known = Known(token=token, epoch=permission_epoch, sequence=permission_sequence)
        del token
        core = Core(
            base_url=base_url,
            allow_insecure=allow_insecure,
            known=known,
            timeout=timeout,
            retry=retry,
            system=self._system,
        )
        self._base_url = core.base_url
        self._own: ThreadedTransport | None = None
        if transport is None:
            transport = self._own = ThreadedTransport.over_http()
        self._runner = AsyncRunner(core, transport, self._sleep)
        self.check_ins = AsyncCheckIns(self._runner)
        self.device = AsyncDevice(self._runner)
        self.permission = AsyncPermission(self._runner)
        self.privacy = AsyncPrivacy(self._runner)
        self.sites = AsyncSites(self._runner)

    async def close(self) -> None:
        """Close the connections."""
        if self._own is not None:
            await self._own.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._base_url}>"


class AsyncCheckIns:
    """The device's check-ins."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    async def create(
        self,
        *,
        purpose: str,
        fix: Fix,
        site_id: str | UUID | None = None,
        action: Action | None = None,
        id: str | UUID | None = None,  # noqa: A002 (the wire's word)
        permission_epoch: int | None = None,
    ) -> CheckIn:
        """Check in. Pass `id=check_in_id()` to be able to repeat it after an error."""
        new = NewCheckIn(
            purpose=purpose,
            fix=fix,
            site_id=site_id,
            action=action,
            id=id,
            permission_epoch=permission_epoch,
        )
        return await self._runner.run(self._runner.core.create_check_in(new))

    async def create_judged(
        self,
        *,
        purpose: str,
        fix: Fix,
        site_id: str | UUID | None = None,
        action: Action | None = None,
        id: str | UUID | None = None,  # noqa: A002 (the wire's word)
        permission_epoch: int | None = None,
    ) -> CheckIn:
        """Check in for a purpose that devices judge for: the position does not leave this device.

        It is judged by `sites.bundle()`, which is fetched when there is none yet, when the one at
        hand does not accept the position, and when the server says that a site has changed.
        """
        judging = Judging(
            purpose=purpose,
            fix=fix,
            site_id=None if site_id is None else str(site_id),
            action=action,
            id=check_in_id() if id is None else parse_check_in_id(id),
            permission_epoch=permission_epoch,
        )
        return await self._runner.run(self._runner.core.create_judged(judging))

    async def create_batch(
        self, check_ins: Sequence[NewCheckIn | JudgedCheckIn]
    ) -> tuple[BatchResult, ...]:
        """Send up to 500 check-ins: each gets an answer of its own, in the same order.

        An item's error is a value, not raised. Pass the same objects again to repeat it.
        """
        return await self._runner.run(self._runner.core.create_check_ins(tuple(check_ins)))

    async def list(self, *, page_size: int = 50) -> AsyncIterator[ListedCheckIn]:
        """Every check-in of the last days, page after page as they are asked for."""
        cursor: str | None = None
        while True:
            page = await self._runner.run(self._runner.core.check_ins_page(page_size, cursor))
            for check_in in page.items:
                yield check_in
            cursor = page.next_cursor
            if cursor is None:
                return


class AsyncSites:
    """The sites where the person may check in."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    async def bundle(self) -> Bundle:
        """The sites for purposes that devices judge for. Asking again costs little."""
        return await self._runner.run(self._runner.core.bundle())

    async def use(self, bundle: Bundle) -> None:
        """Judge by a bundle that the app kept, until a newer one is fetched."""
        self._runner.core.use_bundle(bundle)


class AsyncPrivacy:
    """The person's own rights, as far as the server serves them."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    async def restrictions(self) -> Restrictions:
        """For what nothing of the person is processed now."""
        return await self._runner.run(self._runner.core.restrictions())

    async def restrict(self, *, purposes: Sequence[str] = (), wholly: bool = False) -> Restrictions:
        """Restrict what is processed of the person, or object to it, from all their devices.

        It takes the place of what was restricted before: without arguments, nothing is.
        """
        wanted = Restrictions(purposes=tuple(purposes), wholly=wholly)
        return await self._runner.run(self._runner.core.restrict(wanted))

    async def erase(self) -> Erasure:
        """Erase everything that is known of the person. The token ends: keep the answer's `code`.

        When the answer was lost, the next call raises `Unauthorized`: it was done.
        """
        return await self._runner.run(self._runner.core.erase())

    async def erasure(self, code: str) -> Erasure:
        """How far an erasure is, and the signed receipt when it is done. It needs no token."""
        return await self._runner.run(self._runner.core.erasure(code))

    async def signing_keys(self) -> tuple[Mapping[str, str], ...]:
        """The public keys (JWK, Ed25519) that receipts are checked with."""
        return await self._runner.run(self._runner.core.signing_keys())


class AsyncDevice:
    """This installation of the app."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    async def enroll(
        self,
        code: str,
        *,
        installation_id: str | None = None,
        device: DeviceInfo | None = None,
    ) -> Enrollment:
        """Enroll with the person's code; the client uses the token from now on.

        After an error, call it again on the same client, or with the same `installation_id`: for
        ten minutes the same code gives the same token.
        """
        flow = self._runner.core.enroll(code, installation_id, device)
        del code  # it is as good as a token: leave it in no frame
        return await self._runner.run(flow)

    async def status(self) -> DeviceStatus:
        """What the server knows of the device; the client takes over epoch and sequence."""
        return await self._runner.run(self._runner.core.device_status())

    async def rotate_token(self) -> str:
        """Get a new token. Store it before the next call, which ends the old one."""
        return await self._runner.run(self._runner.core.rotate_token())


class AsyncPermission:
    """The location permission that the platform gives to the app."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    async def report(
        self,
        state: PermissionState,
        *,
        sequence: int | None = None,
        observed_at: datetime | None = None,
    ) -> PermissionStatus:
        """Tell the server the permission's state: at every start and change.

        The sequence goes on by itself from `permission_sequence`, or from what the server knows,
        which costs one more request when neither is known yet. An app that gives its own stores it.
        """
        return await self._runner.run(
            self._runner.core.report_permission(state, sequence, observed_at)
        )


class AsyncRunner:
    """Does what a flow says, until it returns."""

    def __init__(
        self, core: Core, transport: AsyncTransport, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self.core = core
        self.transport = transport
        self._sleep = sleep

    async def run(self, flow: Flow[T]) -> T:
        outcome: Outcome | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as stop:
                result: T = stop.value
                return result
            outcome = await self._do(step)

    async def _do(self, step: Send | Pause) -> Outcome | None:
        if isinstance(step, Pause):
            await self._sleep(step.seconds)
            return None
        try:
            return await self.transport.send(step.request, timeout=step.timeout)
        except TransportError as error:
            return error
