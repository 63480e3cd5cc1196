"""How a fake server settles check-ins: in the real one's order, by the same judging."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from doorstep._bundle_format import BundledSite
from doorstep._fix import Fix
from doorstep._ids import parse_check_in_id
from doorstep._judging import OUTCOMES, Found, judge_claim, search
from doorstep.testing._world import FakeDevice, FakePurpose

_RECEIPT_DAYS = 8
#: what two clocks may differ by
_SKEW_S = 120.0
_UNPLACED = {"accuracy_too_low", "accuracy_unknown"}
_UNLISTED = {"policy_version", "legal_basis", "subject_id"}
#: what changes on a retry is not content
_CONTENT = ("purpose", "site_id", "action", "fix", "verdict")


class Refused(Exception):
    """A problem, by its code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Claim:
    """A check-in as it came."""

    def __init__(self, body: Mapping[str, Any], now: datetime) -> None:
        """Raises `Refused` where it is not as described."""
        try:
            evidence = body.get("fix") or body["verdict"]
            self.captured_at = datetime.fromisoformat(evidence["captured_at"])
            self.id = str(body["id"]).lower()
            self.purpose = str(body["purpose"])
            self.fix = _fix(body["fix"], self.captured_at) if "fix" in body else None
        except (KeyError, TypeError, ValueError):
            raise Refused("invalid-body") from None
        if ("fix" in body) is ("verdict" in body):
            raise Refused("invalid-body")
        self.told: Mapping[str, Any] = body.get("verdict") or {}
        self.site_id: str | None = body.get("site_id")
        self.action: str | None = body.get("action")
        self.epoch: int | None = body.get("permission_epoch")
        self.content = json.dumps([body.get(name) for name in _CONTENT], sort_keys=True)
        self._times(body, now)

    def _times(self, body: Mapping[str, Any], now: datetime) -> None:
        """How old it is, by the phone's unset clock, else by the older of both clocks."""
        ahead = (self.captured_at - now).total_seconds()
        age_s = body.get("age_s")
        self.age_s = max(-ahead, 0.0) if age_s is None else float(age_s)
        self.is_skewed = age_s is None and ahead > _SKEW_S
        self.taken_at = self.captured_at if age_s is None else now - timedelta(seconds=self.age_s)


def _fix(body: Mapping[str, Any], captured_at: datetime) -> Fix:
    return Fix(
        lat=body["lat"],
        lon=body["lon"],
        accuracy_m=body.get("accuracy_m"),
        captured_at=captured_at,
        mocked=body.get("mocked"),
    )


