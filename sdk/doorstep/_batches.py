"""Rows of the outbox, sealed on their way in and read on their way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from doorstep import _verdicts as verdicts
from doorstep import _waiting as waiting
from doorstep._check_in import JudgedCheckIn, NewCheckIn
from doorstep._errors import OutboxUnusable, Unsealable
from doorstep._sealing import Sealer
from doorstep._value import Unpicklable, Value
from doorstep._waiting import Waiting

CheckInToSend: TypeAlias = NewCheckIn | JudgedCheckIn


class Batch(Unpicklable, Value):
    """Check-ins to be sent together."""

    rows: tuple[Waiting, ...]
    check_ins: tuple[CheckInToSend, ...]


def seal(row: Waiting, sealer: Sealer | None) -> Waiting:
    """The row as it is written."""
    try:
        sealed = waiting.sealed(row, sealer)
    except Exception:  # noqa: BLE001 (the app's own code, which may raise anything)
        sealed = None
    if sealed is None:
        raise OutboxUnusable("The sealer could not seal the check-in, so nothing was stored.")
    return sealed


def seal_verdict(row: Waiting, judged: JudgedCheckIn, sealer: Sealer | None) -> bytes:
    """What was found for a row, as it is written."""
    try:
        content = waiting.verdict_sealed(row, verdicts.encode(judged), sealer)
    except Exception:  # noqa: BLE001 (the app's own code, which may raise anything)
        content = None
    if content is None:
        raise OutboxUnusable("The sealer could not seal a verdict, so it was not stored.")
    return content


def within(rows: Sequence[Waiting], most_bytes: int) -> tuple[Waiting, ...]:
    """The first rows that fit into a request together; one always does."""
    total = 0
    for place, row in enumerate(rows):
        total += row.size_bytes
        if total > most_bytes and place:
            return tuple(rows[:place])
    return tuple(rows)


def read(
    row: Waiting, verdict: bytes | None, sealer: Sealer | None, boot: str
) -> CheckInToSend | Literal["unreadable", "later"]:
    """A check-in as it is to be sent: judged, where this device has done so."""
    try:
        claim = waiting.opened(row, sealer)
        found = None if verdict is None else waiting.verdict_opened(row, verdict, sealer)
    except Unsealable:
        return "unreadable"
    except Exception:  # noqa: BLE001 (the app's own code: its keystore may be locked)
        return "later"
    try:
        if found is None:
            return waiting.decode(row, claim, boot)
        return waiting.decode_judged(row, claim, found, boot)
    except (ValueError, KeyError, TypeError):
        return "unreadable"
