"""Repairing what was drawn badly: done when asked, and said what it did.

The aim is the area a person meant. GEOS's `make_valid` with the method "structure" keeps all
that an outline encloses and takes away what its holes do; "linework", the other one, takes
every second of the areas that the lines bound, so a polygon within a polygon becomes a hole, a
hole drawn twice is filled, and the middle of a star falls out (and where many edges cross it
needs minutes). What neither sees is which ring is the outline: files that list islands, then
the mainland, all as rings of one polygon are common. Here a ring beside its outline is a
polygon of its own, and of an outline within its hole the outer one is the outline.

Nothing is guessed that could put the fence elsewhere: positions are never moved.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from shapely import Polygon

from .flaws import Flaw, InvalidGeofence
from .rings import Part, Place, Ring, Shape, polygons_in, rings_in, shape_of, written
from .soundness import Finding, edges_of

#: `make_valid` needs half a second for so many crossings, and a minute for ten times as many.
MAX_CROSSINGS = 10_000
#: So many pairs of edges with overlapping boxes are looked at for crossings, in about a second;
#: each edge and its two neighbours count.
MAX_PAIRS = 1_000_000
#: Each of them may have others within it.
MAX_STRAY_RINGS = 500

_DONE = {
    Flaw.RING_NOT_CLOSED: "a ring's first position was repeated at its end.",
    Flaw.ZERO_AREA: "a ring that encloses nothing was left out.",
    Flaw.DUPLICATE_RING: "a ring that is drawn twice was taken once.",
    Flaw.SELF_INTERSECTION: "outlines were split where edges cross, and all they enclose is kept.",
    Flaw.HOLE_OUTSIDE_SHELL: (
        "a hole beside its outline was made a polygon of its own, or one around it its outline."
    ),
    Flaw.NESTED_HOLES: "a hole in another hole was left out.",
    Flaw.NESTED_SHELLS: "polygons that overlap were joined.",
    Flaw.DISCONNECTED_INTERIOR: "a polygon was split where its holes cut it in two.",
}

Shapes = npt.NDArray[np.object_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mended:
    """A valid shape, and what was wrong with the one it was made of."""

    shape: Shape
    #: What the rings cover when they are read literally: outlines without their holes.
    literal: Shape
    findings: list[Finding]


def told(flaw: Flaw) -> str:
    """What was done about a flaw."""
    done = _DONE.get(flaw, "the rings were redrawn so that they bound an area.")
    return f"Repaired {flaw.value}: {done} See whether the area is still the one you mean."


def closed(parts: list[Part]) -> tuple[list[Part], list[Finding]]:
    """The parts with each ring closed, and which were open."""
    is_open = {
        ring.place for ring in rings_in(parts) if (ring.positions[:1] != ring.positions[-1:]).any()
    }
    out = [[_closed(ring) if ring.place in is_open else ring for ring in part] for part in parts]
    return out, [Finding(Flaw.RING_NOT_CLOSED, place) for place in sorted(is_open)]


def _closed(ring: Ring) -> Ring:
    positions = np.concatenate([ring.positions, ring.positions[:1]])
    return Ring(place=ring.place, positions=positions)


def mended(parts: list[Part], flaw: Finding) -> Mended:
    """A valid shape of the area that is meant; raises InvalidGeofence if none can be."""
    _refuse_too_tangled(shape_of(parts))
    findings = [flaw]
    literal, pieces = [], []
    for part in parts:
        shells = _shells(part, findings)
        if shells:
            holes = np.array([hole.area for hole in shells[1:]], dtype=object)
            literal.append(_without(shells[0].area, holes))
            pieces.extend(_sorted_anew(shells, findings))
    if not pieces:
        raise InvalidGeofence(Flaw.ZERO_AREA, at=written(parts[0][0].place))
    return Mended(
        shape=polygons_in(shapely.union_all(pieces)),
        literal=polygons_in(shapely.union_all(literal)),
        findings=findings,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Enclosed:
    """What a ring encloses, as valid polygons."""

    place: Place
    area: Shape


def _shells(part: Part, findings: list[Finding]) -> list[_Enclosed]:
    """What each ring encloses, without those that are flat or drawn twice."""
    enclosed: dict[bytes, _Enclosed] = {}
    for ring in part:
        area = _enclosed_area(ring)
        key = shapely.to_wkb(shapely.normalize(area))
        if area.is_empty:
            findings.append(Finding(Flaw.ZERO_AREA, ring.place))
        elif key in enclosed:
            findings.append(Finding(Flaw.DUPLICATE_RING, ring.place))
        else:
            enclosed[key] = _Enclosed(place=ring.place, area=area)
    return _refuse_lost_outline(part, list(enclosed.values()))


def _refuse_lost_outline(part: Part, rings: list[_Enclosed]) -> list[_Enclosed]:
    """An outline without an area, but holes with one: nobody knows what was meant."""
    if rings and rings[0].place != part[0].place:
        raise InvalidGeofence(Flaw.ZERO_AREA, at=written(part[0].place))
    return rings


def _enclosed_area(ring: Ring) -> Shape:
    polygon = Polygon(ring.positions)
    if polygon.is_valid:
        return polygon
    area = polygons_in(shapely.make_valid(polygon, method="structure", keep_collapsed=False))
    # an outline that goes once around and the same way back encloses nothing to that method
    return polygons_in(shapely.make_valid(polygon)) if area.is_empty else area


def _sorted_anew(rings: list[_Enclosed], findings: list[Finding]) -> list[Shape]:
    """The areas of outlines without their holes; a ring is a hole of one that it overlaps."""
    areas = np.array([ring.area for ring in rings], dtype=object)
    order = np.arange(len(areas))
    # The first is the outline, or the largest that covers it; then the largest that is left.
    outline = _outline(areas)
    pieces: list[Shape] = []
    while len(order):
        if len(pieces) > MAX_STRAY_RINGS:
            raise InvalidGeofence(Flaw.TOO_INTRICATE, at=written(()))
        if outline != 0:
            findings.append(Finding(Flaw.HOLE_OUTSIDE_SHELL, rings[outline].place))
        others = order[order != outline]
        is_hole = _overlapping(areas[outline], areas[others])
        pieces.append(_without(areas[outline], areas[others[is_hole]]))
        order = others[~is_hole]
        outline = int(order[np.argmax(shapely.area(areas[order]))]) if len(order) else 0
    return pieces


def _outline(areas: Shapes) -> int:
    """The largest ring that covers the first; that one, if it is the outline it should be."""
    around = shapely.covers(areas, areas[0])
    return int(np.argmax(np.where(around, shapely.area(areas), 0.0)))


def _overlapping(shell: Shape, others: Shapes) -> npt.NDArray[np.bool_]:
    """Whose interior meets the outline's; most are told apart sooner."""
    shapely.prepare(shell)
    overlaps = np.asarray(shapely.intersects(shell, others))
    overlaps[overlaps] = shapely.relate_pattern(shell, others[overlaps], "T********")
    return overlaps


def _without(shell: Shape, holes: Shapes) -> Shape:
    return polygons_in(shapely.difference(shell, shapely.union_all(holes)))


def first_of_each(findings: list[Finding]) -> list[Finding]:
    """One finding of each flaw, where it is first."""
    first: dict[Flaw, Finding] = {}
    for finding in findings:
        first.setdefault(finding.flaw, finding)
    return list(first.values())


def _refuse_too_tangled(shape: Shape) -> None:
    """Refuse shapes whose edges cross so often that mending would keep everybody waiting."""
    edges = np.asarray(shapely.linestrings(np.stack(edges_of(shape), axis=1)))
    tree = shapely.STRtree(edges)
    pairs = crossings = 0
    for start in range(0, len(edges), 1_000):
        some = edges[start : start + 1_000]
        one, other = tree.query(some)
        pairs += len(one)
        if pairs > MAX_PAIRS:
            raise InvalidGeofence(Flaw.TOO_INTRICATE, at=written(()))
        crossings += int(shapely.intersects(some[one], edges[other]).sum())
        # Each edge meets itself and its two neighbours.
        if crossings > 3 * len(edges) + 2 * MAX_CROSSINGS:
            raise InvalidGeofence(Flaw.TOO_INTRICATE, at=written(()))
