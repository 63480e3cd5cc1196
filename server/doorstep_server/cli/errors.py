"""Errors that are told to the operator as they are: each says what to do next."""

from doorstep_server.access_vault import VaultUnusable
from doorstep_server.deployment import NotInitialized
from doorstep_server.keyring import KeyringUnusable
from doorstep_server.settings import InvalidSetting
from doorstep_server.store.database import CannotCopy, DatabaseUnavailable, UnsupportedDatabase
from doorstep_server.store.migrate import CannotMigrate, ForeignDatabase, SchemaOutdated

TOLD = (
    NotInitialized,
    KeyringUnusable,
    InvalidSetting,
    UnsupportedDatabase,
    SchemaOutdated,
    CannotMigrate,
    CannotCopy,
    ForeignDatabase,
    DatabaseUnavailable,
    VaultUnusable,
)
