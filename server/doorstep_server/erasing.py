"""Erasing a person, in steps that can each be taken again: killed at any moment, it goes on.

    intent (no device is left that could check in) → rows, receipts, exact positions, found by
    their tokens → the key → the name → physically gone from the database's files → a signed receipt

The key goes when nothing is left to be found with it, and before the files are written anew: that
may have to wait for others who read the database, and nobody must be readable for so long. What is
left of the person then, in files, backups and write-ahead logs, is nobody's. The receipt comes
last, so an erasure without one is never done. It says what was done and what may still be where,
and not to whom.
"""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from uuid import UUID, uuid4

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from doorstep_server.holding import Holding
from doorstep_server.keyring import Keyring, KnownSubject
from doorstep_server.policies import LONGEST_RETENTION_DAYS
from doorstep_server.privacy import labels
from doorstep_server.privacy.keys import SubjectKeys, TenantKeys
from doorstep_server.privacy.minimize import CheckInRecord
from doorstep_server.store import Connection, check_ins, holds, people, purposes, tenants
from doorstep_server.store.database import Database, Scrubbed
from doorstep_server.store.people import Erasure
from doorstep_server.store.reach import DIRECTORY, Reach
from doorstep_server.store.tokens import PersonRows

#: rows removed in one transaction: some milliseconds
AT_ONCE = 500
#: whoever keeps copies of the keyring lets go of them by then, or an erasure is none
KEYRING_COPIES_DAYS = 7


class DeletionReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a deletion receipt says. Nothing in it is about a person."""

    erasure_id: UUID
    asked_on: date
    done_on: date
    #: from these tables of the database and its files
    removed: Sequence[str]
    #: the day since which the database's write-ahead log may still hold ciphertext of it; None
    #: where it holds nothing, or where that could not be found out
    wal_since: date | None
    wal_known: bool
    #: the keys are destroyed; copies of the keyring must not be older than so many days
    keyring_copies_gone_after: date
    #: what a law or a court makes the tenant keep, apart, and until when
    held_until: date | None


_REMOVED = (
    "check_ins",
    "receipts",
    "exact_positions",
    "subjects",
    "devices",
    "device_tokens",
    "enrollment_codes",
    "keyring",
)


class _Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What the receipt will say, of which nothing is known any more when it is written."""

    held_until: date | None


