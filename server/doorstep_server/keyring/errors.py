"""What can be wrong with a keyring, and what to do about it."""

LOST_DATABASE = (
    "There is a keyring here, but not the database that it belongs to. Put the database back. If "
    "there never was one, move the keyring away and run `doorstep init`."
)
MISSING = (
    "The keyring is missing. Put the keyring that belongs to this database back, or set "
    "DOORSTEP_KEYRING to where it is."
)
FOREIGN = (
    "This keyring belongs to another database. Put the keyring that belongs to this database back, "
    "or set DOORSTEP_KEYRING to where it is."
)
BEHIND = (
    "The keyring lacks a key that the database needs, or is older than the database. Put the "
    "newest copy of the keyring back."
)
ROOT_MISSING = (
    "The file with the keyring's root is missing. Put it back, or set DOORSTEP_KEYRING_ROOT to "
    "where it is. Without it nothing in the keyring can be read."
)
ROOT_FOREIGN = (
    "The keyring cannot be opened with this root. Put the root that it was made with back, or set "
    "DOORSTEP_KEYRING_ROOT to where it is."
)


class KeyringUnusable(RuntimeError):
    """The keyring is missing, damaged, or not the one that this database was made with."""


def unreadable(code: str) -> KeyringUnusable:
    """The store of the keyring does not work now; the code is the store's own."""
    return KeyringUnusable(
        f"The keyring cannot be read or written now ({code}). If it is damaged, put a good copy of "
        "it back."
    )
