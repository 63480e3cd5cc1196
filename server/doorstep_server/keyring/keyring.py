"""What is in the keyring, and how it comes and goes.

Independent random secrets: the deployment's, each tenant's, a tenant's for each month in which rows
expire, each person's. A secret is durable here before the database names anything made with it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from types import MappingProxyType
from uuid import UUID, uuid4

import msgspec

from doorstep_server.keyring.entries import Entries, EntryName, Head, Kind
from doorstep_server.keyring.errors import (
    BEHIND,
    FOREIGN,
    LOST_DATABASE,
    MISSING,
    KeyringUnusable,
)
from doorstep_server.keyring.root import Root
from doorstep_server.privacy.keys import SECRET_BYTES, SubjectKeys, TenantKeys, month_of

_PEPPER = EntryName("", Kind.DEPLOYMENT, "pepper")
_SIGNING = EntryName("", Kind.DEPLOYMENT, "signing")
_TENANT_SECRETS = {"labels": SECRET_BYTES, "seals": 64}
#: rows may expire in a year, and a server may run for a while without asking for more
ROW_KEYS_AHEAD = timedelta(days=366 + 62)
#: how long a keyring's row keys are good for before it must be asked again
ASK_AGAIN_AFTER = timedelta(days=20)


class _Person(msgspec.Struct, frozen=True, array_like=True):
    secret: bytes
    external_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownSubject:
    """A person, as the keyring knows them."""

    subject_id: UUID
    #: the tenant's own id for the person
    external_id: str = field(repr=False)
    keys: SubjectKeys = field(repr=False)


class Keyring:
    """An open keyring. Secrets are read from its store when asked for; nothing is cached here.

    Every call may wait for the store, so none belongs into the event loop.
    """

    def __init__(self, entries: Entries, root: Root) -> None:
        self._entries = entries
        self._root = root

    @classmethod
    def create(cls, entries: Entries, root: Root, database_id: UUID) -> "Keyring":
        """Make a keyring for a database. Raises `KeyringUnusable` if there is one."""
        if entries.exists():
            raise KeyringUnusable(LOST_DATABASE)
        keyring = cls(entries, root)
        head = Head(keyring_id=uuid4(), database_id=database_id, generation=1)
        made = {name: secrets.token_bytes(SECRET_BYTES) for name in (_PEPPER, _SIGNING)}
        entries.create(head, keyring._wrapped(made))
        return keyring

    @classmethod
    def open(cls, entries: Entries, root: Root) -> "Keyring":
        """Open an existing keyring. Raises `KeyringUnusable`."""
        if not entries.exists():
            raise KeyringUnusable(MISSING)
        keyring = cls(entries, root)
        keyring.pepper()
        return keyring

    def remove(self) -> None:
        """Take back a keyring that nothing was made with."""
        self._entries.remove()

    def head(self) -> Head:
        """The keyring's own id, that of its database, and its generation."""
        return self._entries.head()

    def require(self, expected: Head, tenant_ids: Iterable[UUID]) -> None:
        """Raise `KeyringUnusable` unless it is this one, not older, and knows these tenants."""
        head = self.head()
        if (head.keyring_id, head.database_id) != (expected.keyring_id, expected.database_id):
            raise KeyringUnusable(FOREIGN)
        if head.generation < expected.generation:
            raise KeyringUnusable(BEHIND)
        if not {str(tenant_id) for tenant_id in tenant_ids} <= self._entries.tenants():
            raise KeyringUnusable(BEHIND)

    # --- the deployment's --------------------------------------------------------------------

    def pepper(self) -> bytes:
        """The deployment's secret that API keys and device tokens are hashed with."""
        return self._secret(_PEPPER)

    def signing_secret(self) -> bytes:
        """The deployment's secret that deletion receipts are signed with (Ed25519)."""
        return self._secret(_SIGNING)

    # --- a tenant's --------------------------------------------------------------------------

    def add_tenant(self, tenant_id: UUID, today: date) -> TenantKeys:
        """Make a new tenant's secrets; durable when this returns."""
        made = {
            EntryName(str(tenant_id), Kind.TENANT, name): secrets.token_bytes(length)
            for name, length in _TENANT_SECRETS.items()
        }
        made |= {name: secrets.token_bytes(SECRET_BYTES) for name in _rows(tenant_id, today)}
        self._entries.add(self._wrapped(made), counted=True)
        return self.tenant(tenant_id, today)

    def tenant(self, tenant_id: UUID, today: date) -> TenantKeys:
        """A tenant's secrets, with those for every row that may be stored or read now.

        Raises `KeyringUnusable` when the keyring has none for it.
        """
        owned = self._read([EntryName(str(tenant_id), Kind.TENANT, n) for n in _TENANT_SECRETS])
        if len(owned) < len(_TENANT_SECRETS):
            raise KeyringUnusable(BEHIND)
        return TenantKeys(
            rows=self._row_keys(tenant_id, today),
            **{name.name: secret for name, secret in owned.items()},
        )

    def _row_keys(self, tenant_id: UUID, today: date) -> Mapping[str, bytes]:
        wanted = _rows(tenant_id, today)
        found = self._read(wanted)
        missing = [name for name in wanted if name not in found]
        if missing:
            # counted: a keyring without them could not say whom rows are about
            self._ensure(missing, counted=True)
            found |= self._read(missing)
        return MappingProxyType({name.name: secret for name, secret in found.items()})

    def destroy_ended_row_keys(self, tenant_id: UUID, today: date) -> int:
        """Destroy the keys of the months before this one; how many."""
        ended = [
            EntryName(str(tenant_id), Kind.ROWS, month)
            for month in self._entries.names(str(tenant_id), Kind.ROWS)
            if month < month_of(today)
        ]
        if ended:
            self._entries.destroy(ended, counted=True)
        return len(ended)

    # --- a person's --------------------------------------------------------------------------

    def subject_named(self, keys: TenantKeys, tenant_id: UUID, external_id: str) -> KnownSubject:
        """The person with this external id, who is known from now on if not before."""
        label = _external(keys, tenant_id, external_id)
        while True:
            found = self._entries.read([label])
            if label in found:
                subject_id = UUID(bytes=self._root.unwrap(label.context(), found[label]))
                known = self.subjects(tenant_id, [subject_id]).get(subject_id)
                if known is not None:
                    return known
            # another process may be faster: then theirs is found the next time
            subject_id = uuid4()
            person = _Person(secrets.token_bytes(SECRET_BYTES), external_id)
            made = {
                _subject(tenant_id, subject_id): msgspec.msgpack.encode(person),
                label: subject_id.bytes,
            }
            self._entries.add(self._wrapped(made), counted=True)

    def find_named(
        self, keys: TenantKeys, tenant_id: UUID, external_id: str
    ) -> KnownSubject | None:
        """The person with this external id, if one is known."""
        label = _external(keys, tenant_id, external_id)
        found = self._entries.read([label])
        if label not in found:
            return None
        subject_id = UUID(bytes=self._root.unwrap(label.context(), found[label]))
        return self.subjects(tenant_id, [subject_id]).get(subject_id)

    def subjects(self, tenant_id: UUID, subject_ids: Collection[UUID]) -> dict[UUID, KnownSubject]:
        """Those of these people that are known."""
        names = {_subject(tenant_id, subject_id): subject_id for subject_id in subject_ids}
        found = self._read(list(names))
        return {names[name]: _known(names[name], text) for name, text in found.items()}

    def subject(self, tenant_id: UUID, subject_id: UUID) -> KnownSubject | None:
        """One person; None when their secret was destroyed, or never was."""
        return self.subjects(tenant_id, [subject_id]).get(subject_id)

    def subject_ids(self, tenant_id: UUID) -> set[UUID]:
        """Every person of a tenant."""
        return {UUID(hex=name) for name in self._entries.names(str(tenant_id), Kind.SUBJECT)}

    def destroy_subject(self, keys: TenantKeys, tenant_id: UUID, subject_id: UUID) -> None:
        """Destroy all that leads to a person: nobody can tell any more which rows were theirs."""
        names = [_subject(tenant_id, subject_id)]
        known = self.subject(tenant_id, subject_id)
        if known is not None:
            names.append(_external(keys, tenant_id, known.external_id))
        self._entries.destroy(names, counted=True)
        # from now on there come no more of these
        self.destroy_exact_keys(tenant_id, subject_id)

    # --- exact positions ---------------------------------------------------------------------

    def exact_key(self, tenant_id: UUID, subject_id: UUID, day: date) -> bytes:
        """A person's key for the exact positions of a day, made if there is none.

        Nobody keeps it of who is not known: what it seals could not be read later.
        """
        name = _exact(tenant_id, subject_id, day)
        made = secrets.token_bytes(SECRET_BYTES)
        if name not in self._entries.read([name]):
            known = _subject(tenant_id, subject_id)
            self._entries.add(self._wrapped({name: made}), counted=False, beside=known)
        return self._read([name]).get(name, made)

    def find_exact_key(self, tenant_id: UUID, subject_id: UUID, day: date) -> bytes | None:
        """A person's key for the exact positions of a day, if it was not destroyed."""
        name = _exact(tenant_id, subject_id, day)
        return self._read([name]).get(name)

    def destroy_exact_keys(self, tenant_id: UUID, subject_id: UUID) -> None:
        """From now on nobody can read where exactly a person was."""
        names = self._exact_names(tenant_id, subject_id)
        if names:
            self._entries.destroy(names, counted=False)

    def destroy_ended_exact_keys(self, tenant_id: UUID, before: date) -> int:
        """Destroy the keys of exact positions of the days before one; how many."""
        ended = [
            EntryName(str(tenant_id), Kind.EXACT, name)
            for name in self._entries.names(str(tenant_id), Kind.EXACT)
            if name.partition(":")[2] < before.isoformat()
        ]
        if ended:
            self._entries.destroy(ended, counted=False)
        return len(ended)

    def _exact_names(self, tenant_id: UUID, subject_id: UUID) -> list[EntryName]:
        return [
            EntryName(str(tenant_id), Kind.EXACT, name)
            for name in self._entries.names(str(tenant_id), Kind.EXACT)
            if name.startswith(subject_id.hex)
        ]

    # --- legal holds -------------------------------------------------------------------------

    def hold_key(self, tenant_id: UUID, hold_id: UUID) -> bytes:
        """The key of what is kept under a legal hold, made if there is none."""
        name = EntryName(str(tenant_id), Kind.HOLD, hold_id.hex)
        self._ensure([name])
        return self._secret(name)

    def destroy_hold_key(self, tenant_id: UUID, hold_id: UUID) -> None:
        """What was kept under a legal hold cannot be read any more."""
        self._entries.destroy([EntryName(str(tenant_id), Kind.HOLD, hold_id.hex)], counted=False)

    # --- entries -----------------------------------------------------------------------------

    def _ensure(self, names: Sequence[EntryName], *, counted: bool = False) -> None:
        """Make those secrets that are not there; whoever is faster, theirs stay."""
        while missing := set(names) - self._entries.read(names).keys():
            made = {name: secrets.token_bytes(SECRET_BYTES) for name in missing}
            # all at once, or none where somebody made one of them meanwhile
            self._entries.add(self._wrapped(made), counted=counted)

    def _secret(self, name: EntryName) -> bytes:
        found = self._read([name])
        if name not in found:
            raise KeyringUnusable(BEHIND)
        return found[name]

    def _read(self, names: Collection[EntryName]) -> dict[EntryName, bytes]:
        found = self._entries.read(names)
        return {name: self._root.unwrap(name.context(), wrapped) for name, wrapped in found.items()}

    def _wrapped(self, entries: Mapping[EntryName, bytes]) -> dict[EntryName, bytes]:
        return {name: self._root.wrap(name.context(), secret) for name, secret in entries.items()}