@dataclass(frozen=True, slots=True)
class Eraser:
    """Erases people of a deployment. Its calls wait: none belongs into the event loop."""

    database: Database
    keyring: Keyring = field(repr=False)
    #: by erasure: the days on which its rows would have expired, as long as they are to be scrubbed
    _days: dict[UUID, set[date]] = field(default_factory=dict, repr=False)

    def ask(self, tenant_id: UUID, subject_id: UUID, today: date) -> Erasure:
        """Begin: from when this returns nothing of the person is taken any more."""
        wanted = new_erasure(subject_id, today)
        return self.database.write_now(
            Reach.of(tenant_id), lambda c: people.ask_erasure(c, tenant_id, wanted)
        )

    def finish_all(self, today: date) -> int:
        """Go on with every erasure that was begun; how many were done.

        Raises `DatabaseUnavailable`, `KeyringUnusable`: what was done till then stays done.
        """
        begun = [
            (tenant.tenant_id, erasure)
            for tenant in self.database.read_now(DIRECTORY, tenants.all_tenants)
            for erasure in self._unfinished(tenant.tenant_id)
        ]
        self._finish(begun, today)
        return len(begun)

    def finish(self, tenant_id: UUID, erasure: Erasure, today: date) -> None:
        """Take what steps are left of one."""
        self._finish([(tenant_id, erasure)], today)

    def _unfinished(self, tenant_id: UUID) -> list[Erasure]:
        return self.database.read_now(
            Reach.of(tenant_id), lambda connection: people.unfinished(connection, tenant_id)
        )

    def _finish(self, begun: Sequence[tuple[UUID, Erasure]], today: date) -> None:
        """All of them go before the files are written anew, once."""
        if not begun:
            return
        for tenant_id, erasure in begun:
            if erasure.subject_id is not None:
                self._remove(tenant_id, erasure.erasure_id, erasure.subject_id, today)
        scrubbed = self.database.scrub_now(self._to_scrub([erasure for _, erasure in begun]))
        for tenant_id, erasure in begun:
            self._prove(tenant_id, erasure, scrubbed, today)

    def _remove(self, tenant_id: UUID, erasure_id: UUID, subject_id: UUID, today: date) -> None:
        """Remove all that is stored of a person, then the key, then whom this is about."""
        keys = self.keyring.tenant(tenant_id, today)
        subject = self.keyring.subject(tenant_id, subject_id)
        if subject is not None:
            Holding(self.database, self.keyring, tenant_id).keep_all(keys, subject, today)
            self._days[erasure_id] = self._remove_rows(tenant_id, keys, subject, today)
        self.keyring.destroy_subject(keys, tenant_id, subject_id)
        generation = self.keyring.head().generation

        def unname(connection: Connection) -> None:
            held = holds.of_subject(connection, tenant_id, subject_id, today)
            draft = _Draft(held_until=max((hold.expires_on for hold in held), default=None))
            people.unname_erasure(connection, tenant_id, erasure_id, msgspec.json.encode(draft))
            tenants.note_keyring(connection, generation)

        self.database.write_now(Reach.of(tenant_id), unname)

    def _to_scrub(self, begun: Sequence[Erasure]) -> set[date] | None:
        """Those days; None, for all, where another run removed the rows: it may have been killed.

        Whom it was about stood in the erasure's row itself: that is scrubbed whatever the days.
        """
        days = [self._days.get(erasure.erasure_id) for erasure in begun]
        known = [some for some in days if some is not None]
        return set().union(*known) if len(known) == len(days) else None

    def _prove(self, tenant_id: UUID, erasure: Erasure, scrubbed: Scrubbed, today: date) -> None:
        """Write the receipt; who was faster, theirs stays."""

        def prove(connection: Connection) -> None:
            current = people.find_erasure(connection, tenant_id, erasure.erasure_id)
            assert current is not None
            if current.draft is not None:
                draft = msgspec.json.decode(current.draft, type=_Draft)
                receipt = _receipt(current, scrubbed, today, draft.held_until)
                signed = _signed(secret, receipt)
                people.finish_erasure(connection, tenant_id, erasure.erasure_id, signed)

        secret = self.keyring.signing_secret()
        self.database.write_now(Reach.of(tenant_id), prove)
        self._days.pop(erasure.erasure_id, None)

    def _remove_rows(
        self, tenant_id: UUID, keys: TenantKeys, subject: KnownSubject, today: date
    ) -> set[date]:
        """Remove a person's rows; the days on which they would have expired."""
        reach, days = Reach.of(tenant_id), set[date]()
        while True:
            found = self.database.read_now(
                reach, lambda c: _rows(c, tenant_id, subject.keys, today)
            )
            for start in range(0, len(found), AT_ONCE):
                some = found[start : start + AT_ONCE]
                receipts = [labels.receipt_key(keys, record.id) for record in some]

                def remove(
                    connection: Connection,
                    some: Sequence[CheckInRecord] = some,
                    receipts: Sequence[bytes] = receipts,
                ) -> None:
                    check_ins.remove(connection, tenant_id, some, receipts)

                self.database.write_now(reach, remove)
            days |= {record.expires_on for record in found}
            if not found:
                return days


def new_erasure(subject_id: UUID, today: date) -> Erasure:
    """An erasure with a fresh id."""
    return Erasure(erasure_id=uuid4(), subject_id=subject_id, asked_on=today)


def _rows(
    connection: Connection, tenant_id: UUID, keys: SubjectKeys, today: date
) -> list[CheckInRecord]:
    """All of a person's rows: those that expired and were not removed yet, too."""
    longest = LONGEST_RETENTION_DAYS
    names = [purpose.name for purpose in purposes.all_purposes(connection, tenant_id)]
    days = [today + timedelta(days=i) for i in range(-longest, longest + 1)]
    person = PersonRows(keys=keys, purposes=names, expires_on=days)
    return check_ins.of_person(connection, tenant_id, person)


def _receipt(
    erasure: Erasure, scrubbed: Scrubbed, today: date, held_until: date | None
) -> DeletionReceipt:
    return DeletionReceipt(
        erasure_id=erasure.erasure_id,
        asked_on=erasure.asked_on,
        done_on=today,
        removed=_REMOVED,
        wal_since=scrubbed.wal_since,
        wal_known=scrubbed.wal_known,
        keyring_copies_gone_after=today + timedelta(days=KEYRING_COPIES_DAYS),
        held_until=held_until,
    )


def _signed(secret: bytes, receipt: DeletionReceipt) -> bytes:
    """A JWS in its compact form (RFC 7515, RFC 8037): any library can check it."""
    key = Ed25519PrivateKey.from_private_bytes(secret)
    parts = [_base64(b'{"alg":"EdDSA"}'), _base64(msgspec.json.encode(receipt))]
    return b".".join([*parts, _base64(key.sign(b".".join(parts)))])


def public_key(keyring: Keyring) -> str:
    """What deletion receipts are checked with: the `x` of a JWK (RFC 8037)."""
    key = Ed25519PrivateKey.from_private_bytes(keyring.signing_secret()).public_key()
    return _base64(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def _base64(value: bytes) -> bytes:
    return urlsafe_b64encode(value).rstrip(b"=")
