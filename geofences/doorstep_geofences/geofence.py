"""The shape of a site: read strictly once, valid ever after."""

import math
from dataclasses import dataclass
from typing import Any, Self

import shapely
from shapely import MultiPolygon, Polygon

from . import antimeridian, rings, soundness
from .flaws import Flaw, InvalidGeofence
from .notes import Note
from .plane import Plane
from .repair import closed, first_of_each, mended, told
from .rings import Part, Shape
from .soundness import MAX_LATITUDE, Finding

MAX_RADIUS_M = 100_000.0

_CUT = (
    "The fence crosses the 180° meridian and was cut there into parts that cover the same area:"
    " nothing needs to be done."
)
_TURNED = (
    "Longitudes beyond 180° were turned by 360°: they name the same places, and nothing needs to"
    " be done."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Geofence:
    """A polygonal shape in longitude and latitude, or a circle. Make it by its classmethods.

    Edges are straight lines in longitude and latitude (RFC 7946, section 3.1.1). Rings may
    wind either way (section 3.1.6 asks parsers not to refuse), and may touch themselves
    only where the OGC's rules for valid polygons let them. No edge crosses the 180° meridian:
    what does is cut there, into parts.
    """

    shape: Polygon | MultiPolygon | None = None
    #: Longitude and latitude of a circle's centre.
    center: tuple[float, float] | None = None
    radius_m: float | None = None

    @classmethod
    def parse(cls, document: object) -> "Geofence":
        """Read a GeoJSON Polygon or MultiPolygon, or our Circle; raises InvalidGeofence."""
        return read_geofence(document).geofence

    @classmethod
    def polygonal(cls, shape: Polygon | MultiPolygon) -> "Geofence":
        """A fence of a shape in longitude and latitude; heights are dropped."""
        return read_shape(shape).geofence

    @classmethod
    def of_stored(cls, shape: Polygon | MultiPolygon) -> Self:
        """A fence of the shape of one that was read before: it is taken as it is, unchecked."""
        return cls(shape=shape)

    @classmethod
    def circle(cls, lon: float, lat: float, radius_m: float) -> Self:
        """All places within a distance of a centre."""
        if not (math.isfinite(lon) and math.isfinite(lat)):
            raise InvalidGeofence(Flaw.NOT_FINITE, at="center")
        if soundness.is_swapped(lon, lat):
            raise InvalidGeofence(Flaw.LATITUDE_AND_LONGITUDE_SWAPPED, at="center")
        if abs(lon) > 180.0 or abs(lat) > 90.0:
            raise InvalidGeofence(Flaw.PROJECTED_COORDINATES, at="center")
        if not 0.0 < radius_m <= MAX_RADIUS_M:
            raise InvalidGeofence(Flaw.RADIUS_OUT_OF_RANGE, at="radius_m")
        if abs(lat) + radius_m / Plane.at(lat).lat_degree_m > MAX_LATITUDE:
            raise InvalidGeofence(Flaw.NEAR_POLE, at="center")
        return cls(center=(lon, lat), radius_m=radius_m)

    @property
    def unwrapped_shape(self) -> Polygon | MultiPolygon | None:
        """The shape to measure: in one turn, perhaps beyond 180°, without the seam of a cut.

        Nearly always it is the shape itself. Containment may be asked of either.
        """
        return None if self.shape is None else antimeridian.whole(self.shape)

    @property
    def area_m2(self) -> float:
        """The area, by the scale at its middle."""
        if self.shape is not None:
            return _area_m2(self.shape)
        assert self.radius_m is not None
        return math.pi * self.radius_m**2

    def to_document(self) -> dict[str, Any]:
        """The document that `parse` reads back to an equal fence."""
        if self.shape is None:
            assert self.center is not None
            return {"type": "Circle", "center": list(self.center), "radius_m": self.radius_m}
        parts = [[r.positions.tolist() for r in part] for part in rings.parts_of(self.shape)]
        if isinstance(self.shape, Polygon):
            return {"type": "Polygon", "coordinates": parts[0]}
        return {"type": "MultiPolygon", "coordinates": parts}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A fence, and what is worth telling about how it was read."""

    geofence: Geofence
    notes: tuple[Note, ...] = ()


def read_geofence(document: object, *, repair: bool = False) -> Reading:
    """Read a GeoJSON Polygon or MultiPolygon, or our Circle; raises InvalidGeofence.

    With `repair`, what is drawn badly is mended where that leaves no doubt what is meant, and
    the notes say so; what is no place on Earth or encloses nothing is refused all the same.
    """
    if not isinstance(document, dict):
        raise InvalidGeofence(Flaw.MALFORMED)
    if "crs" in document:
        raise InvalidGeofence(Flaw.CRS_MEMBER, at="crs")
    match document.get("type"):
        case "Circle":
            _refuse_other_members(document, {"type", "center", "radius_m"})
            return Reading(geofence=_read_circle(document))
        case "Polygon" | "MultiPolygon" as kind:
            _refuse_other_members(document, {"type", "coordinates", "bbox"})
            return _read_coordinates(kind, document.get("coordinates"), repair=repair)
        case str():
            raise InvalidGeofence(Flaw.UNSUPPORTED_TYPE, at="type")
        case _:
            raise InvalidGeofence(Flaw.MALFORMED, at="type")


def read_shape(shape: object, *, repair: bool = False) -> Reading:
    """The same for a shape in longitude and latitude; heights are dropped."""
    if not isinstance(shape, Polygon | MultiPolygon):
        raise InvalidGeofence(Flaw.UNSUPPORTED_TYPE, at="type")
    if shape.is_empty:
        raise InvalidGeofence(Flaw.TOO_FEW_POSITIONS, at="coordinates")
    if shapely.get_num_coordinates(shape) > rings.MAX_VERTICES:
        raise InvalidGeofence(Flaw.TOO_MANY_VERTICES, at="coordinates")
    if shape.has_z or shape.has_m:
        shape = shapely.force_2d(shape)
    if soundness.is_sound(shape):
        return Reading(geofence=Geofence(shape=shape))
    return _read_parts(rings.parts_of(shape), repair=repair)


def _refuse_other_members(document: dict[str, Any], known: set[str]) -> None:
    """Refuse members we would silently ignore: they meant something to whoever wrote them."""
    if not document.keys() <= known:
        raise InvalidGeofence(Flaw.MALFORMED)


def _read_circle(document: dict[str, Any]) -> Geofence:
    lon, lat = rings.read_position(document.get("center"), "center")
    return Geofence.circle(lon, lat, rings.read_number(document.get("radius_m"), "radius_m"))


def _read_coordinates(kind: str, coordinates: object, *, repair: bool) -> Reading:
    rings.refuse_too_many(kind, coordinates)
    shape = rings.ordinary_shape(kind, coordinates)
    if shape is not None and soundness.is_sound(shape):
        return Reading(geofence=Geofence(shape=shape))
    parts = rings.read_parts(kind, coordinates, may_be_open=repair)
    return _read_parts(parts, repair=repair)


def _read_parts(written: list[Part], *, repair: bool) -> Reading:
    """Read what is not ordinary: it lies across the 180° meridian, or is flawed."""
    parts, findings = closed(written) if repair else (written, [])
    soundness.refuse_impossible(parts)
    parts, notes = _laid_out(parts)
    shape = literal = rings.shape_of(parts)
    soundness.refuse_too_intricate(shape)
    finding = soundness.first_flaw(shape, parts)
    if finding is not None:
        if not repair:
            raise finding.refusal()
        outcome = mended(parts, finding)
        shape, literal = outcome.shape, outcome.literal
        findings += outcome.findings
    shape, overlaps = _cut(shape, repair=repair)
    notes += _repaired(findings + overlaps, literal, shape)
    return Reading(geofence=Geofence(shape=shape), notes=tuple(notes))


def _laid_out(parts: list[Part]) -> tuple[list[Part], list[Note]]:
    """The parts with each ring in one turn, and what to tell of those that were not."""
    notes = []
    out = [antimeridian.laid_out(part) for part in parts]
    for before, after in zip(parts, out, strict=True):
        at = rings.written(before[0].place)
        if antimeridian.is_off(after[0]):
            notes.append(Note(code="cut_at_antimeridian", message=_CUT, at=at))
        elif any(new is not old for old, new in zip(before, after, strict=True)):
            notes.append(Note(code="turned_by_360", message=_TURNED, at=at))
    return out, notes


def _cut(shape: Shape, *, repair: bool) -> tuple[Shape, list[Finding]]:
    """The shape within the map; its parts may overlap there, though not as they were written."""
    shape = antimeridian.cut(shape)
    if shapely.get_num_coordinates(shape) > rings.MAX_VERTICES:
        raise InvalidGeofence(Flaw.TOO_MANY_VERTICES, at=rings.written(()))
    if shape.is_valid:
        return shape, []
    if not repair:
        # Where that is in the document is not known any more.
        raise InvalidGeofence(Flaw.NESTED_SHELLS, at=rings.written(()))
    return rings.polygons_in(shapely.union_all(shape)), [Finding(Flaw.NESTED_SHELLS, ())]


def _repaired(findings: list[Finding], literal: Shape, shape: Shape) -> list[Note]:
    if not findings:
        return []
    before_m2, after_m2 = _area_m2(literal), _area_m2(shape)
    return [
        Note(
            code="repaired",
            message=told(finding.flaw),
            at=rings.written(finding.place),
            area_before_m2=before_m2,
            area_after_m2=after_m2,
        )
        for finding in first_of_each(findings)
    ]


def _area_m2(shape: Shape) -> float:
    """By the scale at the centroid's latitude, about which the errors of the others cancel."""
    if shape.is_empty:
        return 0.0
    scale = Plane.at(float(shapely.get_y(shapely.centroid(shape))))
    return float(shape.area * scale.lon_degree_m * scale.lat_degree_m)
