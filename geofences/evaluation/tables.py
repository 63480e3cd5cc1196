"""Records as tables: Markdown that is aligned, so it is the terminal's table too."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .claims import Kind
from .fixes import CORRELATIONS
from .records import Record
from .shares import Share
from .studies import MOST_FALSE_ACCEPTS, MOST_FALSE_REJECTS

Part = Callable[[Record], Share]


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One figure of the claims of a kind."""

    title: str
    kind: Kind
    part: Part
    with_interval: bool = False
    #: Of records with this correlation alone; a single fix has none.
    correlation: float | None = None

    def has(self, record: Record) -> bool:
        """Whether the record's figure stands in this column."""
        at = record.setting
        correlated = self.correlation in {None, at.correlation} or at.fixes == 1
        return correlated and self.kind is record.kind

    def cell(self, record: Record) -> str:
        """The figure, as it is written."""
        share = self.part(record)
        return str(share) if self.with_interval else share.percent


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """How the records of a section are told."""

    section: str
    title: str
    says: str
    #: What names a row.
    named_by: dict[str, Callable[[Record], str]]
    columns: Sequence[Column]

    def markdown(self, records: Iterable[Record]) -> str:
        """The table, or nothing if there are no records of it."""
        rows: dict[tuple[str, ...], list[str]] = {}
        for record in records:
            if record.setting.section != self.section:
                continue
            names = tuple(name(record) for name in self.named_by.values())
            row = rows.setdefault(names, [""] * len(self.columns))
            for number, column in enumerate(self.columns):
                if column.has(record):
                    row[number] = column.cell(record)
        if not rows:
            return ""
        heads = [*self.named_by, *(column.title for column in self.columns)]
        lines = _aligned([heads, *([*names, *cells] for names, cells in rows.items())])
        return f"## {self.title}\n\n{self.says}\n\n" + "\n".join(lines) + "\n"


def _accepted(record: Record) -> Share:
    return record.tally.accepted


def _uncertain(record: Record) -> Share:
    return record.tally.uncertain


def _rejected(record: Record) -> Share:
    return record.tally.rejected


def _fences(record: Record) -> str:
    at = record.setting
    return at.fences + (f" + {at.tolerance_m:g} m" if at.tolerance_m else "")


_SCENE: dict[str, Callable[[Record], str]] = {
    "fences": _fences,
    "accuracies": lambda r: r.setting.accuracies,
}
_RULE: dict[str, Callable[[Record], str]] = {"rule": lambda r: r.rule}
_FALSE_ACCEPTS = Column(
    title="false accepts, 50–500 m", kind=Kind.FAR, part=_accepted, with_interval=True
)
_NEARER = Column(title="accepted, 0–50 m", kind=Kind.NEAR, part=_accepted)
_FALSE_REJECTS = Column(title="false rejects", kind=Kind.INSIDE, part=_rejected, with_interval=True)
_AT_ENTRANCE = Column(title="at the entrance: rejected", kind=Kind.ENTRANCE, part=_rejected)
_ACCEPTED = Column(title="honest accepted", kind=Kind.INSIDE, part=_accepted)
_UNCERTAIN = Column(title="honest uncertain", kind=Kind.INSIDE, part=_uncertain)
_UNCERTAIN_AT_ENTRANCE = Column(
    title="at the entrance: uncertain", kind=Kind.ENTRANCE, part=_uncertain
)
_UNCERTAIN_FAR = Column(title="dishonest uncertain", kind=Kind.FAR, part=_uncertain)

TABLES = (
    Table(
        section="rules",
        title="Rules",
        says=f"Bars for ours: false accepts ≤ {MOST_FALSE_ACCEPTS:.1%}, "
        f"false rejects ≤ {MOST_FALSE_REJECTS:.1%}. 95 % confidence intervals in brackets. "
        "A tolerance is given to every rule; who is within it is beyond the edge all the same.",
        named_by=_SCENE | _RULE,
        columns=(
            *(_FALSE_ACCEPTS, _NEARER, _FALSE_REJECTS, _AT_ENTRANCE),
            *(_UNCERTAIN, _UNCERTAIN_AT_ENTRANCE, _UNCERTAIN_FAR),
        ),
    ),
    Table(
        section="levels",
        title="Assurance",
        says="The probability of being inside that is asked for before a fix is accepted; "
        "0 is what would be if the fence had to cover the fix and no more.",
        named_by=_SCENE | {"assurance": lambda r: r.rule},
        columns=(_FALSE_ACCEPTS, _NEARER, _FALSE_REJECTS, _ACCEPTED, _UNCERTAIN),
    ),
    Table(
        section="sizes",
        title="Size of the fence",
        says="At the standard assurance, with no tolerance.",
        named_by=_SCENE,
        columns=(_FALSE_ACCEPTS, _FALSE_REJECTS, _ACCEPTED, _UNCERTAIN),
    ),
    Table(
        section="caps",
        title="Cap on the accuracy",
        says="At the standard assurance.",
        named_by=_SCENE | {"cap, m": lambda r: r.rule},
        columns=(_FALSE_ACCEPTS, _FALSE_REJECTS, _ACCEPTED, _UNCERTAIN_FAR),
    ),
    Table(
        section="errors",
        title="When phones are wrong about their accuracy",
        says="Both assurances, where errors are larger than reported or have heavy tails.",
        named_by=_SCENE | {"errors": lambda r: r.setting.errors} | _RULE,
        columns=(_FALSE_ACCEPTS, _NEARER, _FALSE_REJECTS, _AT_ENTRANCE, _ACCEPTED),
    ),
    Table(
        section="reaches",
        title="How far is too far",
        says="A fix is rejected beyond so many accuracies; `judge` has 2.01.",
        named_by=_SCENE
        | {"errors": lambda r: r.setting.errors, "accuracies away": lambda r: r.rule},
        columns=(
            _FALSE_REJECTS,
            Column(title="dishonest rejected", kind=Kind.FAR, part=_rejected),
        ),
    ),
    *(
        Table(
            section="fixes",
            title=f"Several fixes of one claim: the {who}",
            says="At the standard assurance, in a circle of 75 m, by the correlation ρ of errors.",
            named_by={
                "accuracies": lambda r: r.setting.accuracies,
                "fixes": lambda r: str(r.setting.fixes),
                "combined": lambda r: r.rule,
            },
            columns=[
                Column(title=f"{title}, ρ {rho:g}", kind=kind, part=part, correlation=rho)
                for title, kind, part in columns
                for rho in CORRELATIONS
            ],
        )
        for who, columns in (
            (
                "dishonest",
                (("50–500 m", Kind.FAR, _accepted), ("0–50 m", Kind.NEAR, _accepted)),
            ),
            (
                "honest",
                (("accepted", Kind.INSIDE, _accepted), ("rejected", Kind.INSIDE, _rejected)),
            ),
        )
    ),
)


def tables(records: Sequence[Record]) -> str:
    """Every section that was measured."""
    return "\n".join(filter(None, (table.markdown(records) for table in TABLES)))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
