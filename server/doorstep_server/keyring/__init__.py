"""The keyring: where secrets live, outside the database and its backups.

`Keyring` is what the rest of the server knows. Its entries are kept by a store (`entries`: a SQLite
file, or a PostgreSQL database of its own), each wrapped by the root (`root`), which derives
nothing: what could be derived again could not be destroyed.
"""

from doorstep_server.keyring.errors import LOST_DATABASE, KeyringUnusable
from doorstep_server.keyring.keyring import Keyring, KnownSubject

__all__ = ["LOST_DATABASE", "Keyring", "KeyringUnusable", "KnownSubject"]
