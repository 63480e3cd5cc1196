"""The root: one secret that wraps every entry of the keyring, and derives nothing.

It lies in a file, apart from the keyring: a copy of the keyring without it says nothing. A key
management service is another `Root`, for another scheme of DOORSTEP_KEYRING_ROOT.
"""

import os
import secrets
from abc import ABC, abstractmethod
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from doorstep_server.keyring.errors import ROOT_FOREIGN, ROOT_MISSING, KeyringUnusable

_ROOT_BYTES = 64


class Root(ABC):
    """Wraps and unwraps secrets. Both may ask another machine, so both may take their time."""

    @abstractmethod
    def wrap(self, context: bytes, secret: bytes) -> bytes:
        """A secret as it may be stored, for a context that must be given again."""

    @abstractmethod
    def unwrap(self, context: bytes, wrapped: bytes) -> bytes:
        """The inverse of `wrap`. Raises `KeyringUnusable`."""


class FileRoot(Root):
    """A root in a file that only its owner can read (AES-256-SIV)."""

    def __init__(self, secret: bytes) -> None:
        self._sealing = AESSIV(secret)

    @classmethod
    def create(cls, path: Path) -> "FileRoot":
        """Make a root, durable when this returns. One that is there is taken as it is."""
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return cls.open(path)
        with os.fdopen(file, "wb") as opened:
            opened.write(secrets.token_bytes(_ROOT_BYTES))
            opened.flush()
            os.fsync(opened.fileno())
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> "FileRoot":
        """Read a root. Raises `KeyringUnusable`."""
        if not path.is_file():
            raise KeyringUnusable(ROOT_MISSING)
        secret = path.read_bytes()
        if len(secret) != _ROOT_BYTES:
            raise KeyringUnusable(ROOT_FOREIGN)
        return cls(secret)

    def wrap(self, context: bytes, secret: bytes) -> bytes:
        """In this process."""
        return self._sealing.encrypt(secret, [context])

    def unwrap(self, context: bytes, wrapped: bytes) -> bytes:
        """In this process."""
        try:
            return self._sealing.decrypt(wrapped, [context])
        except InvalidTag:
            raise KeyringUnusable(ROOT_FOREIGN) from None
