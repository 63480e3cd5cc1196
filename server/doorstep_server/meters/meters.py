"""Everything that a server counts of itself."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path

from doorstep_geofences import Reason
from doorstep_server import __version__
from doorstep_server.meters.families import (
    AnyFamily,
    Combined,
    Counter,
    Described,
    Gauge,
    Histogram,
    Kind,
    Labels,
    Row,
)
from doorstep_server.meters.sharing import OwnNumbers, SharedNumbers
from doorstep_server.meters.telling import Processes, Value, told

PREFIX = "doorstep_"
OTHER = "other"
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", OTHER)
#: by its first digit; `gone` when whoever asked went away before
STATUSES = ("gone", "1xx", "2xx", "3xx", "4xx", "5xx")
UNMATCHED = "unmatched"
#: why check-ins were not taken, before anything was written
NOT_TAKEN = ("device-limit", "journal-full", "waited-too-long", "stopping", "caller-gone")
COMMITTED = ("done", "conflicted", "unavailable", "failed")
DELETED = ("check_ins", "receipts", "exact_positions", "partitions", "keys")
RUNS = ("done", "put-off", "failed")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_000)


def _each(values: Iterable[str]) -> list[Labels]:
    return [(value,) for value in values]


class Meters:
    """The families of numbers, and where they are kept: in a folder that is shared, or apart."""

    def __init__(
        self,
        *,
        routes: Iterable[str] = (),
        codes: Iterable[str] = (),
        folder: Path | None = None,
    ) -> None:
        self._row = Row()
        self.families: list[AnyFamily] = []
        self._of_requests(routes, codes)
        self._of_check_ins()
        self._of_policies()
        self._of_jobs()
        self._of_this_process()
        self._begin(folder)

    def _of_requests(self, routes: Iterable[str], codes: Iterable[str]) -> None:
        self.requests = self._counter(
            "requests_total",
            "Requests, by the template of their address.",
            ("route", "method", "status"),
            # in the same order in every process
            product(sorted({*routes, UNMATCHED}), METHODS, STATUSES),
            sparse=True,
        )
        self.request_s = self._histogram("request_seconds", "How long requests took.", SECONDS)
        self.refusals = self._counter(
            "refusals_total",
            "Problems that were answered, those of items of batches included.",
            ("code",),
            _each(sorted(codes)),
        )

    def _of_check_ins(self) -> None:
        self.check_ins = self._counter(
            "check_ins_total",
            "Check-ins that were judged and committed.",
            ("outcome", "reason"),
            [(reason.outcome.value, reason.value) for reason in Reason],
        )
        self.replays = self._counter("replays_total", "Check-ins that were answered once more.")
        self.not_taken = self._counter(
            "check_ins_not_taken_total",
            "Check-ins that were sent away unsettled: nothing was written.",
            ("reason",),
            _each(NOT_TAKEN),
        )
        self.waiting = self._gauge("journal_waiting", "Check-ins that wait to be committed.")
        self.group_sizes = self._histogram(
            "journal_group_size", "How many check-ins were committed together.", SIZES
        )
        self.commits = self._counter(
            "journal_commits_total", "Groups of check-ins.", ("result",), _each(COMMITTED)
        )
        self.commit_s = self._histogram("journal_commit_seconds", "How long groups took.", SECONDS)
        self.drains = self._counter(
            "drains_total", "Workers that were told to stop and settled all that they had taken."
        )

    def _of_policies(self) -> None:
        self.snapshot_loads = self._counter(
            "snapshot_loads_total",
            "Snapshots of a tenant's sites: read whole, or brought up to date.",
            ("kind",),
            _each(("whole", "changes")),
        )
        self.snapshot_evictions = self._counter(
            "snapshot_evictions_total", "Snapshots that were let go of for want of memory."
        )
        self.snapshots = self._gauge("snapshots", "Snapshots that are held.")
        self.snapshot_bytes = self._gauge(
            "snapshot_bytes", "About how much memory the snapshots take."
        )
        self.polls = self._counter(
            "polls_total", "Looks for changes.", ("result",), _each(("done", "failed"))
        )
        self.keyring_generation = self._gauge(
            "keyring_generation", "The state of the keyring that is known.", Combined.MAX
        )
        self.keyring_failures = self._counter(
            "keyring_failures_total", "Requests and jobs for which the keyring could not be used."
        )
        self._last_look = self._gauge(
            "poll_age_seconds", "How long ago the slowest worker last looked for changes."
        )

    def _of_jobs(self) -> None:
        self.retention_runs = self._counter(
            "retention_runs_total", "Runs of retention.", ("result",), _each(RUNS)
        )
        self.retention_deleted = self._counter(
            "retention_deleted_total", "What retention deleted.", ("what",), _each(DELETED)
        )
        self.retention_done = self._gauge(
            "retention_done_timestamp_seconds", "When retention was last done.", Combined.MAX
        )
        self.erasure_runs = self._counter(
            "erasure_runs_total", "Runs of erasure, with or without work.", ("result",), _each(RUNS)
        )
        self.erasures = self._counter("erasures_total", "Erasures that were finished.")

    def _of_this_process(self) -> None:
        # of each its process; told is how many there are
        self._workers = self._gauge("workers", "Workers that run.")
        self._started = self._gauge(
            "worker_start_time_seconds", "When each worker was started.", labels=("worker",)
        )
        self._resident = self._gauge(
            "worker_resident_bytes", "How much memory each worker holds.", labels=("worker",)
        )
        self._version = self._gauge("info", "The version that runs.", labels=("version",))

    def _counter(
        self,
        name: str,
        text: str,
        labels: Labels = (),
        combinations: Iterable[Labels] = ((),),
        *,
        sparse: bool = False,
    ) -> Counter:
        said = Described(
            name=PREFIX + name, help=text, kind=Kind.COUNTER, labels=labels, sparse=sparse
        )
        made = Counter(self._row, said, combinations)
        self.families.append(made)
        return made

    def _gauge(
        self, name: str, text: str, combined: Combined = Combined.SUM, labels: Labels = ()
    ) -> Gauge:
        said = Described(
            name=PREFIX + name, help=text, kind=Kind.GAUGE, labels=labels, combined=combined
        )
        made = Gauge(self._row, said)
        self.families.append(made)
        return made

    def _histogram(self, name: str, text: str, bounds: Sequence[float]) -> Histogram:
        said = Described(name=PREFIX + name, help=text, kind=Kind.HISTOGRAM, labels=("le",))
        made = Histogram(self._row, said, bounds)
        self.families.append(made)
        return made

    def _begin(self, folder: Path | None) -> None:
        length = self._row.length
        self._kept: SharedNumbers | OwnNumbers = OwnNumbers(length)
        if folder is not None:
            # where nothing can be written, a process counts for itself
            with suppress(OSError):
                self._kept = SharedNumbers(folder, length)
        self._row.numbers = self._kept.numbers
        # of a process that has died, only counters go on
        for family in self.families:
            if isinstance(family, Gauge):
                family.set(0.0)
        self._workers.set(os.getpid())
        self._started.set(time.time())

    @property
    def is_shared(self) -> bool:
        """Whether other processes of the server are told of, too."""
        return isinstance(self._kept, SharedNumbers)

    def close(self) -> None:
        """Count no more for others to see; another process may count on."""
        self._row.numbers = OwnNumbers(self._row.length).numbers
        self._kept.close()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Of a request: the template of its address, its method and its status, 0 for none.

        What is not known is counted as something else.
        """
        labels = (route, method, STATUSES[status // 100])
        if not self.requests.knows(*labels):
            labels = (UNMATCHED, method if method in METHODS else OTHER, labels[2])
        self.requests.add(*labels)
        self.request_s.add(seconds)

    def looked(self) -> None:
        """It was looked for changes, just now."""
        self.polls.add("done")
        self._last_look.set(time.monotonic())

    def text(self) -> str:
        """All numbers of all processes, as Prometheus reads them."""
        processes = Processes(self._kept.all(), self._workers.places[0])
        worked_out: dict[AnyFamily, Callable[[], list[Value]]] = {
            self._workers: processes.count,
            self._started: partial(processes.each, self._started.places[0]),
            self._resident: processes.resident,
            self._last_look: partial(processes.age, self._last_look.places[0]),
            self._version: _version,
        }
        lines: list[str] = []
        for family in self.families:
            work_out = worked_out.get(family, partial(processes.values, family))
            lines += told(family.said, work_out())
        return "\n".join(lines) + "\n"


def _version() -> list[Value]:
    return [Value("", {"version": __version__}, 1)]
