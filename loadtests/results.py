"""What `bench.py` found, as Markdown and as plots, from its raw figures.

    python loadtests/results.py FOLDER/results.json

makes them anew.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

Figures = dict[str, Any]

ECHO, EMPTY, SQLITE, POSTGRESQL, USUAL = (
    "ASGI echo",
    "empty handler",
    "SQLite",
    "PostgreSQL",
    "usual design",
)
#: a core that idles less than this has no more to give
FULL = 0.1
PERCENTILES = ("p50", "p75", "p90", "p95", "p99", "p99.9")
_P50, _P99 = PERCENTILES.index("p50"), PERCENTILES.index("p99")


# --- single figures ------------------------------------------------------------------------------


def mid(values: Iterable[float | None]) -> float | None:
    """The median; None where the system told nothing."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def of(rounds: Sequence[Figures], name: str) -> float | None:
    """The median of one figure of a server's rounds."""
    return mid(one[name] for one in rounds)


def paired(rounds: Sequence[Figures], others: Sequence[Figures]) -> float:
    """The median of the ratios of rates, each of the same round."""
    pairs = zip(rounds, others, strict=True)
    return median(one["rate"] / max(other["rate"], 1e-9) for one, other in pairs)


def cpu_us(rounds: Sequence[Figures]) -> float | None:
    """Of server and database together, for a check-in: what others on the machine disturb least."""
    return mid(
        None if one["server_us"] is None else one["server_us"] + (one["database_us"] or 0.0)
        for one in rounds
    )


def found(figures: Figures, load: str, stored: int) -> dict[str, list[Figures]]:
    """The rounds under a load with so many stored, by server; none where it was not measured."""
    for one in figures["comparisons"]:
        if one["load"]["name"] == load and one["stored"] == stored:
            rounds: dict[str, list[Figures]] = one["rounds"]
            return rounds
    return {}


def limit(rounds: Sequence[Figures]) -> str:
    """What kept a server from being faster."""
    idle, generator = of(rounds, "idle"), of(rounds, "generator_idle")
    if idle is None or generator is None:
        return "unknown: not pinned"
    if idle < FULL:
        serving = of(rounds, "serving") or 0.0
        return "its core" if serving > 1 - 2 * FULL else "its core, which others used too"
    return "the generator's core" if generator < FULL else "waiting (for its disk, mostly)"


# --- what had to be shown ------------------------------------------------------------------------

#: what, the figure, how it is to compare with the bar, the bar
Bar = tuple[str, float, str, float]


def bars(figures: Figures) -> Iterator[Bar]:
    """Each bar of which the figure was measured."""
    stored_each_time = figures["options"]["stored"]
    for stored in sorted({min(stored_each_time), max(stored_each_time)}):
        yield from _rate_bars(figures, stored)
    for name, by_share in figures["latencies"].items():
        ratios = [one["percentiles_ms"][_P99] / one["percentiles_ms"][_P50]
                  for one in by_share["0.7"]]  # fmt: skip
        yield f"{name}: p99 by p50 at 70 % of capacity", median(ratios), "≤", 5.0
    yield from _fences_bars(figures)
    for name, points in figures["soak"].items():
        yield f"{name}: memory at the end by memory after a tenth", _growth(points), "≤", 1.1


def _rate_bars(figures: Figures, stored: int) -> Iterator[Bar]:
    for load in ("single", "searching"):
        rounds = found(figures, load, stored)
        where = f"{load}, {stored:,} stored"
        for name, bar in ((SQLITE, 0.7), (POSTGRESQL, 0.5)):
            if name in rounds:
                share = paired(rounds[name], rounds[EMPTY])
                yield f"{name} by empty handler, {where}", share, "≥", bar
        if USUAL in rounds:
            share = paired(rounds[POSTGRESQL], rounds[USUAL])
            yield f"{POSTGRESQL} by usual design, {where}", share, "≥", 7.0
    batches, single = found(figures, "batches of 100", stored), found(figures, "single", stored)
    for name in (SQLITE, POSTGRESQL):
        if name in batches:
            share = paired(batches[name], single[name])
            yield f"{name}: batches of 100 by single, {stored:,} stored", share, "≥", 5.0


def _fences_bars(figures: Figures) -> Iterator[Bar]:
    for one in figures["fences"]:
        names = list(one["rounds"])
        for few, many in zip(names[::2], names[1::2], strict=True):
            share = paired(one["rounds"][few], one["rounds"][many])
            yield f"{many} cost, by {few}: {one['load']['name']}", share, "≤", 1.3


def _growth(points: Sequence[Sequence[float]]) -> float:
    total = points[-1][0]
    tenth = next(megabytes for count, megabytes in points if count >= total / 10)
    return points[-1][1] / tenth


def _is_met(bar: Bar) -> bool:
    _, value, how, wanted = bar
    return value >= wanted if how == "≥" else value <= wanted


