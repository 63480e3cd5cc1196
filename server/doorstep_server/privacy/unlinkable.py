"""What a stored row holds of its subject: nothing that repeats, and nothing that can be read.

Two things lead from a row to a person, and both need the keyring:

- its *token*, a keyed hash under the person's key of the purpose, the day of expiry and a number
  that counts the person's rows of that day. Whoever has the key finds the rows by asking for the
  tokens; without it no two rows can be seen to be of one person.
- the *sealed* subject id, under the tenant's key of the month in which the row expires, with a
  fresh nonce: for the controller, who may know who was at a site. The key is destroyed after that
  month.
"""

import hashlib
import hmac
import os
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from doorstep_server.privacy.keys import SubjectKeys, TenantKeys
from doorstep_server.privacy.seals import BrokenSeal

TOKEN_BYTES = 16
_DAY_BYTES = 2
_NONCE_BYTES = 12
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class TokenSeries:
    """The tokens of one person's rows for one purpose that expire on one day: number 0, 1, 2, …"""

    keys: SubjectKeys = field(repr=False)
    purpose: str
    expires_on: date

    def token(self, number: int) -> bytes:
        """One of them: the day in two bytes, so that a day's rows share their pages, and a hash."""
        said = f"row\0{self.purpose}\0{self.expires_on.toordinal()}\0{number}".encode()
        day = self.expires_on.toordinal() - _EPOCH_ORDINAL
        hashed = hmac.digest(self.keys.labels, said, hashlib.sha256)
        return day.to_bytes(_DAY_BYTES) + hashed[: TOKEN_BYTES - _DAY_BYTES]


def seal_subject(keys: TenantKeys, row_id: UUID, expires_on: date, subject_id: UUID) -> bytes:
    """Who a row is about. Raises `keys.NoRowKey`."""
    nonce = os.urandom(_NONCE_BYTES)
    sealing = AESGCM(keys.row_key(expires_on))
    return nonce + sealing.encrypt(nonce, subject_id.bytes, row_id.bytes)


def unseal_subject(keys: TenantKeys, row_id: UUID, expires_on: date, sealed: bytes) -> UUID:
    """The inverse of `seal_subject`. Raises `seals.BrokenSeal`, `keys.NoRowKey`."""
    nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        return UUID(bytes=AESGCM(keys.row_key(expires_on)).decrypt(nonce, text, row_id.bytes))
    except InvalidTag:
        raise BrokenSeal from None


def seal_personal(keys: SubjectKeys, context: bytes, text: bytes) -> bytes:
    """What is kept of a person or of a device of theirs: each time other bytes."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(keys.seals).encrypt(nonce, text, context)


def unseal_personal(keys: SubjectKeys, context: bytes, sealed: bytes) -> bytes:
    """The inverse of `seal_personal`. Raises `seals.BrokenSeal`."""
    nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        return AESGCM(keys.seals).decrypt(nonce, text, context)
    except InvalidTag:
        raise BrokenSeal from None
