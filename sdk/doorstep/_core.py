"""The client without I/O: it says what to send and when, and a shell does it.

Every method gives a `Flow`: a generator that yields `Send` and `Pause`, is answered with the
response or the transport's error, and returns the result. The shells run flows, no more.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from doorstep import _endpoints as endpoints
from doorstep._answers import (
    BatchResult,
    CheckIn,
    DeviceInfo,
    DeviceStatus,
    Enrollment,
    Erasure,
    PermissionStatus,
    Restrictions,
)
from doorstep._check_in import JudgedCheckIn, Judging, NewCheckIn
from doorstep._clock import Moment, System
from doorstep._endpoints import Call, Page, PermissionState
from doorstep._errors import (
    ApiError,
    BundleOutdated,
    DoorstepError,
    NotFound,
    TransportError,
    UnexpectedAnswer,
)
from doorstep._ids import random_id
from doorstep._known import Known, Who
from doorstep._refusals import refusal, unexpected
from doorstep._retry import Budget, Retry, Timeout, backoff_s, should_retry
from doorstep._value import Value
from doorstep._version import __version__
from doorstep._wire import Document, Mismatch, Request, Response, to_json

if TYPE_CHECKING:
    from doorstep._bundle import Bundle

T = TypeVar("T")

MAX_BATCH = 500
MAX_PAGE = 500
_HEADERS = {"Accept": "application/json", "User-Agent": f"doorstep-python/{__version__}"}


class Send(Value):
    """Send this, within this time."""

    request: Request
    timeout: Timeout


class Pause(Value):
    """Wait before the next step."""

    seconds: float


Outcome: TypeAlias = Response | TransportError
Flow: TypeAlias = Generator[Send | Pause, Outcome | None, T]


class Core:
    """The endpoints as flows, and the rules of sending them."""

    def __init__(
        self,
        *,
        base_url: str,
        allow_insecure: bool,
        known: Known,
        timeout: Timeout,
        retry: Retry,
        system: System,
    ) -> None:
        from doorstep._base_url import parse_base_url  # noqa: PLC0415 (slow to import)

        self.base_url = parse_base_url(base_url, allow_insecure=allow_insecure)
        known.check()
        self._system = system
        self._known = known
        self._timeout = timeout
        self._retry = retry
        self._budget = Budget(retry)

    @property
    def known(self) -> Known:
        return self._known

    @property
    def system(self) -> System:
        return self._system

    def pinned(self) -> Core:
        """This client as it is now: the same token whatever comes, and each call sent once.

        What is sent by it is sent as the one who is signed in now. Its caller decides about the
        next attempt, and takes over what it learned (`Known.take`). Raises `NotEnrolled`.
        """
        core = object.__new__(Core)
        core.__dict__.update(self.__dict__)
        core._known = self._known.snapshot()
        core._retry = Retry(attempts=1)
        return core

    def who(self) -> Who:
        """Whose client this is. Raises `NotEnrolled`."""
        return self._known.who(self.base_url)

    def enroll(
        self, code: str, installation_id: str | None, device: DeviceInfo | None
    ) -> Flow[Enrollment]:
        installation = installation_id or self._known.installation_id(
            lambda: random_id(self._system.entropy)
        )
        return self._enroll(endpoints.enroll(code, installation, device or _this_device()))

    def _enroll(self, call: Call[Enrollment]) -> Flow[Enrollment]:
        enrollment = yield from self._exchange(call)
        self._known.enrolled(enrollment)
        return enrollment

    def device_status(self) -> Flow[DeviceStatus]:
        status = yield from self._exchange(endpoints.device_status())
        self._known.seen(status)
        return status

    def rotate_token(self) -> Flow[str]:
        token = yield from self._exchange(endpoints.rotate_token())
        self._known.rotated(token)
        return token

    def report_permission(
        self, state: PermissionState, sequence: int | None, observed_at: datetime | None
    ) -> Flow[PermissionStatus]:
        """A sequence below the server's would be ignored as late: ask for it when it is unknown."""
        observed = observed_at or self._system.wall()
        if sequence is None and not self._known.has_sequence:
            yield from self.device_status()
        taken = self._known.next_sequence(sequence)
        status = yield from self._exchange(endpoints.report_permission(state, taken, observed))
        self._known.reported(status)
        return status

    def create_check_in(self, new: NewCheckIn | JudgedCheckIn) -> Flow[CheckIn]:
        self._keep_on_device([new])
        return self._exchange(endpoints.create_check_in(new, self._known.epoch))

    def create_check_ins(
        self, new: Sequence[NewCheckIn | JudgedCheckIn]
    ) -> Flow[tuple[BatchResult, ...]]:
        self._keep_on_device(new)
        if len(new) > MAX_BATCH:
            raise ValueError(f"a batch holds at most {MAX_BATCH} check-ins: send them in parts")
        if not new:
            return ()
        return (yield from self._exchange(endpoints.create_check_ins(new, self._known.epoch)))

    def _keep_on_device(self, new: Sequence[NewCheckIn | JudgedCheckIn]) -> None:
        """Refuse to send a position for a purpose that is known to be judged by devices."""
        for one in new:
            if isinstance(one, NewCheckIn) and self._known.judge_of(one.purpose) == "device":
                raise ValueError(
                    "devices judge for this purpose, and its positions are not sent: use "
                    "check_ins.create_judged"
                )

    def create_judged(self, asked: Judging) -> Flow[CheckIn]:
        """Judge by the bundle at hand, and send that; by a fresh one where that may say more."""
        bundle = self._known.bundle
        judged = None if bundle is None else asked.by(bundle)
        if judged is None or judged.outcome != "accepted":
            judged = asked.by((yield from self.bundle()))
        try:
            return (yield from self.create_check_in(judged))
        except BundleOutdated:
            pass
        return (yield from self.create_check_in(asked.by((yield from self.bundle()))))

    def bundle(self) -> Flow[Bundle]:
        """The bundle as it is now; it is kept, and asked for again by its hash."""
        from doorstep._bundle import Bundle  # noqa: PLC0415 (slow to import, and rarely needed)

        known = self._known.bundle
        content = yield from self._exchange(
            endpoints.fetch_bundle(None if known is None else known.sha256)
        )
        if content is not None or known is None:
            known = self._known.bundle = _readable(Bundle, content)
        return known

    def use_bundle(self, bundle: Bundle) -> None:
        self._known.bundle = bundle

    def restrictions(self) -> Flow[Restrictions]:
        return self._exchange(endpoints.restrictions())

    def restrict(self, wanted: Restrictions) -> Flow[Restrictions]:
        return self._exchange(endpoints.restrict(wanted))

    def erase(self) -> Flow[Erasure]:
        code = yield from self._exchange(endpoints.erase())
        self._known.erased()
        return Erasure(code=code, status="in_progress", receipt=None)

    def erasure(self, code: str) -> Flow[Erasure]:
        return self._exchange(endpoints.erasure_status(code))

    def signing_keys(self) -> Flow[tuple[Mapping[str, str], ...]]:
        return self._exchange(endpoints.signing_keys())

    def send_stored(
        self, new: Sequence[NewCheckIn | JudgedCheckIn]
    ) -> Flow[tuple[BatchResult, ...]]:
        """Send check-ins of another time: the epoch of now says nothing about them."""
        return self._exchange(endpoints.create_check_ins(new, None))

    def judged_here(self, new: NewCheckIn) -> JudgedCheckIn | None:
        """Judged by the sites at hand; None where the server judges, or none are at hand."""
        bundle = self._known.bundle
        if bundle is None or not self.is_to_be_judged(new) or new.purpose not in bundle.purposes:
            return None
        return bundle.judge_stored(new)

    def is_to_be_judged(self, new: NewCheckIn | JudgedCheckIn) -> bool:
        """Whether it holds a position that is not to be sent, as far as is known."""
        return isinstance(new, NewCheckIn) and self._known.judge_of(new.purpose) == "device"

    def is_unclear(self, new: NewCheckIn | JudgedCheckIn) -> bool:
        """Whether it holds a position, and the server has not said who judges it."""
        return isinstance(new, NewCheckIn) and self._known.judge_of(new.purpose) is None

    def bundle_or_nothing(self) -> Flow[Bundle]:
        """The bundle, or one without sites: then the server says why, of each check-in."""
        from doorstep._bundle import Bundle  # noqa: PLC0415 (slow to import, and rarely needed)

        try:
            return (yield from self.bundle())
        except NotFound:
            return Bundle.empty()

    def check_ins_page(self, page_size: int, cursor: str | None) -> Flow[Page]:
        if not 1 <= page_size <= MAX_PAGE:
            raise ValueError(f"page_size must be from 1 to {MAX_PAGE}")
        return (yield from self._exchange(endpoints.list_check_ins(page_size, cursor)))

    def _exchange(self, call: Call[T]) -> Flow[T]:
        """Send a call until it is answered, or should not or may not be sent again."""
        deadline = self._system.monotonic() + self._timeout.total
        self._budget.deposit()
        attempt = 0
        while True:
            attempt += 1
            left_s = deadline - self._system.monotonic()
            outcome = yield Send(
                request=self._request(call),
                timeout=Timeout(connect=min(self._timeout.connect, left_s), total=left_s),
            )
            if isinstance(outcome, Response) and call.takes(outcome.status):
                return parse_response(call, outcome)
            failure = self._failure(outcome)
            wait_s = self._wait_s(failure, attempt, deadline)
            if wait_s is None:
                raise failure
            yield Pause(seconds=wait_s)

    def _request(self, call: Call[T]) -> Request:
        token = self._known.token if call.needs_token else None
        return build_request(call, self.base_url, token, self._system.moment())

    def _failure(self, outcome: Outcome | None) -> DoorstepError:
        if isinstance(outcome, Response):
            return refusal(outcome, self._system.wall())
        assert outcome is not None, "a Send is answered"
        return outcome

    def _wait_s(self, failure: DoorstepError, attempt: int, deadline: float) -> float | None:
        """How long to wait before the next attempt; None when there is none."""
        if attempt >= self._retry.attempts or not should_retry(failure):
            return None
        asked_s = failure.retry_after_s if isinstance(failure, ApiError) else None
        wait_s = backoff_s(self._retry, attempt, self._system.chance(), asked_s)
        in_time = self._system.monotonic() + wait_s < deadline
        return wait_s if in_time and self._budget.withdraw() else None


