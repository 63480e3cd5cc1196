"""Exact positions, for purposes that keep them for disputes: off unless the tenant switches it on.

A fix is sealed under its person's key of the day, which is in the keyring only. It is destroyed
when the next day ends, and at once when the permission is withdrawn: then nobody can read what is
in the database, its write-ahead log and its backups.
"""

import asyncio
import os
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

from doorstep_geofences import Fix, Outcome
from doorstep_server.keyring import Keyring
from doorstep_server.policies import Policy
from doorstep_server.privacy.levels import Level, least
from doorstep_server.privacy.minimize import EXACT_DAYS, ExactPosition, Judged

_NONCE_BYTES = 12


class Position(msgspec.Struct, frozen=True, array_like=True, repr_omit_defaults=True):
    """What is sealed of a fix."""

    lat: float
    lon: float
    accuracy_m: float | None
    captured_at: datetime

    def __repr__(self) -> str:
        return "<Position redacted>"


async def with_exact(
    keyring: Keyring, policy: Policy, judged: Sequence[Judged | str], fixes: Sequence[Fix | None]
) -> list[Judged | str]:
    """The judged check-ins, with the sealed fix where it is to be kept."""
    return [
        await _sealed(keyring, policy, one, fix)
        if isinstance(one, Judged) and fix is not None and _is_kept(one)
        else one
        for one, fix in zip(judged, fixes, strict=True)
    ]


def key_day(expires_on: date) -> date:
    """Under which day's key a position is that expires on a day."""
    return expires_on - timedelta(days=EXACT_DAYS)


def opened(key: bytes, position: ExactPosition) -> Position | None:
    """What a sealed position says; None where the key is not the one it was sealed with."""
    nonce, text = position.sealed[:_NONCE_BYTES], position.sealed[_NONCE_BYTES:]
    try:
        plain = AESGCM(key).decrypt(nonce, text, position.id.bytes)
    except InvalidTag:
        return None
    return msgspec.msgpack.decode(plain, type=Position)


def _is_kept(judged: Judged) -> bool:
    allowed = least(judged.purpose.level, judged.max_level)
    return allowed is Level.EXACT and judged.verdict.outcome is Outcome.ACCEPTED


async def _sealed(keyring: Keyring, policy: Policy, judged: Judged, fix: Fix) -> Judged:
    assert judged.captured_at is not None, "an accepted check-in has a time"
    day = judged.received_at.date()
    key = await asyncio.to_thread(keyring.exact_key, policy.tenant_id, judged.subject_id, day)
    position = Position(fix.lat, fix.lon, fix.accuracy_m, judged.captured_at)
    return replace(judged, exact=_seal(key, judged.id, position))


def _seal(key: bytes, check_in_id: UUID, position: Position) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    text = msgspec.msgpack.encode(position)
    return nonce + AESGCM(key).encrypt(nonce, text, check_in_id.bytes)
