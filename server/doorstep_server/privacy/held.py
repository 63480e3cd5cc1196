"""A check-in as it is kept under a legal hold: sealed under its key, with who it is about."""

import os
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from doorstep_server.privacy.minimize import CheckInRecord
from doorstep_server.privacy.seals import BrokenSeal

_NONCE_BYTES = 12
#: what a row says, without what sealed its subject before
_KEPT = tuple(name for name in CheckInRecord.__struct_fields__ if name != "sealed")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldFor:
    """Whom a held check-in is about: when they are erased, nothing else says so."""

    subject_id: UUID
    external_id: str = field(repr=False)


def seal_held(key: bytes, held_id: UUID, about: HeldFor, record: CheckInRecord) -> bytes:
    """As it is stored."""
    kept = {name: getattr(record, name) for name in _KEPT}
    text = msgspec.msgpack.encode([about, kept])
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, text, held_id.bytes)


def unseal_held(key: bytes, held_id: UUID, sealed: bytes) -> tuple[HeldFor, CheckInRecord]:
    """The inverse: who, and what. Raises `seals.BrokenSeal`."""
    try:
        text = AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], held_id.bytes)
    except InvalidTag:
        raise BrokenSeal from None
    about, kept = msgspec.msgpack.decode(text)
    record = msgspec.convert({**kept, "sealed": b""}, CheckInRecord)
    return msgspec.convert(about, HeldFor), record
