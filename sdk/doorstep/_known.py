"""What a client knows of its device. It lives in memory: the app stores what it wants to keep."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from doorstep._answers import DeviceStatus, Enrollment, PermissionStatus
from doorstep._errors import NotEnrolled

if TYPE_CHECKING:
    from doorstep._bundle import Bundle


class Known:
    """Token, permission epoch and the highest permission sequence sent or seen.

    Epoch and sequence only grow for one device, in whatever order the answers come in.
    """

    def __init__(self, *, token: str | None, epoch: int | None, sequence: int | None) -> None:
        self._token = token
        self._device_id: str | None = None
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
    def epoch(self) -> int | None:
        return self._epoch

    @property
    def has_sequence(self) -> bool:
        return self._sequence is not None

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
            self._judged_by = {one.name: one.judged_by for one in enrollment.purposes}
            self._token = enrollment.token
            self._device_id = enrollment.device_id
            self._raise(enrollment.permission_epoch, enrollment.permission_epoch)

    def judge_of(self, purpose: str) -> str | None:
        """Who judges for a purpose; None when the server has not said."""
        return self._judged_by.get(purpose)

    def erased(self) -> None:
        """The person is gone, and with them everything of the device."""
        with self._lock:
            self._token = self._device_id = self._epoch = self._sequence = self.bundle = None

    def rotated(self, token: str) -> None:
        with self._lock:
            self._token = token

    def seen(self, status: DeviceStatus) -> None:
        with self._lock:
            self._device_id = status.device_id
            self._judged_by = {one.name: one.judged_by for one in status.purposes}
            self._raise(status.permission_epoch, status.permission_sequence)

    def reported(self, status: PermissionStatus) -> None:
        with self._lock:
            self._raise(status.permission_epoch, status.permission_epoch)

    def _raise(self, epoch: int, sequence: int) -> None:
        self._epoch = max(self._epoch or 0, epoch)
        self._sequence = max(self._sequence or 0, sequence)


def is_token(value: str) -> bool:
    return value.isascii() and value.isprintable() and bool(value) and " " not in value
