"""Authenticated encryption under a tenant's key (AES-SIV, RFC 5297).

Deterministic: the same text in the same context gives the same bytes, which is what a replayed
answer needs, and needs no nonce that a restored machine could repeat.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from doorstep_server.privacy.keys import TenantKeys


class BrokenSeal(ValueError):
    """These bytes were not sealed with this tenant's key in this context."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def seal(keys: TenantKeys, context: bytes, text: bytes) -> bytes:
    """Encrypt a text; the context (what it is for) must be given again to open it."""
    return AESSIV(keys.seals).encrypt(text, [context])


def unseal(keys: TenantKeys, context: bytes, sealed: bytes) -> bytes:
    """Give the text back, or raise `BrokenSeal`."""
    try:
        return AESSIV(keys.seals).decrypt(sealed, [context])
    except (InvalidTag, ValueError):
        raise BrokenSeal from None


def seal_text(keys: TenantKeys, context: bytes, text: bytes) -> str:
    """`seal` in the URL-safe alphabet, for values that leave the server."""
    return urlsafe_b64encode(seal(keys, context, text)).decode().rstrip("=")


def unseal_text(keys: TenantKeys, context: bytes, sealed: str) -> bytes:
    """Give the text of a `seal_text` back, or raise `BrokenSeal`."""
    try:
        raw = urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
    except (binascii.Error, ValueError):
        raise BrokenSeal from None
    return unseal(keys, context, raw)
