"""A check-in that waits in the outbox: how it is written down and read again.

The claim (purpose, site, action, position) is one JSON document, sealed as a whole where the app
has a sealer. What stands beside it in the clear tells no place. The claim of a check-in that this
device has judged has no position either: what was found stands in `_verdicts`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import ClassVar

from doorstep._check_in import JudgedCheckIn, NewCheckIn
from doorstep._clock import Moment
from doorstep._fix import Fix
from doorstep._sealing import Sealer
from doorstep._value import Unpicklable, Value, changed

#: of the claim's document: with a position, or of one that this device has judged
PLACED, JUDGED = 1, 2
#: what the members around a claim add to it in a request, and some more
ENVELOPE_BYTES = 256
#: a claim is some 300 bytes; one that is larger is a mistake
MAX_CLAIM_BYTES = 4096
_VERDICT = b"verdict"


class Waiting(Unpicklable, Value):
    """One row: it is written once and deleted. All that ever changes is that its position goes."""

    _hidden: ClassVar[frozenset[str]] = frozenset({"claim", "captured_at"})

    id: str
    base_url: str
    #: whose it is: the label of an identity in the same file
    identity: str
    epoch: int | None
    schema: int
    #: by the wall clock, in seconds
    captured_at: float
    #: when that was by the clock that nobody sets, in this run of the system; None when before it
    boot: str
    clock: float | None
    precise: bool
    sealed: bool
    claim: bytes
    #: the device's order
    sequence: int = 0

    def aad(self) -> bytes:
        """What a sealed claim belongs to: it opens in its own row only."""
        clear = (self.id, self.base_url, self.identity, self.epoch, self.schema)
        times = (self.captured_at, self.boot, self.clock, self.precise)
        return json.dumps([*clear, *times]).encode()

    def is_of_boot(self, boot: str) -> bool:
        """Whether its age can be told by the clock that nobody sets."""
        return self.boot == boot and self.clock is not None

    @property
    def size_bytes(self) -> int:
        return len(self.claim) + ENVELOPE_BYTES


def captured_clock(fix: Fix, now: Moment) -> float | None:
    """The capture on the clock that nobody sets; from the wall clock where the fix does not say."""
    if fix.elapsed_s is not None and fix.elapsed_s <= now.elapsed_s:
        return fix.elapsed_s
    age_s = max(0.0, (now.wall - fix.captured_at).total_seconds())
    return now.elapsed_s - age_s if age_s <= now.elapsed_s else None


def sealed(row: Waiting, sealer: Sealer | None) -> Waiting:
    """The row as it is written. Whatever the sealer raises goes through."""
    if sealer is None:
        return row
    return changed(row, sealed=True, claim=sealer.seal(row.claim, row.aad()))


def opened(row: Waiting, sealer: Sealer | None) -> bytes:
    """The claim in the clear. Raises what the sealer raises; without one, `LookupError`."""
    return row.claim if not row.sealed else _needed(sealer).open(row.claim, row.aad())


def verdict_sealed(row: Waiting, content: bytes, sealer: Sealer | None) -> bytes:
    """What was found for a row, sealed as the row is."""
    return content if not row.sealed else _needed(sealer).seal(content, row.aad() + _VERDICT)


def verdict_opened(row: Waiting, content: bytes, sealer: Sealer | None) -> bytes:
    return content if not row.sealed else _needed(sealer).open(content, row.aad() + _VERDICT)


def _needed(sealer: Sealer | None) -> Sealer:
    if sealer is None:
        raise LookupError("this row needs the sealer that sealed it")
    return sealer


def placeless(row: Waiting, judged: JudgedCheckIn) -> Waiting:
    """The same row, not sealed yet, without the position that it was judged by."""
    claim = encode(judged)
    return changed(row, schema=JUDGED, precise=False, sealed=False, claim=claim)


def encode(new: NewCheckIn | JudgedCheckIn) -> bytes:
    """The claim's document; what is too long for a check-in is refused without saying it."""
    claim = _written(new) if isinstance(new, NewCheckIn) else _written_judged(new)
    if len(claim) <= MAX_CLAIM_BYTES:
        return claim
    del claim  # some crash reporters print the variables of every frame
    raise ValueError("purpose or site_id is too long for a check-in; nothing was stored")


def _written(new: NewCheckIn) -> bytes:
    fix = new.fix
    document = {
        "purpose": new.purpose,
        "site_id": new.site_id,
        "action": new.action,
        "lat": fix.lat,
        "lon": fix.lon,
        "accuracy_m": fix.accuracy_m,
        "captured_at": fix.captured_at.astimezone(UTC).isoformat(),
        "mocked": fix.mocked,
        "source": fix.source,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _written_judged(judged: JudgedCheckIn) -> bytes:
    """The site is part of what was found: see `_verdicts`."""
    document = {
        "purpose": judged.purpose,
        "action": judged.action,
        "captured_at": judged.captured_at.astimezone(UTC).isoformat(),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def decode(row: Waiting, claim: bytes, boot: str) -> NewCheckIn:
    """As it was, to be sent with its own id and epoch."""
    said = json.loads(claim)
    fix = Fix(
        lat=said["lat"],
        lon=said["lon"],
        accuracy_m=said["accuracy_m"],
        captured_at=datetime.fromisoformat(said["captured_at"]),
        mocked=said["mocked"],
        source=said["source"],
        elapsed_s=_sure_clock(row, boot),
    )
    return NewCheckIn(
        purpose=said["purpose"],
        fix=fix,
        site_id=said["site_id"],
        action=said["action"],
        id=row.id,
        permission_epoch=row.epoch,
    )


def decode_judged(row: Waiting, claim: bytes, found: bytes, boot: str) -> JudgedCheckIn:
    """As it was judged, to be sent with its own id and epoch."""
    said = json.loads(claim)
    return JudgedCheckIn(
        purpose=said["purpose"],
        action=said["action"],
        id=row.id,
        captured_at=datetime.fromisoformat(said["captured_at"]),
        elapsed_s=_sure_clock(row, boot),
        permission_epoch=row.epoch,
        **json.loads(found),
    )


def _sure_clock(row: Waiting, boot: str) -> float | None:
    """The age of a check-in is told only where it is sure."""
    return row.clock if row.is_of_boot(boot) and row.clock is not None and row.clock >= 0 else None
