"""Where the keyring's entries are kept: what both kinds of store have in common.

An entry is a name and wrapped bytes. A store also holds the keyring's own id, the id of the
database that belongs to it, and a generation: a number that grows with every change that the
database has to know of.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID


class Kind(StrEnum):
    """What an entry is."""

    #: the deployment's own secrets
    DEPLOYMENT = "deployment"
    #: a tenant's
    TENANT = "tenant"
    #: a tenant's key for rows, by the month in which they expire
    ROWS = "rows"
    #: a person's secret and external id, by subject id
    SUBJECT = "subject"
    #: which subject an external id names, by its keyed hash
    EXTERNAL = "external"
    #: a person's key for exact positions, by subject id and day
    EXACT = "exact"
    #: the key of what is kept under a legal hold
    HOLD = "hold"


class EntryName(NamedTuple):
    """Names one entry. `tenant` is empty for the deployment's."""

    tenant: str
    kind: Kind
    name: str

    def context(self) -> bytes:
        """What an entry's wrapping is bound to, so that none can stand in for another."""
        return "\0".join(self).encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """What a keyring says of itself."""

    keyring_id: UUID
    database_id: UUID
    generation: int


class Entries(ABC):
    """A store of entries, for one process. Each call is a transaction, durable when it returns."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether a keyring was ever made here."""

    @abstractmethod
    def create(self, head: Head, entries: Mapping[EntryName, bytes]) -> None:
        """Make a keyring. Raises `KeyringUnusable` if there is one."""

    @abstractmethod
    def remove(self) -> None:
        """Take back a keyring that nothing was made with."""

    @abstractmethod
    def head(self) -> Head:
        """What the keyring says of itself. Raises `KeyringUnusable`."""

    @abstractmethod
    def read(self, names: Collection[EntryName]) -> dict[EntryName, bytes]:
        """Those of these entries that there are."""

    @abstractmethod
    def names(self, tenant: str, kind: Kind) -> list[str]:
        """The names of a tenant's entries of a kind."""

    @abstractmethod
    def tenants(self) -> set[str]:
        """The tenants that have entries."""

    @abstractmethod
    def add(
        self,
        entries: Mapping[EntryName, bytes],
        *,
        counted: bool,
        beside: EntryName | None = None,
    ) -> bool:
        """Add entries, all of them or, where there is one of these names, none.

        None, too, where the entry `beside` is missing, or is destroyed at this moment. A counted
        change is one generation more.
        """

    @abstractmethod
    def destroy(self, names: Collection[EntryName], *, counted: bool) -> None:
        """Remove entries, physically: nothing of them stays in the store's files.

        Raises `KeyringUnusable` when that cannot be done now; it can be asked for again, whether
        they are still there or not.
        """
