"""What the server answers. Words such as `outcome` stay plain text: newer servers have more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import ClassVar

from doorstep._errors import ApiError
from doorstep._value import Unpicklable, Value


class Tenant(Value):
    """The business that runs the check-ins."""

    id: str
    name: str


class Purpose(Value):
    """Why the location is processed, and what is kept of it."""

    name: str
    title: str
    level: str
    time_precision_s: int
    retention_days: int
    max_age_s: int
    requires_consent: bool
    #: "server", or "device": then check in with `create_judged`, which sends no position
    judged_by: str = "server"


class Feature(Value):
    """Something the app can or cannot do with the present permission, and why."""

    name: str
    available: bool
    because: str | None


class Enrollment(Value):
    """A device that is now enrolled. Keep the token where the platform keeps secrets."""

    _hidden: ClassVar[frozenset[str]] = frozenset({"token", "subject_id"})

    device_id: str
    token: str
    tenant: Tenant
    subject_id: str
    purposes: tuple[Purpose, ...]
    permission_epoch: int


class DeviceStatus(Value):
    """What the server knows of this device."""

    device_id: str
    permission: str
    permission_sequence: int
    permission_epoch: int
    features: tuple[Feature, ...]
    purposes: tuple[Purpose, ...]


class PermissionStatus(Value):
    """What the server made of a permission report."""

    state: str
    permission_epoch: int
    features: tuple[Feature, ...]


class Stored(Unpicklable, Value):
    """Exactly what the server kept: the level, and each kept field by its name in `fields`."""

    _hidden: ClassVar[frozenset[str]] = frozenset({"fields"})

    level: str
    fields: Mapping[str, object]

    def __hash__(self) -> int:
        return hash((self.level, *sorted(self.fields)))


class CheckIn(Value):
    """A check-in as the server judged it."""

    _hidden: ClassVar[frozenset[str]] = frozenset({"site_id", "stored", "decision"})

    id: str
    #: accepted, uncertain or rejected
    outcome: str
    reason: str | None
    site_id: str | None
    action: str | None
    stored: Stored
    #: the day on which the server forgets it; None when it kept nothing
    expires_on: date | None
    #: sealed for the business, when nothing was stored: the app shows it in a review request
    decision: str | None
    #: whether this repeats the answer to an earlier send; None when a batch does not tell
    replayed: bool | None
    request_id: str | None


class BatchResult(Value):
    """One check-in's answer in a batch: a check-in, or the error that a single one would raise."""

    index: int
    id: str | None
    status: int
    check_in: CheckIn | None
    error: ApiError | None


class ListedCheckIn(Value):
    """One of the person's own check-ins of the last days."""

    _hidden: ClassVar[frozenset[str]] = frozenset({"site_id", "time"})

    id: str
    site_id: str | None
    site_version: int | None
    purpose: str
    action: str | None
    #: of the capture, cut to the purpose's precision
    time: datetime | None
    outcome: str
    reason: str | None
    evidence: str | None
    level: str
    expires_on: date | None


class Restrictions(Value):
    """For what nothing of the person is processed until they say otherwise."""

    #: names of purposes
    purposes: tuple[str, ...] = ()
    #: whatever the purpose
    wholly: bool = False


class Erasure(Value):
    """The erasure of everything that is known of the person. Keep the code: it gets the receipt."""

    _hidden: ClassVar[frozenset[str]] = frozenset({"code", "receipt"})

    code: str
    #: in_progress or done
    status: str
    #: a JWS (EdDSA) that says what was removed, and what may still be where; None until it is done
    receipt: str | None


class DeviceInfo(Value):
    """What the server may know of the phone: its platform, major OS version and model family."""

    platform: str
    os_version: str
    model: str
