"""The secrets that labels, tokens and seals are made with. The keyring stores them.

A tenant has one pair of secrets and one more for each month in which rows expire. A person has one
secret, of which everything is derived that could lead from a row to them: when it is destroyed, the
rows that are left (in a backup, say) are nobody's.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SECRET_BYTES = 32


class NoRowKey(LookupError):
    """There is no key for rows that expire in this month: they ended, or it is too far ahead."""


def month_of(day: date) -> str:
    """The month that the rows of a day share their key with, as `2026-05`."""
    return f"{day.year:04}-{day.month:02}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantKeys:
    """One tenant's secrets, independent of each other and of every other tenant's."""

    #: 32 bytes: keyed hashes (receipts, digests, look-ups)
    labels: bytes = field(repr=False)
    #: 64 bytes: AES-256-SIV (receipts of what was not stored, cursors, decisions)
    seals: bytes = field(repr=False)
    #: 32 bytes for each month of expiry: AES-256-GCM (who a row is about)
    rows: Mapping[str, bytes] = field(repr=False, default_factory=lambda: MappingProxyType({}))
    #: by day of expiry; they go with the keys
    _row_ciphers: dict[date, AESGCM] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def row_key(self, expires_on: date) -> bytes:
        """The key of rows that expire on a day. Raises `NoRowKey`."""
        try:
            return self.rows[month_of(expires_on)]
        except KeyError:
            raise NoRowKey from None

    def row_cipher(self, expires_on: date) -> AESGCM:
        """That key, prepared once: it takes longer than to seal. Raises `NoRowKey`."""
        prepared = self._row_ciphers.get(expires_on)
        if prepared is None:
            prepared = self._row_ciphers[expires_on] = AESGCM(self.row_key(expires_on))
        return prepared


@dataclass(frozen=True, slots=True)
class SubjectKeys:
    """One person's secret, and what is derived of it."""

    #: 32 bytes: keyed hashes (tokens of rows)
    labels: bytes = field(repr=False)
    #: 32 bytes: AES-256-GCM (what is kept of the person and of their devices)
    seals: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> "SubjectKeys":
        """Derive the keys of a person's secret."""
        return cls(*(hmac.digest(secret, use, hashlib.sha256) for use in (b"labels", b"seals")))
