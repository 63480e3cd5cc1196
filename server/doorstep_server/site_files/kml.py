"""KML 2.0 to 2.2: a Placemark is a site, in whatever Documents and Folders it stands.

A site's properties are its name and its ExtendedData, by the names that the API has; a circle is
a Point with `radius_m` among them. XML carries no control characters: they are written as U+FFFD.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO
from xml.sax.saxutils import escape

from doorstep_geofences import Geofence
from doorstep_server.site_files import features, properties, xml_stream
from doorstep_server.site_files.faults import Fault, Unusable
from doorstep_server.site_files.features import ExportedSite, Feature, ReadOptions
from doorstep_server.site_files.properties import NUMBER
from doorstep_server.site_files.xml_stream import Element, Found, Sought

_SOUGHT = Sought(root="kml", built="Placemark", named=frozenset(("NetworkLink",)))
_WITH_INSIDE = frozenset(("Polygon", "MultiGeometry", "Point"))
_WITHOUT_INSIDE = frozenset(("LineString", "LinearRing", "Model", "Track", "MultiTrack"))
_POSITION = re.compile(f"{NUMBER},{NUMBER}(?:,{NUMBER})?", re.ASCII)

_BEGINNING = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<kml xmlns="http://www.opengis.net/kml/2.2"><Document>\n'
)
_END = b"</Document></kml>\n"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ENTITIES = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;", '"': "&quot;"}


def read(file: BinaryIO, options: ReadOptions) -> Iterator[Feature]:
    """The Placemarks of a file, in order."""
    for found in xml_stream.find(file, _SOUGHT):
        try:
            feature = _feature(found)
        except Unusable as unusable:
            yield unusable.rejected(found.place)
        else:
            yield features.made(*feature, found.place, options)


def write(sites: Iterable[ExportedSite]) -> Iterator[bytes]:
    """A Document with a Placemark for each site, each on a line."""
    yield _BEGINNING
    for site in sites:
        yield f"<Placemark>{_heading(site)}{_shape(site.geofence)}</Placemark>\n".encode()
    yield _END


# -- reading ---------------------------------------------------------------------------------


def _feature(found: Found) -> tuple[dict[str, Any], dict[str, Any]]:
    """The geometry and properties of a Placemark."""
    if found.tag == "NetworkLink":
        raise Unusable(Fault.LINK)
    if found.element is None:
        raise Unusable(Fault.TOO_LARGE)
    geometries = [child for child in found.element.children if _is_geometry(child)]
    if not geometries:
        raise Unusable(Fault.GEOMETRY_MISSING)
    if len(geometries) > 1:
        raise Unusable(Fault.NO_INSIDE, at="geometry")
    return _geometry(geometries[0]), _properties(found.element)


def _is_geometry(element: Element) -> bool:
    return element.tag.rpartition(" ")[2] in _WITH_INSIDE | _WITHOUT_INSIDE


def _properties(placemark: Element) -> dict[str, Any]:
    """The name among the data is exact; that of the Placemark is often written on several lines."""
    said = properties.read(_data(placemark))
    for name in placemark.all("name"):
        if text := name.text.strip():
            said.setdefault("name", text)
    return said


def _data(placemark: Element) -> Iterator[tuple[str, str]]:
    for extended in placemark.all("ExtendedData"):
        for data in extended.all("Data"):
            for value in data.all("value"):
                yield data.attributes.get("name", ""), value.text
        for data in extended.all("SchemaData", "SimpleData"):
            yield data.attributes.get("name", ""), data.text


def _geometry(element: Element) -> dict[str, Any]:
    """The GeoJSON geometry. A MultiGeometry is a MultiPolygon though it have one part."""
    parts = list(_parts(element))
    kinds = {part.tag for part in parts}
    if kinds == {"Point"} and len(parts) == 1:
        return {"type": "Point", "coordinates": _point(parts[0])}
    if kinds != {"Polygon"}:
        raise Unusable(Fault.NO_INSIDE, at="geometry")
    if element.tag == "Polygon":
        return {"type": "Polygon", "coordinates": _rings(element)}
    return {"type": "MultiPolygon", "coordinates": [_rings(part) for part in parts]}


def _parts(element: Element) -> Iterator[Element]:
    if element.tag != "MultiGeometry":
        yield element
        return
    for child in element.children:
        if _is_geometry(child):
            yield from _parts(child)


def _rings(polygon: Element) -> list[list[list[float]]]:
    """The outline, and the holes after it."""
    outer = list(polygon.all("outerBoundaryIs", "LinearRing", "coordinates"))
    inner = list(polygon.all("innerBoundaryIs", "LinearRing", "coordinates"))
    if len(outer) != 1:
        raise Unusable(Fault.GEOMETRY_MISSING, at="geometry")
    return [_positions(ring) for ring in (*outer, *inner)]


def _point(point: Element) -> list[float]:
    positions = [at for found in point.all("coordinates") for at in _positions(found)]
    if len(positions) != 1:
        raise Unusable(Fault.COORDINATES_UNREADABLE, at="geometry")
    return positions[0]


def _positions(coordinates: Element) -> list[list[float]]:
    """Longitudes and latitudes; heights are dropped."""
    texts = coordinates.text.split()
    if not all(map(_POSITION.fullmatch, texts)):
        raise Unusable(Fault.COORDINATES_UNREADABLE, at="geometry")
    return [[float(number) for number in text.split(",")[:2]] for text in texts]


# -- writing ---------------------------------------------------------------------------------


def _heading(site: ExportedSite) -> str:
    data = dict(properties.written(site))
    if site.name == site.name.strip():
        del data["name"]
    if site.geofence.radius_m is not None:
        data["radius_m"] = repr(site.geofence.radius_m)
    values = "".join(
        f'<Data name="{_escaped(name)}"><value>{_escaped(text)}</value></Data>'
        for name, text in data.items()
    )
    return f"<name>{_escaped(site.name)}</name><ExtendedData>{values}</ExtendedData>"


def _shape(geofence: Geofence) -> str:
    geometry = geofence.to_document()
    match geometry["type"]:
        case "Circle":
            return f"<Point>{_coordinates([geometry['center']])}</Point>"
        case "Polygon":
            return _polygon(geometry["coordinates"])
        case _:
            parts = "".join(map(_polygon, geometry["coordinates"]))
            return f"<MultiGeometry>{parts}</MultiGeometry>"


def _polygon(rings: list[list[list[float]]]) -> str:
    outer, *inner = (f"<LinearRing>{_coordinates(ring)}</LinearRing>" for ring in rings)
    holes = "".join(f"<innerBoundaryIs>{ring}</innerBoundaryIs>" for ring in inner)
    return f"<Polygon><outerBoundaryIs>{outer}</outerBoundaryIs>{holes}</Polygon>"


def _coordinates(positions: list[list[float]]) -> str:
    text = " ".join(f"{lon!r},{lat!r}" for lon, lat in positions)
    return f"<coordinates>{text}</coordinates>"


def _escaped(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text), _ENTITIES)
