"""The seam to the platform's keystore. There is no cipher here, on purpose."""

from __future__ import annotations

from typing import Protocol


class Sealer(Protocol):
    """Encrypts what a waiting check-in says, with a key that the platform keeps.

    `aad` names the check-in and its owner: authenticate it with the content. `open` raises
    `Unsealable` where the key is gone for good; any other error means that the keystore cannot be
    used now (the phone is locked, say), and the check-in waits.
    """

    def seal(self, plain: bytes, aad: bytes) -> bytes:
        """Encrypt, and authenticate `aad` with it."""
        ...

    def open(self, sealed: bytes, aad: bytes) -> bytes:
        """What was sealed with this `aad`. Raises `Unsealable` where that can never be known."""
        ...
