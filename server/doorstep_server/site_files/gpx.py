"""GPX: a waypoint with a radius is a site. Tracks and routes tell where somebody went: not read."""

from collections.abc import Iterator
from typing import Any, BinaryIO

from doorstep_server.site_files import features, properties, xml_stream
from doorstep_server.site_files.faults import Fault, Unusable
from doorstep_server.site_files.features import Feature, ReadOptions
from doorstep_server.site_files.xml_stream import Element, Found, Sought

_SOUGHT = Sought(root="gpx", built="wpt", named=frozenset(("trk", "rte")))


def read(file: BinaryIO, options: ReadOptions) -> Iterator[Feature]:
    """The waypoints of a file, in order. The radius is an extension `radius_m`, or the options'."""
    for found in xml_stream.find(file, _SOUGHT):
        try:
            feature = _feature(found)
        except Unusable as unusable:
            yield unusable.rejected(found.place)
        else:
            yield features.made(*feature, found.place, options)


def _feature(found: Found) -> tuple[dict[str, Any], dict[str, Any]]:
    """The geometry and properties of a waypoint."""
    if found.tag != "wpt":
        raise Unusable(Fault.NOT_PLACES)
    if found.element is None:
        raise Unusable(Fault.TOO_LARGE)
    said = found.element.attributes
    lat, lon = (properties.number(said.get(axis, ""), axis) for axis in ("lat", "lon"))
    if lat is None or lon is None:
        raise Unusable(Fault.POSITION_INCOMPLETE, at="lat" if lat is None else "lon")
    point = {"type": "Point", "coordinates": [lon, lat]}
    return point, properties.read(_said(found.element))


def _said(waypoint: Element) -> Iterator[tuple[str, str]]:
    """Its name, and what its extensions say by our names, in whatever namespace."""
    for name in waypoint.all("name"):
        yield "name", name.text.strip()
    for extensions in waypoint.all("extensions"):
        for child in _leaves(extensions):
            yield child.tag.rpartition(" ")[2], child.text


def _leaves(element: Element) -> Iterator[Element]:
    for child in element.children:
        if child.children:
            yield from _leaves(child)
        else:
            yield child
