"""What every format gives: features that may become sites."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from doorstep_geofences import Geofence, ParsedFeature, RejectedFeature, read_feature
from doorstep_server.site_files.faults import Fault, Unusable

Feature = ParsedFeature | RejectedFeature


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """How to read a file."""

    #: repair flawed polygons, and say so in the feature's notes
    repair: bool = False
    #: of points that name none
    radius_m: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedSite:
    """A site to be written; a reader gives its name, properties and geofence back."""

    name: str
    geofence: Geofence
    #: what else there is of `NewSite`, by its names
    properties: Mapping[str, Any]


def parsed(feature: object, place: str, options: ReadOptions) -> Feature:
    """What a GeoJSON Feature says; a Point without a radius gets that of the options."""
    try:
        feature = _with_radius(feature, options.radius_m)
    except Unusable as unusable:
        return unusable.rejected(place)
    return read_feature(feature, place, repair=options.repair)


def made(
    geometry: dict[str, Any], properties: dict[str, Any], place: str, options: ReadOptions
) -> Feature:
    """The feature that another format's geometry and properties make."""
    feature = {"type": "Feature", "geometry": geometry, "properties": properties}
    return parsed(feature, place, options)


def geojson(site: ExportedSite) -> dict[str, Any]:
    """A site as a GeoJSON Feature: a circle is a Point with `radius_m`."""
    properties = {"name": site.name, **site.properties}
    geometry = site.geofence.to_document()
    if geometry["type"] == "Circle":
        properties["radius_m"] = geometry["radius_m"]
        geometry = {"type": "Point", "coordinates": geometry["center"]}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def _with_radius(feature: object, radius_m: float | None) -> object:
    if not isinstance(feature, dict) or not _is_point(feature.get("geometry")):
        return feature
    properties = feature.get("properties") or {}
    if not isinstance(properties, dict) or properties.get("radius_m") is not None:
        return feature
    if radius_m is None:
        raise Unusable(Fault.RADIUS_MISSING, at="properties.radius_m")
    return feature | {"properties": properties | {"radius_m": radius_m}}


def _is_point(geometry: object) -> bool:
    return isinstance(geometry, dict) and geometry.get("type") == "Point"
