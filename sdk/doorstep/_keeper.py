"""The rules of docs/outbox.md as transactions: what a session does with its outbox.

The tables have modules of their own.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Literal, Self, TypeAlias, TypeVar

from doorstep import _batches as batches
from doorstep import _duties as duties
from doorstep import _flush_lease as flush_lease
from doorstep import _identities as identities
from doorstep import _kept_sites as kept_sites
from doorstep import _losses as losses
from doorstep import _queue as queue
from doorstep import _reports as reports
from doorstep import _tickets as tickets
from doorstep import _verdicts as verdicts
from doorstep import _waiting as waiting
from doorstep._batches import Batch, CheckInToSend
from doorstep._check_in import JudgedCheckIn, NewCheckIn
from doorstep._clock import SYSTEM, Moment, System
from doorstep._endpoints import PermissionState
from doorstep._errors import OutboxFull, OutboxUnusable
from doorstep._flush_lease import Holder
from doorstep._identities import Identity
from doorstep._known import Who
from doorstep._location import Stale, Unavailable
from doorstep._outbox_file import Corrupt, OutboxFile
from doorstep._permissions import GRANTED, WITHDRAWN, is_precise
from doorstep._queue import End
from doorstep._reports import Report
from doorstep._sealing import Sealer
from doorstep._switch import Switch
from doorstep._tickets import ProvisionalVerdict, TicketStatus
from doorstep._value import Unpicklable, Value
from doorstep._waiting import Waiting

T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], T]

#: the server answers a repeated id for eight days: whatever may be sent again must be younger
MAX_TTL_S = 7 * 86_400.0
MAX_BATCH_ITEMS = 50
MAX_BATCH_BYTES = 64_000
#: longer than a request takes, so that nobody else begins meanwhile
_LEASE_S = 60.0
_PURGE_WITHIN_S = 2.0
_PURGE_AGAIN_S = 1.0
_SEALER_AGAIN_S = 60.0


class EpochPassed(Exception):
    """A withdrawal became known between the capture and now."""


class Nothing(Value):
    """Nothing can be sent now; when it is worth looking again, if that is known."""

    why: str
    wait_s: float | None = None


class Learn(Value):
    """First the server must say who this is and how far its reports are."""


NextUp: TypeAlias = Nothing | Learn | Report | Batch


class Keeper(Unpicklable):
    """Keeps an outbox's file. `Outbox` says what its settings mean."""

    _system: ClassVar[System] = SYSTEM

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        capacity: int = 1000,
        ttl_s: float = 72 * 3600,
        when_full: Literal["refuse", "drop_oldest"] = "refuse",
        sealer: Sealer | None = None,
        on_loss: Callable[[str, int], None] | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError("capacity must be 1 or more")
        if not 0 < ttl_s <= MAX_TTL_S:
            raise ValueError("ttl_s must be above 0 and at most seven days: the server remembers 8")
        if when_full not in {"refuse", "drop_oldest"}:
            raise ValueError("when_full must be 'refuse' or 'drop_oldest'")
        self._path = os.fspath(path)
        self._capacity = capacity
        self._ttl_s = ttl_s
        self._drops_oldest = when_full == "drop_oldest"
        self._sealer = sealer
        self._on_loss = on_loss
        self._on_end: Callable[[Sequence[End]], None] = _nobody_hears
        self._file = OutboxFile(self._path)
        self._switch = Switch(self._path)
        self._holder = Holder(_LEASE_S)
        self._lock = threading.RLock()
        self._ended: list[End] = []
        self._purge_is_due = False

    def open(self) -> None:
        """Open the file, finish what somebody was killed over, and drop what is too old."""
        with self._lock:
            if self._file.is_open:
                return
            self._open()

    def close(self) -> None:
        """Give the lease back and close the file: no lock is held after this."""
        with self._lock:
            if not self._file.is_open:
                return
            try:
                self._file.run(lambda database: flush_lease.give_back(database, self._holder))
                self._file.forget(0)
            except (Corrupt, OutboxUnusable):
                pass  # the lease ends by itself, and what is corrupt is found at the next opening
            finally:
                self._file.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many check-ins wait."""
        return self._run(queue.count)

    def losses(self) -> Mapping[str, int]:
        """How many check-ins did not and will not arrive, by the reason, since the file began."""
        return self._run(losses.all_of)

    def ticket(self, id: str) -> TicketStatus | None:  # noqa: A002 (the wire's word)
        """How it stands with a check-in; None when it is not known here (any more)."""
        return self._run(lambda database: self._ticket(database, id))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def subscribe(self, on_end: Callable[[Sequence[End]], None]) -> None:
        """Hear of every check-in that waits no more; from the thread that did it."""
        self._on_end = on_end

    @property
    def switched_off(self) -> bool:
        """Whether the person has switched check-ins by location off, in the app."""
        return self._switch.is_off

    def switch(self, *, off: bool) -> None:
        """Keep what the person has switched in the app, check-ins by location off or on."""
        self._switch.turn(off=off)

    def identity(self, who: Who) -> Identity:
        """Whose check-ins are taken now. What belongs to anybody else is dropped."""
        return self._run(lambda database: self._identity(database, who))

    def put(
        self,
        who: Who,
        new: NewCheckIn,
        *,
        permission: PermissionState,
        epoch: int | None,
        judged: JudgedCheckIn | None = None,
    ) -> None:
        """Store a check-in: when this returns it is on the disk, or an error is raised.

        Of one that this device has judged no position is stored.
        Permission and epoch are those of the capture. When less is permitted now, `Unavailable` is
        raised; when only the epoch is another one, `EpochPassed`: take a new position. A check-in
        that is there already stays as it is.
        """
        now, boot = self._system.moment(), self._system.boot()

        def work(database: sqlite3.Connection) -> None:
            identity = self._identity(database, who)
            _require_allowed(identity, permission, epoch)
            self._expire(database, now, boot)
            if queue.has(database, new.id) or tickets.of(database, new.id) is not None:
                return
            self._make_room(database, now)
            row = Waiting(
                id=new.id,
                base_url=identity.base_url,
                identity=identity.label,
                epoch=epoch,
                schema=waiting.PLACED if judged is None else waiting.JUDGED,
                captured_at=new.fix.captured_at.timestamp(),
                boot=boot,
                clock=waiting.captured_clock(new.fix, now),
                precise=judged is None and is_precise(permission),
                sealed=False,
                claim=waiting.encode(judged or new),
            )
            row = batches.seal(row, self._sealer)
            queue.append(database, row)
            if judged is not None:
                verdicts.keep(database, row.id, batches.seal_verdict(row, judged, self._sealer))
            if queue.expired(database, now, boot, self._ttl_s):
                raise Stale

        self._run(work)

    def note_permission(self, who: Who, state: PermissionState, *, report: bool = False) -> bool:
        """Take over what the platform allows. What is no longer allowed is gone when this returns.

        In one transaction: a withdrawal's sequence becomes the epoch, every position goes, and the
        report of it is queued. `report` queues one where nothing changed, too. False while somebody
        else reads what must go: see `purge`.
        """
        now = self._system.moment()
        self._run(lambda database: self._note(database, who, state, now, again=report))
        return self.purge()

    def purge(self, within_s: float = 0) -> bool:
        """Do what a withdrawal still demands: no byte of a position is left in file and log.

        False while somebody else reads the log; then nothing is sent, and it is tried again.
        """
        with self._lock:
            if not self._run(duties.has_purge):
                return True
            if not self._forget(within_s):
                return False
            self._run(duties.purged)
            return True

    def next_up(
        self,
        who: Who,
        state: PermissionState,
        *,
        most_items: int = MAX_BATCH_ITEMS,
        resting: Mapping[str, float] | None = None,
    ) -> NextUp:
        """What to send next, after all that must be done before any send.

        `resting` are check-ins that the server does not want yet, and for how many seconds.
        """
        bounds = (min(most_items, MAX_BATCH_ITEMS), resting or {})
        now, boot = self._system.moment(), self._system.boot()
        with self._lock:
            self._run(lambda database: self._note(database, who, state, now))
            self._run(lambda database: self._expire(database, now, boot))
            if not self.purge():
                return Nothing(why="purging", wait_s=_PURGE_AGAIN_S)
            picked = self._run(lambda database: self._pick(database, who, state, now, boot, bounds))
            return self._opened(picked, boot) if isinstance(picked, tuple) else picked

    def sweep(self) -> None:
        """Drop what is too old, and finish what could not be purged."""
        now, boot = self._system.moment(), self._system.boot()
        self._run(lambda database: self._expire(database, now, boot))
        self.purge()

    def settle(self, ends: Sequence[End]) -> None:
        """Forget check-ins that were answered. What they said leaves the file at once."""
        now = self._system.moment()
        with self._lock:
            left = self._run(lambda database: self._end(database, ends, now))
            if not left:
                self._forget(0)

    def keep_verdicts(self, judged: Sequence[tuple[Waiting, JudgedCheckIn]]) -> None:
        """Before they are sent: whatever the bundle says later, a repetition says the same.

        What was stored before there were sites to judge by loses its position here.
        """
        rows = [batches.seal(waiting.placeless(row, one), self._sealer) for row, one in judged]
        contents = [
            batches.seal_verdict(row, one, self._sealer)
            for row, (_, one) in zip(rows, judged, strict=True)
        ]

        def work(database: sqlite3.Connection) -> None:
            for row, content in zip(rows, contents, strict=True):
                if queue.has(database, row.id):
                    queue.take_place(database, row)
                    verdicts.keep(database, row.id, content)
            if any(row.schema == waiting.PLACED for row, _ in judged):
                self._demand_purge(database)

        self._run(work)

    def keep_bundle(self, who: Who, content: bytes) -> None:
        """Keep the sites that this device judges by, for the next start."""
        label = self.identity(who).label
        kept = kept_sites.seal(label, content, self._sealer)

        def work(database: sqlite3.Connection) -> None:
            if kept is not None and self._identity(database, who).label == label:
                kept_sites.keep(database, kept)

        self._run(work)

    def bundle(self, who: Who) -> bytes | None:
        """The sites that were kept, if there are any and they can be read."""
        kept = self._run(
            lambda database: kept_sites.of(database, self._identity(database, who).label)
        )
        return None if kept is None else kept_sites.opened(kept, self._sealer)

    def refuse_epoch(self, who: Who, epoch: int | None) -> None:
        """The server says that the permission was withdrawn since this epoch."""
        now = self._system.moment()

        def work(database: sqlite3.Connection) -> None:
            label = identities.current(database, who).label
            ids = queue.up_to_epoch(database, label, epoch)
            self._end(database, _ends(ids, "withdrawn", "permission-withdrawn"), now)
            self._demand_purge(database)

        self._run(work)

    def learn(self, who: Who) -> None:
        """Take over what the server said of this device, and number the reports that waited."""

        def work(database: sqlite3.Connection) -> None:
            identity = self._identity(database, who)
            if identity.report_sequence is not None:
                reports.number_them(database, identity)

        self._run(work)

    def reported(self, who: Who, number: int) -> None:
        """A report was answered, or never will be."""

        def work(database: sqlite3.Connection) -> None:
            self._identity(database, who)
            reports.done(database, number)

        self._run(work)

    def sign_out(self) -> bool:
        """Forget everything of everybody; whether no byte is left yet (see `purge`)."""
        now = self._system.moment()

        def work(database: sqlite3.Connection) -> None:
            self._drop(database, identities.labels(database), "signed-out", now)

        self._run(work)
        self._switch.turn(off=False)
        return self.purge()

    # -- inside ----------------------------------------------------------------------------------

    def _open(self) -> None:
        lost = self._file.open()
        if lost and self._on_loss:
            self._on_loss("corrupt", lost)
        self.sweep()
        if self._file.found_log:
            self._forget(0)

    def _run(self, work: Work[T]) -> T:
        """One transaction, and what follows from it."""
        with self._lock:
            self._ended, self._purge_is_due = [], False
            result = self._commit(work)
            self._follow_up()
            return result

    def _commit(self, work: Work[T]) -> T:
        """A corrupt file is set aside, and the work done on a new one."""
        try:
            return self._file.run(work)
        except Corrupt:
            pass
        self._begin_anew()
        return self._file.run(work)

    def _forget(self, within_s: float) -> bool:
        """Empty the log; a corrupt file goes as a whole."""
        try:
            return self._file.forget(within_s)
        except Corrupt:
            pass
        self._begin_anew()
        return True

    def _begin_anew(self) -> None:
        self._file.close()
        self._open()

    def _follow_up(self) -> None:
        """After a commit: tell what ended, and take out of the log what must not be there."""
        self._tell()
        if self._purge_is_due:
            self._purge_is_due = False
            self.purge(_PURGE_WITHIN_S)

    def _demand_purge(self, database: sqlite3.Connection) -> None:
        duties.purge(database)
        self._purge_is_due = True

    def _tell(self) -> None:
        ended, self._ended = self._ended, []
        if not ended:
            return
        self._on_end(ended)
        if self._on_loss:
            for reason in sorted({one.loss for one in ended if one.loss}):
                self._on_loss(reason, sum(one.loss == reason for one in ended))

    def _identity(self, database: sqlite3.Connection, who: Who) -> Identity:
        identity = identities.current(database, who)
        others = identities.others(database, identity)
        if others:
            self._drop(database, others, "other-identity", self._system.moment())
        return identity

    def _drop(
        self, database: sqlite3.Connection, labels: Iterable[str], reason: str, now: Moment
    ) -> None:
        """Forget identities with all that is theirs, but for how many check-ins were lost."""
        ids = queue.of_identities(database, labels)
        self._end(database, _ends(ids, "withdrawn", reason), now)
        for label in labels:
            tickets.forget_identity(database, label)
            reports.forget_identity(database, label)
            kept_sites.forget_identity(database, label)
            identities.forget(database, label)
        self._demand_purge(database)

    def _note(
        self,
        database: sqlite3.Connection,
        who: Who,
        state: PermissionState,
        now: Moment,
        *,
        again: bool = False,
    ) -> None:
        identity = self._identity(database, who)
        mine = identities.own(database, identity)
        changed = state != identity.permission
        if changed and state in WITHDRAWN:
            self._withdraw(database, queue.of_identities(database, mine), "withdrawn", now)
            self._demand_purge(database)
        elif state == "approximate":
            self._withdraw(database, queue.precise_of(database, mine), "approximate", now)
        if changed or (again and reports.next_of(database, mine) is None):
            reports.append(database, identity, state, now.wall)
            identities.note_permission(database, identity.label, state)

    def _withdraw(
        self, database: sqlite3.Connection, ids: Sequence[str], reason: str, now: Moment
    ) -> None:
        if ids:
            self._end(database, _ends(ids, "withdrawn", reason), now)
            self._demand_purge(database)

    def _expire(self, database: sqlite3.Connection, now: Moment, boot: str) -> None:
        ids = queue.expired(database, now, boot, self._ttl_s)
        self._end(database, _ends(ids, "expired", "expired"), now)
        tickets.forget(database, before=now.wall.timestamp() - self._ttl_s, most=2 * self._capacity)

    def _make_room(self, database: sqlite3.Connection, now: Moment) -> None:
        while queue.count(database) >= self._capacity:
            if not self._drops_oldest:
                raise OutboxFull
            self._end(database, _ends([queue.oldest(database)], "failed", "outbox-full"), now)

    def _pick(
        self,
        database: sqlite3.Connection,
        who: Who,
        state: PermissionState,
        now: Moment,
        boot: str,
        bounds: tuple[int, Mapping[str, float]],
    ) -> Nothing | Learn | Report | tuple[Waiting, ...]:
        identity = identities.current(database, who)
        mine = identities.own(database, identity)
        report = reports.next_of(database, mine)
        most, resting = bounds
        rows = queue.head(database, mine, most, resting=resting)
        if report is None and not rows:
            return _rest(queue.head(database, mine, len(resting)) if resting else [], resting)
        if report is None and state not in GRANTED:
            return Nothing(why="not-permitted")
        if not flush_lease.take(database, self._holder, boot, now.elapsed_s):
            return Nothing(why="somebody-else-sends", wait_s=_LEASE_S / 4)
        if identity.device_id is None or (report is not None and report.sequence is None):
            return Learn()
        return report or batches.within(rows, MAX_BATCH_BYTES)

    def _opened(self, rows: tuple[Waiting, ...], boot: str) -> NextUp:
        """Read the claims. One that can never be read again ends alone."""
        readable: list[Waiting] = []
        check_ins: list[CheckInToSend] = []
        broken: list[str] = []
        judged = self._run(lambda database: verdicts.of(database, [row.id for row in rows]))
        for row in rows:
            opened = batches.read(row, judged.get(row.id), self._sealer, boot)
            if not isinstance(opened, str):
                readable.append(row)
                check_ins.append(opened)
            elif opened == "unreadable":
                broken.append(row.id)
            else:
                return Nothing(why="sealer", wait_s=_SEALER_AGAIN_S)
        if broken:
            self.settle(_ends(broken, "failed", "unreadable"))
        if not readable:
            return Nothing(why="unreadable", wait_s=0.0)
        return Batch(rows=tuple(readable), check_ins=tuple(check_ins))

    def _end(self, database: sqlite3.Connection, ends: Sequence[End], now: Moment) -> int:
        """End check-ins; how many still wait."""
        self._ended += queue.end(database, ends, now)
        return queue.count(database)

    def _ticket(self, database: sqlite3.Connection, id_: str) -> TicketStatus | None:
        row, boot = queue.one(database, id_), self._system.boot()
        if row is None:
            return tickets.of(database, id_)
        found = verdicts.of(database, [id_]).get(id_)
        judged = None if found is None else batches.read(row, found, self._sealer, boot)
        return TicketStatus(
            id=id_,
            state="queued",
            time_confidence="high" if row.boot == boot else "low",
            provisional=ProvisionalVerdict.of(judged)
            if isinstance(judged, JudgedCheckIn)
            else None,
        )


def _nobody_hears(_: Sequence[End]) -> None:
    pass


def _rest(rows: Sequence[Waiting], resting: Mapping[str, float]) -> Nothing:
    """Nothing waits, or only what the server does not want yet."""
    if not rows:
        return Nothing(why="empty")
    return Nothing(why="backing-off", wait_s=min(resting[row.id] for row in rows))


def _require_allowed(identity: Identity, permission: PermissionState, epoch: int | None) -> None:
    """Nothing may have been withdrawn between the capture and now."""
    now = identity.permission
    if permission not in GRANTED or now not in GRANTED:
        raise Unavailable
    if is_precise(permission) and not is_precise(now):
        raise Unavailable
    if epoch is not None and identity.epoch != epoch:
        raise EpochPassed


def _ends(ids: Iterable[str], state: str, reason: str) -> list[End]:
    return [End(id=id_, state=state, reason=reason, loss=reason) for id_ in ids]
