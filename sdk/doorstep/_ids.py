"""Ids are made on the phone before the first send, so a retry can never be a second check-in."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime

_DAY_S = 86_400
#: 4 is random; 8 may lead with the day, which a check-in tells anyway
_RANDOM_VERSIONS = "48"


def check_in_id(now: datetime | None = None) -> str:
    """Make a check-in's id: a UUID of version 8, 16 bits of the UTC day and then random.

    Ids that lead with the day lie together in the server's index.
    """
    moment = now or datetime.now(UTC)
    if moment.tzinfo is None:
        raise ValueError("now needs a time zone, e.g. datetime.now(UTC)")
    day = int(moment.timestamp() // _DAY_S) & 0xFFFF
    return _uuid(day.to_bytes(2, "big") + os.urandom(14), version=8)


def random_id(entropy: Callable[[int], bytes]) -> str:
    """A UUID of version 4, without the slow import of `uuid`."""
    return _uuid(entropy(16), version=4)


def parse_check_in_id(given: object) -> str:
    """Read an id that the caller made, as a string or `uuid.UUID`."""
    digits = str(given).replace("-", "").lower()
    if len(digits) != 32 or set(digits) - set("0123456789abcdef"):
        raise ValueError("a check-in's id is a UUID; make one with check_in_id()")
    if digits[12] not in _RANDOM_VERSIONS or digits[16] not in "89ab":
        raise ValueError(
            "a check-in's id is a random UUID (version 4 or 8): other versions tell time or "
            "hardware. Make one with check_in_id()"
        )
    return _hyphenated(digits)


def _uuid(random: bytes, *, version: int) -> str:
    octets = bytearray(random)
    octets[6] = octets[6] & 0x0F | version << 4
    octets[8] = octets[8] & 0x3F | 0x80
    return _hyphenated(octets.hex())


def _hyphenated(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
