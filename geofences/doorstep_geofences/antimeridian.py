"""Fences across the 180° meridian: cut there to be kept, and whole again to be measured.

A document may write such a ring in two ways: with longitudes that go on beyond 180, or with a
jump from 179 to -179. Both are laid out in one turn and cut at the meridian, as RFC 7946 asks
(section 3.1.9). Read literally, the second is a ring around the rest of the Earth; so what is
wide even when laid out, and might be meant literally, is refused rather than turned inside out.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon

from .flaws import Flaw, InvalidGeofence
from .rings import Part, Positions, Ring, Shape, polygons_in, written
from .soundness import refuse_any

#: A ring that jumps across the meridian, or is written beyond it, is no wider than this.
#: It keeps far from 180, where a ring and the rest of its parallel could be taken for each other.
MAX_WIDTH = 90.0

AnyShape = TypeVar("AnyShape", Polygon, MultiPolygon, Shape)


def laid_out(part: Part) -> Part:
    """The part with each ring in one turn: the outline's middle between -180 and 180, and the
    holes in the outline's turn. The rings that are so already are the same objects.
    """
    shell, *holes = (_ring_laid_out(ring) for ring in part)
    shell = _turned(shell, -np.floor((_middle(shell) + 180.0) / 360.0) if is_off(shell) else 0.0)
    middle = _middle(shell)
    return [shell, *(_turned(hole, np.rint((middle - _middle(hole)) / 360.0)) for hole in holes)]


def _ring_laid_out(ring: Ring) -> Ring:
    lon = ring.positions[:, 0]
    # Half a turn is no jump: it has no shorter way.
    jumps = np.rint(np.diff(lon) / 360.0)
    if not jumps.any() and not is_off(ring):
        return ring
    if jumps.any():
        # Both ways of writing in one ring: more likely no degrees at all.
        refuse_any(np.abs(lon) > 180.0, Flaw.PROJECTED_COORDINATES, ring)
    turns = np.concatenate([[0.0], -np.cumsum(jumps)])
    if turns[-1] != 0.0:
        # It comes back a turn later: it goes around a pole.
        raise InvalidGeofence(Flaw.NEAR_POLE, at=written(ring.place))
    out = _turned(ring, turns)
    if np.ptp(out.positions[:, 0]) > MAX_WIDTH:
        refuse_any(jumps != 0.0, Flaw.CROSSES_ANTIMERIDIAN, ring)
        refuse_any(np.abs(lon) > 180.0, Flaw.PROJECTED_COORDINATES, ring)
    return out


def _turned(ring: Ring, turns: Positions | float) -> Ring:
    if not np.any(turns):
        return ring
    positions = ring.positions.copy()
    positions[:, 0] += 360.0 * turns
    return replace(ring, positions=positions)


def _middle(ring: Ring) -> float:
    lon = ring.positions[:, 0]
    return float((lon.min() + lon.max()) / 2)


def is_off(ring: Ring) -> bool:
    """Whether a ring goes beyond the 180° meridian."""
    return bool(np.abs(ring.positions[:, 0]).max() > 180.0)


def cut(shape: Shape) -> Shape:
    """The shape with longitudes from -180 to 180, in parts where it crosses that meridian."""
    west, _, east, _ = shape.bounds
    if west >= -180.0 and east <= 180.0:
        return shape
    pieces = []
    for turn in (-360.0, 0.0, 360.0):
        # The map, as seen from the shape's turn.
        window = shapely.box(-180.0 - turn, -90.0, 180.0 - turn, 90.0)
        pieces.append(_moved(polygons_in(shapely.intersection(shape, window)), turn))
    polygons = shapely.get_parts(pieces)
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)


def whole(shape: Shape) -> Shape:
    """The shape in one turn, longitudes perhaps beyond 180, without the seam of a cut.

    The same area; but its boundary is the fence's edge alone, and its box is no wider than the
    fence. A ring that is itself wider than half a turn stays as it is.
    """
    if isinstance(shape, Polygon):
        return shape
    west, _, east, _ = shape.bounds
    if east - west <= 180.0:
        return shape
    parts = shapely.get_parts(shape)
    wests, _, easts, _ = shapely.bounds(parts).T
    first = _west_end(wests, easts)
    turned = MultiPolygon(
        [
            _moved(part, 360.0) if start < first else part
            for part, start in zip(parts, wests, strict=True)
        ]
    )
    return turned if east < 180.0 or west > -180.0 else polygons_in(shapely.union_all(turned))


def _west_end(wests: Positions, easts: Positions) -> float:
    """Where the parts begin when one goes east from the widest gap between them."""
    order = np.argsort(wests)
    starts, reached = wests[order], np.maximum.accumulate(easts[order])
    gaps = np.append(starts[0] + 360.0 - reached[-1], starts[1:] - reached[:-1])
    return float(starts[np.argmax(gaps)])


def _moved(shape: AnyShape, degrees: float) -> AnyShape:
    return shapely.transform(shape, lambda positions: np.add(positions, (degrees, 0.0)))
