"""What the phones tell the terminal. There is no slot for a coordinate."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from doorstep import ApiError, CheckIn, DoorstepError
from doorstep_server.demo.phone import Attempt

REFUSED, NO_ANSWER = "refused", "no answer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What became of one check-in; or, without a verdict, a report of the permission."""

    phone: str
    #: the claimed site's name, or what was done instead
    claimed: str
    #: what the phone measured, and the truth, which only a simulation knows
    fix: str = ""
    #: accepted, uncertain, rejected, or one of the two above
    verdict: str = ""
    reason: str = ""
    level: str = ""
    #: every field that the server kept
    stored: Mapping[str, object] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    at: datetime = field(default_factory=lambda: datetime.now().astimezone())

    @property
    def is_answer(self) -> bool:
        """Whether the server answered a check-in."""
        return self.verdict not in {"", NO_ANSWER}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A phone that cannot go on."""

    phone: str
    why: str


Event = Told | Ended


@dataclass(slots=True)
class Totals:
    """Counts over a run."""

    verdicts: Counter[str] = field(default_factory=Counter)
    stored: Counter[str] = field(default_factory=Counter)
    replayed: int = 0

    def add(self, event: Told) -> None:
        """Count one more."""
        if event.verdict:
            self.verdicts[event.verdict] += 1
        if event.level:
            self.stored[event.level] += 1
        self.replayed += "replayed" in event.marks

    def answers(self) -> int:
        """How many check-ins were answered."""
        return self.verdicts.total() - self.verdicts[NO_ANSWER]

    def text(self) -> str:
        """One line."""
        shown = ["accepted", "uncertain", "rejected", REFUSED, NO_ANSWER]
        counts = [f"{self.verdicts[word]} {word}" for word in shown if self.verdicts[word]]
        return ", ".join([*counts, f"{self.replayed} of them asked twice"])


def told(phone: str, attempt: Attempt, answer: CheckIn, found: str, *, kept: bool = False) -> Told:
    """A check-in with a verdict; `found` names the site of the answer."""
    return Told(
        phone=phone,
        claimed=claimed(attempt, found),
        fix=fix(attempt),
        verdict=answer.outcome,
        reason=answer.reason or "",
        level=answer.stored.level,
        stored=answer.stored.fields,
        marks=marks(kept=kept, replayed=bool(answer.replayed)),
    )


def refused(phone: str, attempt: Attempt, error: DoorstepError, *, kept: bool = False) -> Told:
    """A check-in without one: refused by the server, or never answered."""
    is_answer = isinstance(error, ApiError)
    return Told(
        phone=phone,
        claimed=claimed(attempt),
        fix=fix(attempt),
        verdict=REFUSED if is_answer else NO_ANSWER,
        reason=f"{error.status} {error.code}" if isinstance(error, ApiError) else "network",
        marks=marks(kept=kept, replayed=False),
    )


def claimed(attempt: Attempt, found: str = "") -> str:
    """What the phone says; and where it names no site, what was found."""
    searched = f"(searched) {found or 'nothing found'}"
    name = attempt.claimed.name if attempt.claimed else searched
    return f"{attempt.action}: {name}" if attempt.action else name


def fix(attempt: Attempt) -> str:
    """How good the position is, and how far off the person really is."""
    return f"±{attempt.accuracy_m:.0f} m, {away(attempt.off_m)}"


def away(off_m: float) -> str:
    """A distance in words."""
    if off_m == 0.0:
        return "inside"
    return (
        f"{max(10, round(off_m, -1)):.0f} m away" if off_m < 995 else f"{off_m / 1000:.1f} km away"
    )


def marks(*, kept: bool, replayed: bool) -> tuple[str, ...]:
    """What is special about how it was sent."""
    return (*(("queued",) if kept else ()), *(("replayed",) if replayed else ()))


def stored_text(event: Told) -> str:
    """Exactly what was stored: the level, and every field."""
    if not event.level:
        return "nothing"
    fields = ", ".join(f"{name}={_short(value)}" for name, value in event.stored.items())
    return f"level {event.level}: {fields}"


def _short(value: object) -> str:
    """Ids are cut for the eye."""
    text = "–" if value is None else str(value)
    return f"{text[:8]}…" if len(text) == 36 and text.count("-") == 4 else text