class Settling:
    """A tenant's check-ins: which ids were answered how."""

    def __init__(self) -> None:
        self.sites: dict[str, BundledSite] = {}
        #: in which version of the configuration each site changed last
        self.changed: dict[str, int] = {}
        self.version = 1
        self.purposes: dict[str, FakePurpose] = {}
        self._receipts: dict[str, tuple[str, str, datetime, dict[str, Any]]] = {}

    def settle(
        self, device: FakeDevice, claim: Claim, now: datetime
    ) -> tuple[dict[str, Any], bool]:
        """The answer, and whether it was given before. Raises `Refused`."""
        _require_random(claim.id)
        before = self._receipts.get(claim.id)
        if before is not None:
            return self._replay(before, device, claim, now), True
        refusal = device.permission.refuses(now, claim.epoch, claim.age_s)
        if refusal is None and device.person.restricts(claim.purpose):
            refusal = "purpose-restricted" if claim.purpose in self.purposes else None
        refusal = refusal or self._refusal(claim)
        if refusal is not None:
            raise Refused(refusal)
        answer = self._answer(device, claim, now)
        self._receipts[claim.id] = (device.id, claim.content, now, answer)
        return answer, False

    def _replay(
        self,
        before: tuple[str, str, datetime, dict[str, Any]],
        device: FakeDevice,
        claim: Claim,
        now: datetime,
    ) -> dict[str, Any]:
        device_id, content, at, answer = before
        if now >= at + timedelta(days=_RECEIPT_DAYS):
            raise Refused("too-old")
        if (device_id, content) != (device.id, claim.content):
            raise Refused("id-reused")
        return answer

    def _refusal(self, claim: Claim) -> str | None:
        purpose = self.purposes.get(claim.purpose)
        if purpose is None:
            return "purpose-unknown"
        if claim.age_s > purpose.max_age_s:
            return "too-old"
        if (claim.fix is None) is not (purpose.judged_by == "device"):
            return "verdict-not-taken" if claim.fix is None else "position-not-taken"
        if claim.site_id is not None and claim.site_id not in self.sites:
            return "site-unknown"
        return self._told_refusal(claim) if claim.fix is None else None

    def _told_refusal(self, claim: Claim) -> str | None:
        if claim.site_id is None and claim.told["reason"] == "inside":
            return "site-required"
        changed = self.changed.get(claim.site_id or "", 0)
        is_known = changed <= claim.told["bundle_version"] <= self.version
        return None if is_known else "bundle-outdated"

    def _found(self, claim: Claim) -> Found:
        """What the position says, or the device."""
        if claim.fix is None:
            found = Found(claim.told["reason"], claim.site_id)
        elif claim.site_id is not None:
            found = judge_claim(self.sites[claim.site_id], claim.fix)
        else:
            found = search(_in_order(self.sites), claim.fix)
        settled = {"mocked", "null_island", *_UNPLACED}
        if claim.is_skewed and found.reason not in settled:
            return Found("clock_skew", claim.site_id)
        return found

    def _answer(self, device: FakeDevice, claim: Claim, now: datetime) -> dict[str, Any]:
        reason, site_id = self._found(claim)
        outcome = OUTCOMES.get(reason, "uncertain")
        answer: dict[str, Any] = {
            "id": claim.id,
            "outcome": outcome,
            "reason": reason,
            "site_id": site_id,
            "action": claim.action,
        }
        keeps_claim = outcome == "uncertain" and claim.site_id and reason not in _UNPLACED
        if outcome == "accepted" or keeps_claim:
            return self._stored(device, claim, now, answer)
        stored = {"level": "none", "purpose": claim.purpose, "day": _day(now), "reason": reason}
        answer["site_id"] = claim.site_id
        return {**answer, "stored": stored, "expires_on": None, "decision": "c2VhbGVk"}

    def _stored(
        self, device: FakeDevice, claim: Claim, now: datetime, answer: dict[str, Any]
    ) -> dict[str, Any]:
        expires_on = _day(now + timedelta(days=60))
        kept = {name: answer[name] for name in ("site_id", "action", "outcome", "reason")}
        stored = {
            "level": "site",
            "subject_id": device.person.id,
            "purpose": claim.purpose,
            "policy_version": 1,
            "legal_basis": "legitimate_interests",
            "site_version": 1,
            "time": _cut(claim.taken_at),
            "evidence": "device" if claim.fix is None else "gps",
            "expires_on": expires_on,
            **kept,
        }
        listed = {n: v for n, v in stored.items() if n not in _UNLISTED}
        device.person.stored.append({**listed, "id": claim.id, "cell": None})
        return {**answer, "stored": stored, "expires_on": expires_on}


def _require_random(check_in_id: str) -> None:
    try:
        parse_check_in_id(check_in_id)
    except ValueError:
        raise Refused("id-not-random") from None


def _in_order(sites: Mapping[str, BundledSite]) -> Sequence[BundledSite]:
    return [sites[site_id] for site_id in sorted(sites)]


def _day(now: datetime) -> str:
    return now.astimezone(UTC).date().isoformat()


def _cut(instant: datetime) -> str:
    """The start of its quarter of an hour."""
    seconds = int(instant.timestamp())
    return datetime.fromtimestamp(seconds - seconds % 900, UTC).isoformat().replace("+00:00", "Z")
