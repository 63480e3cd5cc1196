"""What was acknowledged, held against what is stored."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """An answer that says stored is true if there is one row of it."""

    acknowledged: int
    rows: int
    #: acknowledged, and not there
    missing: int
    #: there more than once
    double: int
    #: there, and nobody was told: an answer that was lost on its way, or never sent
    unacknowledged: int

    @classmethod
    def of(cls, acknowledged: Iterable[bytes], rows: Sequence[bytes]) -> "Ledger":
        """Of ids, each of 16 bytes; an id may be acknowledged more than once."""
        said, there = set(acknowledged), set(rows)
        return cls(
            acknowledged=len(said),
            rows=len(rows),
            missing=len(said - there),
            double=len(rows) - len(there),
            unacknowledged=len(there - said),
        )

    def without(self, filled: int) -> "Ledger":
        """The same where so many rows were there before, of which nobody was told."""
        return replace(self, rows=self.rows - filled, unacknowledged=self.unacknowledged - filled)

    @property
    def is_true(self) -> bool:
        """Whether no answer was wrong, nothing is there twice, and there is anything."""
        return self.rows > 0 and self.missing == self.double == 0

    @property
    def is_exact(self) -> bool:
        """Whether, also, each row was acknowledged: all answers arrived."""
        return self.is_true and not self.unacknowledged

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {name}" for name, count in asdict(self).items())
