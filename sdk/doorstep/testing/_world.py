"""What a fake server knows: purposes, sites, people and their devices."""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, timedelta
from typing import Any

from doorstep._bundle_format import MAGIC, BundledSite

WITHDRAWN = {"denied", "restricted", "services_off"}
GRANTED = {"approximate", "precise_once", "precise"}
#: of two reports with one sequence the one that grants less counts
_ORDER = (
    "denied",
    "restricted",
    "services_off",
    "unknown",
    "approximate",
    "precise_once",
    "precise",
)
_LEASES_DAYS = {"approximate": 7, "precise_once": 1, "precise": 7}
FARTHEST_AHEAD = 1_000_000


class FakePermission:
    """A device's permission: the greatest of its reports, and the highest withdrawal."""

    def __init__(self) -> None:
        self.sequence = 0
        self.epoch = 0
        self._state = "unknown"
        self._lease_until: datetime | None = None

    def at(self, now: datetime) -> str:
        """The state, unless its lease has lapsed."""
        lapsed = self._lease_until is not None and now >= self._lease_until
        return "unknown" if lapsed else self._state

    def lease_until(self, now: datetime) -> str | None:
        """As it is shown."""
        is_leased = self._lease_until is not None and self.at(now) in GRANTED
        return self._lease_until.isoformat() if is_leased and self._lease_until else None

    def take(self, state: str, sequence: int, now: datetime) -> None:
        """One more report, late or not."""
        if state in WITHDRAWN:
            self.epoch = max(self.epoch, sequence)
        if _precedence(sequence, state) <= _precedence(self.sequence, self._state):
            return
        self.sequence, self._state = sequence, state
        days = _LEASES_DAYS.get(state)
        self._lease_until = None if days is None else now + timedelta(days=days)

    def refuses(self, now: datetime, epoch: int | None, age_s: float) -> str | None:
        """Why a position captured under an epoch may not be processed."""
        state = self.at(now)
        if state in WITHDRAWN or (epoch is not None and epoch < self.epoch):
            return "permission-withdrawn"
        if state == "unknown" or (epoch is None and age_s > 120):
            return "permission-unknown"
        return None


def _precedence(sequence: int, state: str) -> tuple[int, int]:
    return sequence, -_ORDER.index(state)


class FakeDevice:
    """An enrolled device, of a person."""

    def __init__(self, device_id: str, person: FakePerson) -> None:
        self.id = device_id
        self.person = person
        self.permission = FakePermission()
        self.revoked = False


class FakePerson:
    """Somebody who checks in."""

    def __init__(self, subject_id: str) -> None:
        self.id = subject_id
        self.restricted: list[str] = []
        self.wholly = False
        #: what is stored of their check-ins, newest last
        self.stored: list[dict[str, Any]] = []

    def restricts(self, purpose: str) -> bool:
        """Whether nothing of theirs is processed for a purpose."""
        return self.wholly or purpose in self.restricted


class FakePurpose:
    """A purpose, as the API shows it."""

    def __init__(self, name: str, judged_by: str) -> None:
        self.shown: dict[str, Any] = {
            "name": name,
            "title": name.capitalize(),
            "version": 1,
            "legal_basis": "legitimate_interests",
            "level": "site",
            "time_precision_s": 900,
            "retention_days": 60,
            "max_age_s": 259_200,
            "requires_consent": False,
            "active": True,
            "judged_by": judged_by,
        }
        self.judged_by = judged_by
        self.max_age_s: int = self.shown["max_age_s"]


def circle(site_id: str, lat: float, lon: float, radius_m: float) -> BundledSite:
    """A site; its numbers are rounded as a bundle's are."""
    site = BundledSite()
    site.site_id, site.purposes, site.hours = site_id, None, None
    site.tolerance_m, site.max_accuracy_m, site.assurance = 0.0, 100.0, 0.5
    site.rings, site.radius_m = [[(round(lon, 7), round(lat, 7))]], float(math.ceil(radius_m))
    return site


def bundle_of(sites: list[BundledSite], purposes: list[str], version: int) -> tuple[bytes, str]:
    """The file of such circles, and its SHA-256."""
    names = [name.encode() for name in purposes]
    parts = [MAGIC, _number(version), _number(len(names))]
    parts += [_number(len(name)) + name for name in names]
    parts += [_number(0), _number(0), _number(len(sites))]
    parts += [_circle(site) for site in sorted(sites, key=lambda site: site.site_id)]
    content = b"".join(parts)
    return content, hashlib.sha256(content).hexdigest()


def _circle(site: BundledSite) -> bytes:
    [[center]] = site.rings
    assert site.radius_m is not None
    place = b"".join(_signed(round(value * 10**7)) for value in center)
    radius = b"\0" + _number(int(site.radius_m))
    return bytes.fromhex(site.site_id.replace("-", "")) + b"\1" + b"\7" + place + radius


def _number(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _signed(value: int) -> bytes:
    return _number(value << 1 if value >= 0 else (-value << 1) - 1)
