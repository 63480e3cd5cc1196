"""What was measured: one record for each rule and kind of claim."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .claims import Kind, Scene
from .rules import Rule, Tally

#: Of the columns of the CSV file.
HEADS = (
    *("section", "fences", "tolerance_m", "accuracies", "errors", "fixes", "correlation"),
    *("rule", "claims_of", "count", "accepted", "accepted_low", "accepted_high"),
    *("uncertain", "uncertain_low", "uncertain_high"),
    *("rejected", "rejected_low", "rejected_high"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Under what a rule was measured."""

    section: str
    fences: str
    accuracies: str
    errors: str
    tolerance_m: float = 0.0
    #: How many fixes a claim has, and how their errors are correlated.
    fixes: int = 1
    correlation: float = 0.0

    @classmethod
    def of(cls, section: str, scene: Scene, *, tolerance_m: float = 0.0) -> "Setting":
        """A setting of one fix a claim."""
        return cls(
            section=section,
            fences=scene.fences.name,
            accuracies=scene.accuracies.name,
            errors=scene.errors.name,
            tolerance_m=tolerance_m,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What a rule said to claims of one kind."""

    setting: Setting
    rule: str
    kind: Kind
    tally: Tally


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """How many claims of which kinds are drawn, and from where."""

    kinds: Sequence[Kind]
    count: int
    rng: np.random.Generator


def measure(setting: Setting, scene: Scene, rules: Sequence[Rule], sample: Sample) -> list[Record]:
    """Every rule's answers to the same claims."""
    batches = {kind: scene.claims(kind, sample.count, sample.rng) for kind in sample.kinds}
    return [
        Record(setting=setting, rule=rule.name, kind=kind, tally=rule.answers(claims).tally())
        for rule in rules
        for kind, claims in batches.items()
    ]


def write_csv(records: Iterable[Record], file: Path) -> None:
    """All records, with 95 % confidence intervals."""
    with file.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text)
        writer.writerow(HEADS)
        writer.writerows(_cells(record) for record in records)


def _cells(record: Record) -> list[object]:
    at, tally = record.setting, record.tally
    shares = [
        f"{part:.6f}"
        for share in (tally.accepted, tally.uncertain, tally.rejected)
        for part in (share.value, *share.interval)
    ]
    return [
        *(at.section, at.fences, at.tolerance_m, at.accuracies, at.errors),
        *(at.fixes, at.correlation, record.rule, record.kind.value, tally.accepted.of),
        *shares,
    ]