# --- Markdown ------------------------------------------------------------------------------------

_HOW = (
    "{devices:,} devices, {sites:,} sites, {rounds} rounds of {seconds:g} s in turns after "
    "{warm_up:g} s to warm up, one worker. Rates and latencies are medians of the rounds, ratios "
    "medians of the ratios within each round; CPU is that of server and of database, in µs a "
    "check-in. *A core alone* is what a core would give that nobody else used."
)


def markdown(figures: Figures) -> str:
    """All of it."""
    options = figures["options"]
    parts = [
        [f"# Benchmark of {figures['began']}", ""],
        _table(("what", "how"), figures["machine"].items()),
        [
            _HOW.format(**options),
            "",
        ],
        _bars(figures),
        *(_comparison(one) for one in figures["comparisons"]),
        _curve(figures),
        _latencies(figures),
        *(_comparison(one, "## Fences: ") for one in figures["fences"]),
        _soak(figures),
        _sizes(figures),
        _truth(figures),
    ]
    return "\n".join(line for part in parts for line in part)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def _bars(figures: Figures) -> list[str]:
    rows = [
        (bar[0], f"{bar[1]:.2f}", f"{bar[2]} {bar[3]:g}", "yes" if _is_met(bar) else "**no**")
        for bar in bars(figures)
    ]
    return ["## Bars", "", *_table(("what", "found", "bar", "met"), rows)] if rows else []


def _comparison(one: Figures, title: str = "## ") -> list[str]:
    load, rounds = one["load"], one["rounds"]
    head = ("server", "check-ins/s", "of empty", "by usual", "CPU server", "CPU database",
            "a core alone", "p50 ms", "p99 ms", "limited by")  # fmt: skip
    lines = [f"{title}{load['name']}, {one['stored']:,} stored, {load['connections']} connections"]
    lines += ["", *_table(head, [_row(name, got, rounds) for name, got in rounds.items()])]
    costs = [r["generator_us"] for got in rounds.values() for r in got]
    return [*lines, f"The generator could send {1e6 / max(min(costs), 1e-9):,.0f} a second.", ""]


def _row(name: str, got: Sequence[Figures], rounds: dict[str, list[Figures]]) -> list[str]:
    alone, rates = cpu_us(got), [one["rate"] for one in got]
    return [
        name,
        f"{median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})",
        f"{paired(got, rounds[EMPTY]):.2f}" if EMPTY in rounds else "",
        f"{paired(got, rounds[USUAL]):.1f}" if USUAL in rounds else "",
        _shown(of(got, "server_us")),
        _shown(of(got, "database_us")),
        f"{1e6 / alone:,.0f}/s" if alone else "",
        f"{of(got, 'p50_ms'):.1f}",
        f"{of(got, 'p99_ms'):.1f}",
        limit(got),
    ]


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} µs"


def points_of(figures: Figures) -> list[tuple[int, dict[str, list[Figures]]]]:
    """Single check-ins by how many are stored."""
    return sorted(
        (one["stored"], one["rounds"])
        for one in figures["comparisons"]
        if one["load"]["name"] == "single"
    )


def _curve(figures: Figures) -> list[str]:
    points = points_of(figures)
    if len(points) < 2:
        return []
    names = [name for name in points[0][1] if name not in {ECHO, EMPTY}]
    rows = [
        [f"{stored:,}", *(f"{paired(rounds[name], rounds[EMPTY]):.2f}" for name in names)]
        for stored, rounds in points
    ]
    title = "## Single check-ins, as a share of the empty handler's, by how many are stored"
    return [title, "", *_table(["stored", *names], rows)]


def _latencies(figures: Figures) -> list[str]:
    rows = [
        _latency_row(name, float(share), rounds)
        for name, by_share in figures["latencies"].items()
        for share, rounds in by_share.items()
    ]
    if not rows:
        return []
    head = ("server", "of capacity", "check-ins/s", *(f"{name} ms" for name in PERCENTILES),
            "worst ms", "p99 by p50")  # fmt: skip
    title = "## Latencies at a constant rate, from when each check-in was due"
    return [title, "", *_table(head, rows)]


def _latency_row(name: str, share: float, rounds: Sequence[Figures]) -> list[str]:
    middles = [median(r["percentiles_ms"][i] for r in rounds) for i in range(len(PERCENTILES))]
    ratios = [r["percentiles_ms"][_P99] / r["percentiles_ms"][_P50] for r in rounds]
    return [
        name,
        f"{share:.0%}",
        f"{of(rounds, 'rate'):,.0f}",
        *(f"{value:.2f}" for value in middles),
        f"{of(rounds, 'worst_ms'):.1f}",
        f"{median(ratios):.1f}",
    ]


