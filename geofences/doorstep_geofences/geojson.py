"""Sites from a GeoJSON document (RFC 7946): one bad feature does not hide the others."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from .flaws import Flaw, InvalidGeofence
from .geofence import Geofence, Reading, read_geofence
from .notes import Note

#: The only system GeoJSON has, under its old name (RFC 7946, section 4); older programs
#: still write it, and it says nothing else than its absence does.
_CRS84 = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedFeature:
    """A feature that can become a site."""

    #: Where it stands in the document, such as "features[12]".
    place: str
    geofence: Geofence
    #: What is worth telling about the fence; their places start with the feature's.
    notes: tuple[Note, ...] = ()
    name: str | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    #: The feature's own identifier (RFC 7946, section 3.2).
    identifier: str | int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectedFeature:
    """A feature that cannot, and why."""

    #: Where its flaw stands, such as "features[12].geometry.coordinates[0][3]".
    place: str
    code: str
    message: str


def read_features(
    document: object, *, repair: bool = False
) -> Iterator[ParsedFeature | RejectedFeature]:
    """The features of a FeatureCollection, or a lone Feature, in order.

    A document that is neither, or whose coordinates are in another system, raises
    InvalidGeofence at once.
    """
    if not isinstance(document, dict):
        raise InvalidGeofence(Flaw.NO_FEATURES)
    refuse_other_systems(document)
    if document.get("type") == "Feature":
        return iter([read_feature(document, "feature", repair=repair)])
    features = document.get("features")
    if document.get("type") != "FeatureCollection" or not isinstance(features, list):
        raise InvalidGeofence(Flaw.NO_FEATURES)
    return (
        read_feature(feature, f"features[{i}]", repair=repair) for i, feature in enumerate(features)
    )


def refuse_other_systems(document: dict[str, Any]) -> None:
    """Refuse a FeatureCollection or Feature whose crs member names another system."""
    if document.get("crs", _CRS84) != _CRS84:
        raise InvalidGeofence(Flaw.CRS_MEMBER, at="crs")


def read_feature(
    feature: object, place: str, *, repair: bool = False
) -> ParsedFeature | RejectedFeature:
    """One Feature; `place` says where it stands.

    A Point with a `radius_m` property is a circle. A GeometryCollection is refused, even one
    of polygons: what lies in it is as well a MultiPolygon, or several features.
    """
    try:
        return _parse_feature(feature, place, repair=repair)
    except InvalidGeofence as error:
        where = place if error.at is None else f"{place}.{error.at}"
        return RejectedFeature(place=where, code=error.code, message=error.message)


def _parse_feature(feature: object, place: str, *, repair: bool) -> ParsedFeature:
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise InvalidGeofence(Flaw.NOT_A_FEATURE)
    refuse_other_systems(feature)
    properties = feature.get("properties") or {}
    if not isinstance(properties, dict):
        raise InvalidGeofence(Flaw.NOT_A_FEATURE, at="properties")
    name = properties.get("name")
    reading = _read_geometry(feature.get("geometry"), properties, repair=repair)
    return ParsedFeature(
        place=place,
        geofence=reading.geofence,
        notes=tuple(replace(note, at=f"{place}.geometry.{note.at}") for note in reading.notes),
        name=name if isinstance(name, str) else None,
        properties=properties,
        identifier=_identifier(feature.get("id")),
    )


def _identifier(value: object) -> str | int | None:
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


def _read_geometry(geometry: object, properties: dict[str, Any], *, repair: bool) -> Reading:
    places: dict[str | None, str] = {None: "geometry"}
    if isinstance(geometry, dict) and geometry.get("type") == "Point" and "radius_m" in properties:
        geometry = _circle(geometry, properties["radius_m"])
        places |= {"center": "geometry.coordinates", "radius_m": "properties.radius_m"}
    try:
        return read_geofence(geometry, repair=repair)
    except InvalidGeofence as error:
        at = places.get(error.at, f"geometry.{error.at}")
        raise InvalidGeofence(error.flaw, at=at) from None


def _circle(point: dict[str, Any], radius_m: object) -> dict[str, Any]:
    """The Circle that a Point with a radius means; other members stay, to be refused."""
    rest = {name: value for name, value in point.items() if name not in {"coordinates", "bbox"}}
    return rest | {"type": "Circle", "center": point.get("coordinates"), "radius_m": radius_m}
