"""The figures as pictures, in Okabe and Ito's colours, which the colour-blind can tell apart."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from .claims import Kind
from .fixes import MOST
from .records import Record
from .shares import Share
from .studies import MOST_FALSE_ACCEPTS

BLUE, SKY, GREEN, ORANGE, VERMILION, GREY, BLACK = (
    *("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#C4C4C4", "#000000"),
)
#: Where a logarithmic axis begins, in %; what is less, and none at all, stands there.
_LEAST = 0.01

# Figures are laid out by hand: matplotlib's own layouts take seconds for so many axes.

Panels = dict[tuple[str, str], list[Record]]


def write(records: Sequence[Record], folder: Path) -> list[str]:
    """A picture of each section that has one; the names of the files."""
    drawings: dict[str, Callable[[list[Record]], Figure]] = {
        "rules": _rules,
        "levels": _levels,
        "fixes": _fixes,
    }
    written = []
    for section, draw in drawings.items():
        found = [r for r in records if r.setting.section == section]
        if found:
            with mpl.rc_context({"svg.hashsalt": "doorstep", "font.size": 9}):
                draw(found).savefig(folder / f"{section}.svg", metadata={"Date": None})
            written.append(f"{section}.svg")
    return written


def _rules(records: list[Record]) -> Figure:
    """What happens to the honest, and how many of the dishonest are accepted."""
    panels = _panels(records)
    height = 1.0 + 1.9 * len(panels)
    figure = Figure(figsize=(11, height))
    figure.subplots_adjust(
        left=0.12, right=0.98, bottom=0.55 / height, top=1 - 0.6 / height, wspace=0.06, hspace=0.25
    )
    axes = figure.subplots(len(panels), 2, sharex="col", sharey="row", squeeze=False)
    for (left, right), ((fences, accuracies), found) in zip(axes, panels.items(), strict=True):
        _draw_outcomes(left, [r for r in found if r.kind is Kind.INSIDE])
        for kind, colour, marker in ((Kind.NEAR, ORANGE, "D"), (Kind.FAR, BLACK, "o")):
            _draw_accepted(right, [r for r in found if r.kind is kind], colour, marker)
        right.axvline(100 * MOST_FALSE_ACCEPTS, color=VERMILION, linestyle="--", linewidth=1)
        left.set_title(f"{fences}, accuracies of {accuracies}", loc="left", fontsize=9)
        left.invert_yaxis()
    first_left, first_right = axes[0]
    first_left.legend(loc="lower right", bbox_to_anchor=(1, 1.14), ncols=3, frameon=False)
    first_right.legend(loc="lower right", bbox_to_anchor=(1, 1.14), ncols=2, frameon=False)
    axes[-1][0].set_xlabel("people anywhere inside, %")
    axes[-1][0].set_xlim(0, 100)
    axes[-1][1].set_xlabel(
        f"accepted of people who are outside, % (95 % interval; dashed: {MOST_FALSE_ACCEPTS:.1%})"
    )
    _logarithmic(axes[-1][1], "x")
    return figure


def _draw_outcomes(axes: Axes, records: list[Record]) -> None:
    rules = [r.rule for r in records]
    start = [0.0] * len(records)
    for name, colour in (("accepted", BLUE), ("uncertain", GREY), ("rejected", VERMILION)):
        parts = [100 * getattr(r.tally, name).value for r in records]
        axes.barh(rules, parts, left=start, color=colour, height=0.7, label=name)
        start = [a + b for a, b in zip(start, parts, strict=True)]


def _draw_accepted(axes: Axes, records: list[Record], colour: str, marker: str) -> None:
    at, lengths = _with_intervals([r.tally.accepted for r in records], _LEAST)
    axes.errorbar(
        at,
        [r.rule for r in records],
        xerr=lengths,
        fmt=marker,
        color=colour,
        markersize=5,
        capsize=2,
        label=records[0].kind.value,
    )
    axes.grid(axis="x", color="#E5E5E5")
    axes.set_axisbelow(True)


def _levels(records: list[Record]) -> Figure:
    """What each assurance gives and costs."""
    panels = _panels(records)
    columns = min(len(panels), 2)
    figure = Figure(figsize=(10, 3.5 * len(panels) / columns))
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.08, top=0.9, wspace=0.08, hspace=0.28)
    axes = figure.subplots(len(panels) // columns, columns, sharex=True, sharey=True, squeeze=False)
    for panel, ((fences, accuracies), found) in zip(axes.flat, panels.items(), strict=True):
        _logarithmic(panel, "y")
        for kind, colour, marker, name in (
            (Kind.INSIDE, BLUE, "s", "people inside"),
            (Kind.NEAR, ORANGE, "D", Kind.NEAR.value),
            (Kind.FAR, BLACK, "o", Kind.FAR.value),
        ):
            some = [r for r in found if r.kind is kind]
            at = [float(r.rule) for r in some]
            _line(panel, at, [r.tally.accepted for r in some], colour, marker, name)
        panel.axhline(100 * MOST_FALSE_ACCEPTS, color=VERMILION, linestyle="--", linewidth=1)
        panel.set_title(f"{fences}, accuracies of {accuracies}", loc="left", fontsize=9)
        panel.set_xlabel("assurance; at 0 the fence covers the fix, no more")
        panel.set_ylabel("accepted, %")
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper right", ncols=3, frameon=False)
    return figure


def _fixes(records: list[Record]) -> Figure:
    """The most fixes, by the correlation of their errors, beside one fix."""
    parts: tuple[tuple[str, Kind, Callable[[Record], Share]], ...] = (
        ("honest: accepted", Kind.INSIDE, lambda r: r.tally.accepted),
        ("honest: rejected", Kind.INSIDE, lambda r: r.tally.rejected),
        ("0–50 m beyond: accepted", Kind.NEAR, lambda r: r.tally.accepted),
        ("50–500 m beyond: accepted", Kind.FAR, lambda r: r.tally.accepted),
    )
    sources = list(dict.fromkeys(r.setting.accuracies for r in records))
    height = 0.8 + 2.8 * len(sources)
    figure = Figure(figsize=(13, height))
    figure.subplots_adjust(
        left=0.05, right=0.99, bottom=1.0 / height, top=0.95, wspace=0.25, hspace=0.4
    )
    axes = figure.subplots(len(sources), len(parts), squeeze=False).flat
    for panel, (source, (title, kind, part)) in zip(axes, product(sources, parts), strict=True):
        some = [r for r in records if r.setting.accuracies == source and r.kind is kind]
        _draw_combined(panel, some, part)
        panel.set_title(f"{title} ({source})", loc="left", fontsize=9)
        panel.set_xlabel(f"correlation of errors, of {MOST} fixes")
        panel.set_ylabel("%")
        panel.set_ylim(bottom=0)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=6, frameon=False)
    return figure


def _draw_combined(axes: Axes, records: list[Record], part: Callable[[Record], Share]) -> None:
    looks = zip((BLUE, GREEN, VERMILION, ORANGE, SKY), "os^Dv", strict=True)
    [one] = [r for r in records if r.setting.fixes == 1]
    axes.axhline(100 * part(one).value, color=BLACK, linestyle=":", label=one.rule)
    most = [r for r in records if r.setting.fixes == MOST]
    for name, (colour, marker) in zip(dict.fromkeys(r.rule for r in most), looks, strict=True):
        some = [r for r in most if r.rule == name]
        at = [r.setting.correlation for r in some]
        _line(axes, at, [part(r) for r in some], colour, marker, name)


def _line(
    axes: Axes, at: list[float], shares: list[Share], colour: str, marker: str, name: str
) -> None:
    """A line in percent, with its intervals."""
    parts, lengths = _with_intervals(shares, _LEAST if axes.get_yscale() == "log" else 0.0)
    axes.errorbar(
        *(at, parts, lengths),
        color=colour,
        marker=marker,
        label=name,
        capsize=2,
        linewidth=1.2,
        elinewidth=0.7,
    )


def _with_intervals(
    shares: Sequence[Share], least: float
) -> tuple[list[float], tuple[list[float], list[float]]]:
    """Percents of at least so much, and how far their intervals reach below and above."""
    parts = [max(100 * share.value, least) for share in shares]
    ends = [[max(100 * end, least) for end in share.interval] for share in shares]
    below = [max(part - low, 0.0) for part, (low, _) in zip(parts, ends, strict=True)]
    above = [max(high - part, 0.0) for part, (_, high) in zip(parts, ends, strict=True)]
    return parts, (below, above)


def _logarithmic(axes: Axes, direction: str) -> None:
    axis = axes.xaxis if direction == "x" else axes.yaxis
    (axes.set_xscale if direction == "x" else axes.set_yscale)("log")
    (axes.set_xlim if direction == "x" else axes.set_ylim)(_LEAST * 0.9, 100)
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_locator(NullLocator())


def _panels(records: list[Record]) -> Panels:
    panels: Panels = {}
    for record in records:
        at = record.setting
        fences = at.fences + (f" + {at.tolerance_m:g} m" if at.tolerance_m else "")
        panels.setdefault((fences, at.accuracies), []).append(record)
    return panels
