"""The client: a thin shell that runs the core's flows on the spot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from doorstep._transport import Transport
from doorstep._value import Unpicklable

if TYPE_CHECKING:
    from uuid import UUID

    from doorstep._bundle import Bundle
    from doorstep._http import HTTPTransport

T = TypeVar("T")


class Client(Unpicklable):
    """Checks in at a Doorstep server. Threads may share one.

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
        transport: Transport | None = None,
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
        self._own: HTTPTransport | None = None
        if transport is None:
            transport = self._own = _own_transport()
        self._runner = Runner(core, transport, self._sleep)
        self.check_ins = CheckIns(self._runner)
        self.device = Device(self._runner)
        self.permission = Permission(self._runner)
        self.privacy = Privacy(self._runner)
        self.sites = Sites(self._runner)

    def close(self) -> None:
        """Close the connections."""
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._base_url}>"


class CheckIns:
    """The device's check-ins."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def create(
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
        return self._runner.run(self._runner.core.create_check_in(new))

    def create_judged(
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
        return self._runner.run(self._runner.core.create_judged(judging))

    def create_batch(
        self, check_ins: Sequence[NewCheckIn | JudgedCheckIn]
    ) -> tuple[BatchResult, ...]:
        """Send up to 500 check-ins: each gets an answer of its own, in the same order.

        An item's error is a value, not raised. Pass the same objects again to repeat it.
        """
        return self._runner.run(self._runner.core.create_check_ins(tuple(check_ins)))

    def list(self, *, page_size: int = 50) -> Iterator[ListedCheckIn]:
        """Every check-in of the last days, page after page as they are asked for."""
        cursor: str | None = None
        while True:
            page = self._runner.run(self._runner.core.check_ins_page(page_size, cursor))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return


class Sites:
    """The sites where the person may check in."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def bundle(self) -> Bundle:
        """The sites for purposes that devices judge for. Asking again costs little."""
        return self._runner.run(self._runner.core.bundle())

    def use(self, bundle: Bundle) -> None:
        """Judge by a bundle that the app kept, until a newer one is fetched."""
        self._runner.core.use_bundle(bundle)


class Privacy:
    """The person's own rights, as far as the server serves them."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def restrictions(self) -> Restrictions:
        """For what nothing of the person is processed now."""
        return self._runner.run(self._runner.core.restrictions())

    def restrict(self, *, purposes: Sequence[str] = (), wholly: bool = False) -> Restrictions:
        """Restrict what is processed of the person, or object to it, from all their devices.

        It takes the place of what was restricted before: without arguments, nothing is.
        """
        wanted = Restrictions(purposes=tuple(purposes), wholly=wholly)
        return self._runner.run(self._runner.core.restrict(wanted))

    def erase(self) -> Erasure:
        """Erase everything that is known of the person. The token ends: keep the answer's `code`.

        When the answer was lost, the next call raises `Unauthorized`: it was done.
        """
        return self._runner.run(self._runner.core.erase())

    def erasure(self, code: str) -> Erasure:
        """How far an erasure is, and the signed receipt when it is done. It needs no token."""
        return self._runner.run(self._runner.core.erasure(code))

    def signing_keys(self) -> tuple[Mapping[str, str], ...]:
        """The public keys (JWK, Ed25519) that receipts are checked with."""
        return self._runner.run(self._runner.core.signing_keys())


class Device:
    """This installation of the app."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def enroll(
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
        return self._runner.run(flow)

    def status(self) -> DeviceStatus:
        """What the server knows of the device; the client takes over epoch and sequence."""
        return self._runner.run(self._runner.core.device_status())

    def rotate_token(self) -> str:
        """Get a new token. Store it before the next call, which ends the old one."""
        return self._runner.run(self._runner.core.rotate_token())


class Permission:
    """The location permission that the platform gives to the app."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def report(
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
        return self._runner.run(self._runner.core.report_permission(state, sequence, observed_at))


class Runner:
    """Does what a flow says, until it returns."""

    def __init__(self, core: Core, transport: Transport, sleep: Callable[[float], None]) -> None:
        self.core = core
        self.transport = transport
        self._sleep = sleep

    def run(self, flow: Flow[T]) -> T:
        outcome: Outcome | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as stop:
                result: T = stop.value
                return result
            outcome = self._do(step)

    def _do(self, step: Send | Pause) -> Outcome | None:
        if isinstance(step, Pause):
            self._sleep(step.seconds)
            return None
        try:
            return self.transport.send(step.request, timeout=step.timeout)
        except TransportError as error:
            return error


def _own_transport() -> HTTPTransport:
    from doorstep._http import HTTPTransport  # noqa: PLC0415 (slow to import)

    return HTTPTransport()