def _subject(tenant_id: UUID, subject_id: UUID) -> EntryName:
    return EntryName(str(tenant_id), Kind.SUBJECT, subject_id.hex)


def _external(keys: TenantKeys, tenant_id: UUID, external_id: str) -> EntryName:
    said = b"external-id\0" + external_id.encode()
    label = hmac.digest(keys.labels, said, hashlib.sha256)
    return EntryName(str(tenant_id), Kind.EXTERNAL, label.hex())


def _rows(tenant_id: UUID, today: date) -> list[EntryName]:
    return [EntryName(str(tenant_id), Kind.ROWS, month) for month in _months(today)]


def _exact(tenant_id: UUID, subject_id: UUID, day: date) -> EntryName:
    return EntryName(str(tenant_id), Kind.EXACT, f"{subject_id.hex}:{day.isoformat()}")


def _known(subject_id: UUID, text: bytes) -> KnownSubject:
    person = msgspec.msgpack.decode(text, type=_Person)
    return KnownSubject(
        subject_id=subject_id, external_id=person.external_id, keys=SubjectKeys.of(person.secret)
    )


def _months(today: date) -> list[str]:
    """The months in which rows may expire that can be read or stored now."""
    months: list[str] = []
    day = today.replace(day=1)
    while day <= today + ROW_KEYS_AHEAD:
        months.append(month_of(day))
        day = (day + timedelta(days=32)).replace(day=1)
    return months
