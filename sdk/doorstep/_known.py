"""What a client knows of its device. It lives in memory: the app stores what it wants to keep."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from doorstep._answers import DeviceStatus, Enrollment, PermissionStatus
from doorstep._errors import NotEnrolled
from doorstep._value import Value

if TYPE_CHECKING:
    from doorstep._bundle import Bundle


class Who(Value):
    """Whose check-ins these are, as far as the client knows: enough to tell one from another."""

    base_url: str
    #: of the token, which itself is written nowhere
    mark: str
    #: of the token before, when it was rotated in this process
    former_mark: str | None
    device_id: str | None
    subject_id: str | None
    epoch: int | None
    sequence: int | None


class Known:
    """Token, permission epoch and the highest permission sequence sent or seen.

    Epoch and sequence only grow for one device, in whatever order the answers come in.
    """

    def __init__(self, *, token: str | None, epoch: int | None, sequence: int | None) -> None:
        self._token = token
        self._former_mark: str | None = None
        self._device_id: str | None = None
        self._subject_id: str | None = None
        self._epoch = epoch
        self._sequence = sequence
        self._installation_id: str | None = None
        self._judged_by: dict[str, str] = {}
        self.bundle: Bundle | None = None
        self._lock = threading.Lock()

    def check(self) -> None:
        """Refuse a token that no header can carry; without saying it."""
        if self._token is not None and not is_token(self._token):
            raise ValueError(
                "token must be printable text without spaces; was it read with its line end?"
            )

    @property
    def token(self) -> str:
        if self._token is None:
            raise NotEnrolled
        return self._token

    @property
    def has_token(self) -> bool:
        return self._token is not None

    @property
    def epoch(self) -> int | None:
        return self._epoch

    @property
    def has_sequence(self) -> bool:
        return self._sequence is not None

    def who(self, base_url: str) -> Who:
        """Raises `NotEnrolled` without a token."""
        with self._lock:
            return Who(
                base_url=base_url,
                mark=token_mark(self.token),
                former_mark=self._former_mark,
                device_id=self._device_id,
                subject_id=self._subject_id,
                epoch=self._epoch,
                sequence=self._sequence,
            )

    def snapshot(self) -> Known:
        """A copy that knows no more than this does now. Raises `NotEnrolled`."""
        with self._lock:
            copy = Known(token=self.token, epoch=self._epoch, sequence=self._sequence)
            copy._former_mark = self._former_mark
            copy._device_id, copy._subject_id = self._device_id, self._subject_id
            copy._judged_by, copy.bundle = self._judged_by, self.bundle
        return copy

    def take(self, copy: Known) -> None:
        """Take over what a copy has learned, unless somebody else is signed in by now."""
        with self._lock:
            if self._token == copy._token:
                self._device_id = self._device_id or copy._device_id
                self._raise(copy._epoch, copy._sequence)
                self._judged_by = copy._judged_by or self._judged_by
                self.bundle = copy.bundle or self.bundle

    def remember(self, epoch: int | None, sequence: int | None) -> None:
        """Take over what was stored of an earlier run."""
        with self._lock:
            self._raise(epoch, sequence)

    def forget(self) -> None:
        """Nobody is signed in any more."""
        with self._lock:
            self._token = self._device_id = self._subject_id = self._former_mark = None
            self._epoch = self._sequence = self._installation_id = self.bundle = None
            self._judged_by = {}

    def installation_id(self, make: Callable[[], str]) -> str:
        """The same for every enrollment of this client: a repeated one gets the token again."""
        with self._lock:
            if self._installation_id is None:
                self._installation_id = make()
            return self._installation_id

    def next_sequence(self, given: int | None) -> int:
        """Take the sequence of the next permission report."""
        with self._lock:
            last = self._sequence or 0
            taken = last + 1 if given is None else given
            self._sequence = max(last, taken)
            return taken

    def enrolled(self, enrollment: Enrollment) -> None:
        with self._lock:
            if enrollment.device_id != self._device_id:
                self._epoch = self._sequence = self.bundle = None
                self._former_mark = None
            self._judged_by = {one.name: one.judged_by for one in enrollment.purposes}
            self._token = enrollment.token
            self._device_id = enrollment.device_id
            self._subject_id = enrollment.subject_id
            self._raise(enrollment.permission_epoch, enrollment.permission_epoch)

    @property
    def knows_purposes(self) -> bool:
        """Whether the server has said who judges for which."""
        return bool(self._judged_by)

    @property
    def judges(self) -> bool:
        """Whether there is a purpose that devices judge for."""
        return self.bundle is not None or "device" in self._judged_by.values()

    def judge_of(self, purpose: str) -> str | None:
        """Who judges for a purpose; None when the server has not said."""
        said = self._judged_by.get(purpose)
        if said is None and self.bundle is not None and purpose in self.bundle.purposes:
            return "device"
        return said

    def devices_judge(self, purpose: str) -> None:
        """The server has refused a position for it."""
        with self._lock:
            self._judged_by = {**self._judged_by, purpose: "device"}

    def erased(self) -> None:
        """The person is gone, and with them everything of the device."""
        with self._lock:
            self._token = self._device_id = self._subject_id = self._former_mark = None
            self._epoch = self._sequence = self.bundle = None

    def rotated(self, token: str) -> None:
        with self._lock:
            self._former_mark = self._token and token_mark(self._token)
            self._token = token

    def seen(self, status: DeviceStatus) -> None:
        with self._lock:
            self._device_id = status.device_id
            self._judged_by = {one.name: one.judged_by for one in status.purposes}
            self._raise(status.permission_epoch, status.permission_sequence)

    def reported(self, status: PermissionStatus) -> None:
        with self._lock:
            self._raise(status.permission_epoch, status.permission_epoch)

    def _raise(self, epoch: int | None, sequence: int | None) -> None:
        if epoch is not None:
            self._epoch = max(self._epoch or 0, epoch)
        if sequence is not None:
            self._sequence = max(self._sequence or 0, sequence)


def token_mark(token: str) -> str:
    """Tells tokens apart without saying them: they are too random to be found by trying."""
    from hashlib import sha256  # noqa: PLC0415 (only an outbox needs it)

    return sha256(b"doorstep-outbox\0" + token.encode()).hexdigest()[:32]


def is_token(value: str) -> bool:
    return value.isascii() and value.isprintable() and bool(value) and " " not in value
