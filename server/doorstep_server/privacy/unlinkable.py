"""What a stored row holds of its subject: nothing that repeats, and nothing that can be read.

Two things lead from a row to a person, and both need the keyring:

- its *token*, a keyed hash under the person's key of the purpose, the day of expiry and a number
  that counts the person's rows of that day. Whoever has the key finds the rows by asking for the
  tokens; without it no two rows can be seen to be of one person.
- the *sealed* subject id, under the tenant's key of the month in which the row expires, with a
  fresh nonce: for the controller, who may know who was at a site. The key is destroyed after that
  month.
"""

import os
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from doorstep_server.privacy.keyed_hash import keyed_hash
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
        ordinal = self.expires_on.toordinal()
        said = f"row\0{self.purpose}\0{ordinal}\0{number}".encode()
        day = (ordinal - _EPOCH_ORDINAL).to_bytes(_DAY_BYTES)
        return day + keyed_hash(self.keys.labels, said)[: TOKEN_BYTES - _DAY_BYTES]


def seal_subject(keys: TenantKeys, row_id: UUID, expires_on: date, subject_id: UUID) -> bytes:
    """Who a row is about. Raises `keys.NoRowKey`."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + keys.row_cipher(expires_on).encrypt(nonce, subject_id.bytes, row_id.bytes)


def unseal_subject(keys: TenantKeys, row_id: UUID, expires_on: date, sealed: bytes) -> UUID:
    """The inverse of `seal_subject`. Raises `seals.BrokenSeal`, `keys.NoRowKey`."""
    nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        return UUID(bytes=keys.row_cipher(expires_on).decrypt(nonce, text, row_id.bytes))
    except InvalidTag:
        raise BrokenSeal from None


def seal_personal(keys: SubjectKeys, context: bytes, text: bytes) -> bytes:
    """What is kept of a person or of a device of theirs: each time other bytes."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(keys.seals).encrypt(nonce, text, context)


def unseal_personal(keys: SubjectKeys, context: bytes, sealed: bytes) -> bytes:
    """The inverse of `seal_personal`. Raises `seals.BrokenSeal`."""
    [text] = unseal_all_personal(keys, (context, sealed))
    return text


def unseal_all_personal(keys: SubjectKeys, *sealed: tuple[bytes, bytes]) -> list[bytes]:
    """As `unseal_personal` each: to prepare the key takes longer than to unseal."""
    cipher = AESGCM(keys.seals)
    try:
        return [
            cipher.decrypt(text[:_NONCE_BYTES], text[_NONCE_BYTES:], context)
            for context, text in sealed
        ]
    except InvalidTag:
        raise BrokenSeal from None
