"""The vault's key: a file of its own, which only its owner can read."""

import os
import secrets
import stat
from datetime import date
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_KEY_BYTES = 32


class VaultUnusable(RuntimeError):
    """The access vault or its key is missing, damaged, or not what the settings say."""


class VaultKey:
    """Seals each day under a key of its own, so that no nonce comes twice under one."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def create(cls, path: Path) -> "VaultKey":
        """Make a key, durable when this returns. One that is there is taken as it is."""
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return cls.open(path)
        with os.fdopen(file, "wb") as opened:
            opened.write(secrets.token_bytes(_KEY_BYTES))
            opened.flush()
            os.fsync(opened.fileno())
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> "VaultKey":
        """Read a key. Raises `VaultUnusable`."""
        if not path.is_file():
            raise VaultUnusable(
                "The access vault's key is missing. Put it back, or set DOORSTEP_ACCESS_VAULT_KEY "
                "to where it is: without it nothing in the vault can be read."
            )
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise VaultUnusable(
                "Others can read the access vault's key. Make it its owner's alone (chmod 600)."
            )
        secret = path.read_bytes()
        if len(secret) != _KEY_BYTES:
            raise VaultUnusable("The file with the access vault's key is not one. Put it back.")
        return cls(secret)

    def of_day(self, day: date) -> AESGCM:
        """What seals a day's entries."""
        info = b"doorstep access vault " + day.isoformat().encode()
        return AESGCM(HKDF(SHA256(), _KEY_BYTES, salt=None, info=info).derive(self._secret))
