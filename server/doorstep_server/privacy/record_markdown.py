"""A record of processing as Markdown, to be read and completed."""

import re
from collections.abc import Iterable, Iterator, Sequence

from doorstep_server.privacy.measures import Practice
from doorstep_server.privacy.record import (
    Disclosure,
    Party,
    ProcessingRecord,
    RecordedCategory,
    RecordedLevel,
)

#: an underline within a word is plain text
_SPECIAL = re.compile(r"[\\`*\[\]<>|#~&]|(?<![^\W_])_|_(?![^\W_])")
#: what would end a line, or do something to a terminal
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def markdown(record: ProcessingRecord) -> str:
    """The same as the record, section by section."""
    return "\n".join(_lines(record)) + "\n"


def _lines(record: ProcessingRecord) -> Iterator[str]:
    yield "# Record of processing"
    yield ""
    yield "GDPR art. 30 (1) and (2), LGPD art. 37. Made by Doorstep of what it stores and how the"
    yield "tenant is configured."
    yield ""
    yield f"Content hash: `{record.content_hash}`"
    yield from _section("Who", _parties(record))
    yield from _section("What is done", _practices(record.operations))
    yield from _section("Purposes", _purposes(record))
    for level in record.levels:
        yield from _section(f"What a check-in leaves at level `{level.level}`", _level(level))
    yield from _section("Whose data", _subjects(record))
    for category in record.data:
        yield from _section(f"Data: {category.category}", _category(category))
    yield from _section("Where it is kept", _places(record))
    yield from _section("Recipients", _disclosure(record.recipients))
    yield from _section("Transfers to other countries", _disclosure(record.transfers))
    yield from _section("Technical and organisational measures", _practices(record.measures))
    open_points = (f"- By the {point.by}: {_text(point.what)}" for point in record.to_be_completed)
    yield from _section("To be completed", open_points)


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    yield from lines


def _parties(record: ProcessingRecord) -> Iterator[str]:
    yield from _table(
        ["", "controller", "processor"],
        (
            [said, getattr(record.controller, name), getattr(record.processor, name)]
            for name in Party.__struct_fields__
            for said in [name.replace("_", " ")]
        ),
    )


def _practices(practices: Sequence[Practice]) -> Iterator[str]:
    for practice in practices:
        yield f"- {_text(practice.what)} Shown by {_code(practice.shown_by)}."


def _purposes(record: ProcessingRecord) -> Iterator[str]:
    yield f"No purpose may store more than the level `{record.max_level}`."
    yield ""
    yield from _table(
        ["purpose", "version", "switched on", "legal basis", "consent", "level", "stored at",
         "times cut to", "kept for", "positions up to", "judged by"],
        (
            [
                f"{p.name}: {p.title}",
                str(p.version),
                _yes(p.active),
                f"{p.legal_basis}: {p.articles}",
                "required" if p.requires_consent else "not asked for",
                p.level,
                " or ".join(p.may_store),
                f"{p.time_precision_s} s",
                f"{p.retention_days} days",
                f"{p.max_age_s} s old",
                f"the {p.judged_by}",
            ]
            for p in record.purposes
        ),
    )  # fmt: skip


def _level(level: RecordedLevel) -> Iterator[str]:
    yield from _table(
        ["column", "what for", "inside, sealed"],
        ([c.column, c.purpose, ", ".join(c.inside)] for c in level.stored),
    )


def _subjects(record: ProcessingRecord) -> Iterator[str]:
    for subjects in record.data_subjects:
        yield f"- {_text(subjects.category)}. Which kinds of people: {subjects.kinds}."


def _category(category: RecordedCategory) -> Iterator[str]:
    """What holds for every column is said once, above them."""
    yield f"{_text(category.description).capitalize()}."
    yield ""
    for name in _OFTEN_ALIKE:
        for said in getattr(category, name):
            yield f"- {name.capitalize()}: {_text(said)}."
    differing = [name for name in _OFTEN_ALIKE if len(getattr(category, name)) > 1]
    yield ""
    yield from _table(
        ["column", "what for", *differing],
        (
            [c.column, c.purpose, *(getattr(c, name) for name in differing)]
            for c in category.columns
        ),
    )


_OFTEN_ALIKE = ("concerns", "basis", "retention")


def _places(record: ProcessingRecord) -> Iterator[str]:
    yield "In the home (DOORSTEP_HOME); the operator may have put database and keyring elsewhere."
    yield ""
    yield from _table(["file", "holds"], ([place.file, place.holds] for place in record.places))


def _disclosure(disclosure: Disclosure) -> Iterator[str]:
    said = ", ".join(disclosure.by_doorstep) or "none"
    yield f"- By Doorstep itself: {_text(said)}."
    yield from _practices([disclosure.because])
    yield f"- {_text(disclosure.by_others)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(head)
    yield _row(["---"] * len(head))
    for row in rows:
        yield _row([_text(cell) for cell in row])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(places: Sequence[str]) -> str:
    return ", ".join(f"`{place}`" for place in places)


def _yes(said: bool) -> str:  # noqa: FBT001
    return "yes" if said else "no"


def _text(text: str) -> str:
    """Written by others, perhaps: it is shown, and does nothing to what is around it."""
    return _SPECIAL.sub(r"\\\g<0>", _CONTROL.sub(" ", text))
