"""Which keyring, and which root, a URL names."""

from pathlib import Path

from doorstep_server.keyring.entries import Entries
from doorstep_server.keyring.file_entries import FileEntries
from doorstep_server.keyring.root import FileRoot, Root
from doorstep_server.settings import InvalidSetting, Settings


def entries_at(settings: Settings) -> Entries:
    """Where the entries are; nothing is opened or made yet. Raises `InvalidSetting`."""
    url = settings.keyring
    if url is None:
        return FileEntries(settings.home / "keyring.db")
    if url.startswith(("postgresql://", "postgres://")):
        # only who uses PostgreSQL waits for its driver to load
        from doorstep_server.keyring.postgres_entries import PostgresEntries  # noqa: PLC0415

        return PostgresEntries(url)
    path = _path(url, "sqlite")
    if path is None:
        raise InvalidSetting(
            "DOORSTEP_KEYRING must be sqlite:///path/to/keyring.db, or the URL of a PostgreSQL "
            "database that is not Doorstep's own: postgresql://user:password@host/database."
        )
    return FileEntries(path)


def create_root(settings: Settings) -> Root:
    """The root of a new keyring. Raises `InvalidSetting`."""
    return FileRoot.create(_root_path(settings))


def open_root(settings: Settings) -> Root:
    """The root of a keyring. Raises `InvalidSetting`, `KeyringUnusable`."""
    return FileRoot.open(_root_path(settings))


def _root_path(settings: Settings) -> Path:
    if settings.keyring_root is None:
        return settings.home / "keyring.root"
    path = _path(settings.keyring_root, "file")
    if path is None:
        raise InvalidSetting(
            "DOORSTEP_KEYRING_ROOT must be file:///path/to/keyring.root: this version keeps the "
            "root in a file."
        )
    # a file URL's path begins with the third slash
    return Path("/") / path


def _path(url: str, wanted: str) -> Path | None:
    scheme, found, path = url.partition(":///")
    return Path(path) if found and scheme == wanted and path else None