def build_request(call: Call[T], base_url: str, token: str | None, now: Moment) -> Request:
    """Write an attempt down: `sent_at` and the ages are of this moment, all else is the same."""
    body = None if call.body is None else to_json(call.body(now))
    return Request(
        method=call.method,
        url=base_url + call.path,
        headers={
            **_HEADERS,
            **(call.headers or {}),
            **({"Content-Type": "application/json"} if body is not None else {}),
            **({"Authorization": f"Bearer {token}"} if token is not None else {}),
        },
        body=body,
    )


def parse_response(call: Call[T], response: Response) -> T:
    """Read an answer of success, or say that it is no Doorstep server's."""
    try:
        if call.read_file is not None:
            return call.read_file(response)
        return call.read(Document.of(response), response)
    except Mismatch:
        pass
    raise unexpected(response)


def _readable(kind: type[Bundle], content: bytes | None) -> Bundle:
    """A bundle that came; a proxy may have spoiled it."""
    try:
        if content is not None:
            return kind(content)
    except ValueError:
        pass
    raise UnexpectedAnswer(200)


def _this_device() -> DeviceInfo:
    """The least that can be said; an app that wants to say more passes a DeviceInfo."""
    platform = sys.platform.rstrip("0123456789")
    return DeviceInfo(platform=platform, os_version="unknown", model="unknown")