def _soak(figures: Figures) -> list[str]:
    lines: list[str] = []
    for name, points in figures["soak"].items():
        every = max(1, len(points) // 10)
        shown = [*points[:-1:every], points[-1]]
        rows = [(f"{count:,}", f"{megabytes:.0f}") for count, megabytes in shown]
        lines += [f"## Memory over check-ins: {name}", "", *_table(("check-ins", "MB"), rows)]
    return lines


def _sizes(figures: Figures) -> list[str]:
    rows = [(name, f"{size:.0f}") for name, size in figures["row_bytes"].items()]
    head = ("server", "bytes a check-in")
    return ["## On disk, of those that were filled in", "", *_table(head, rows)] if rows else []


def _truth(figures: Figures) -> list[str]:
    head = ("server", "acknowledged", "stored", "missing", "double", "stored unacknowledged")
    rows = [
        (name, *(f"{one[key]:,}" for key in _LEDGER)) for name, one in figures["ledgers"].items()
    ]
    lines = ["## What was acknowledged, against what is stored", "", *_table(head, rows)]
    for name, failures in figures["failures"].items():
        told = ", ".join(f"{count} × {what}" for what, count in failures.items())
        lines += [f"**FAILED** {name}: {told}", ""]
    return lines


_LEDGER = ("acknowledged", "rows", "missing", "double", "unacknowledged")


# --- plots ---------------------------------------------------------------------------------------


def write(figures: Figures, folder: Path) -> None:
    """Raw figures, tables, and plots where matplotlib is installed."""
    write_figures(figures, folder)
    (folder / "results.md").write_text(markdown(figures))
    try:
        import matplotlib  # noqa: ICN001, PLC0415 - an extra
    except ModuleNotFoundError:
        print("No plots: matplotlib is missing (the extra `evaluate`).", flush=True)
        return
    matplotlib.use("agg")
    _plot(figures, folder / "results.png")


def write_figures(figures: Figures, folder: Path) -> None:
    """The raw ones alone."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(figures, indent=2) + "\n")


def _plot(figures: Figures, file: Path) -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - an extra

    drawn = [
        (draw, is_there)
        for draw, is_there in (
            (_draw_rates, figures["comparisons"]),
            (_draw_curve, len(points_of(figures)) > 1),
            (_draw_latencies, figures["latencies"]),
            (_draw_soak, figures["soak"]),
        )
        if is_there
    ]
    figure, places = plt.subplots(
        len(drawn), 1, figsize=(8, 4.2 * max(len(drawn), 1)), squeeze=False
    )
    for (draw, _), (place,) in zip(drawn, places, strict=True):
        draw(figures, place)
    figure.suptitle(f"{figures['began']}, {figures['machine']['processor']}", fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _draw_rates(figures: Figures, place: Any) -> None:
    """Bars: single check-ins, empty tables and full ones."""
    points = points_of(figures)
    chosen = [points[0], *points[-1:]] if len(points) > 1 else points
    for shift, (stored, rounds) in enumerate(chosen):
        heights = [of(got, "rate") or 0.0 for got in rounds.values()]
        spots = [i + shift * 0.4 for i in range(len(heights))]
        drawn = place.bar(spots, heights, 0.4, label=f"{stored:,} stored")
        place.bar_label(drawn, fmt="{:,.0f}", fontsize=7)
    place.set_xticks([i + 0.2 for i in range(len(chosen[0][1]))], list(chosen[0][1]))
    place.set_title("Single check-ins a second, one core")
    place.legend()


def _draw_curve(figures: Figures, place: Any) -> None:
    points = points_of(figures)
    for name in points[0][1]:
        if name not in {ECHO, EMPTY}:
            shares = [paired(rounds[name], rounds[EMPTY]) for _, rounds in points]
            place.plot([stored for stored, _ in points], shares, marker="o", label=name)
    place.set_ylim(bottom=0)
    place.set_xlabel("check-ins stored")
    place.set_title("Single check-ins, as a share of the empty handler's rate")
    place.legend()


def _draw_latencies(figures: Figures, place: Any) -> None:
    for name, by_share in figures["latencies"].items():
        for share, rounds in by_share.items():
            middles = [
                median(r["percentiles_ms"][i] for r in rounds) for i in range(len(PERCENTILES))
            ]
            place.plot(PERCENTILES, middles, marker="o", label=f"{name}, {float(share):.0%}")
    place.set_yscale("log")
    place.set_ylabel("ms")
    place.set_title("Latency at shares of the capacity, from when due")
    place.legend(fontsize=7)


def _draw_soak(figures: Figures, place: Any) -> None:
    for name, points in figures["soak"].items():
        place.plot([count for count, _ in points], [mb for _, mb in points], label=name)
    highest = max(mb for points in figures["soak"].values() for _, mb in points)
    place.set_ylim(0, highest * 1.2)
    place.set_xlabel("check-ins")
    place.set_title("Memory of the server, MB")
    place.legend()


if __name__ == "__main__":
    given = Path(sys.argv[1])
    write(json.loads(given.read_text()), given.parent)
