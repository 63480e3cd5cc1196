"""What can be wrong with a geofence, and what to do about it."""

from .advised import Advised


class Flaw(Advised):
    """A stable code, with a sentence that tells the person what to do next."""

    MALFORMED = (
        "malformed",
        (
            "Give a GeoJSON Polygon or MultiPolygon with type and coordinates, positions written"
            " [longitude, latitude], or a Circle with center and radius_m, and nothing else."
        ),
    )
    UNSUPPORTED_TYPE = (
        "unsupported_type",
        (
            "Use a Polygon, a MultiPolygon or a Circle (in a file, a Point with a radius_m): only"
            " they have an inside."
        ),
    )
    CRS_MEMBER = (
        "crs_member",
        (
            "Remove crs and give WGS84 longitude and latitude in degrees: GeoJSON (RFC 7946)"
            " knows no other system."
        ),
    )
    NOT_FINITE = ("not_finite", "Replace NaN and Infinity by ordinary numbers.")
    PROJECTED_COORDINATES = (
        "projected_coordinates",
        (
            "Give degrees, longitude from -180 to 180 and latitude from -90 to 90: convert metres"
            " to WGS84 (EPSG:4326)."
        ),
    )
    LATITUDE_AND_LONGITUDE_SWAPPED = (
        "latitude_and_longitude_swapped",
        (
            "Write each position longitude first, then latitude: as it is, a latitude is beyond"
            " 90°, while the other way round all are places on Earth."
        ),
    )
    CROSSES_ANTIMERIDIAN = (
        "crosses_antimeridian",
        (
            "Cut the fence at the 180° meridian into a MultiPolygon with a part on each side: it"
            " is too wide to know which way around the Earth is meant."
        ),
    )
    NEAR_POLE = (
        "near_pole",
        (
            "Keep the fence between 89° south and 89° north, and not around a pole: nearer to it"
            " a degree of longitude is too short to measure by."
        ),
    )
    TOO_MANY_VERTICES = (
        "too_many_vertices",
        "Simplify the fence: it has more positions than a fence may have.",
    )
    TOO_INTRICATE = (
        "too_intricate",
        "Simplify the fence: too many of its edges run side by side.",
    )
    TOO_FEW_POSITIONS = (
        "too_few_positions",
        "Give each ring at least four positions, the last equal to the first.",
    )
    RING_NOT_CLOSED = (
        "ring_not_closed",
        "Repeat the first position of the ring at its end.",
    )
    ZERO_AREA = (
        "zero_area",
        "Draw a ring that encloses an area: all its positions lie on one line.",
    )
    DUPLICATE_RING = ("duplicate_ring", "Remove the ring that is drawn twice.")
    SELF_INTERSECTION = (
        "self_intersection",
        "Redraw the outline so that no two edges cross or run over each other.",
    )
    HOLE_OUTSIDE_SHELL = (
        "hole_outside_shell",
        "Move the hole into its outline, or make it a polygon of its own.",
    )
    NESTED_HOLES = ("nested_holes", "Remove the hole that lies in another hole.")
    NESTED_SHELLS = (
        "nested_shells",
        "Remove the polygon that lies in another polygon of the same fence.",
    )
    DISCONNECTED_INTERIOR = (
        "disconnected_interior",
        "Split the polygon where its holes cut it in two.",
    )
    INVALID = ("invalid", "Redraw the fence: its rings do not bound an area.")
    RADIUS_OUT_OF_RANGE = (
        "radius_out_of_range",
        "Give radius_m as a number of metres above 0 and at most 100000.",
    )
    TOO_LARGE = (
        "too_large",
        "Draw a smaller fence: its area is larger than you may have it.",
    )
    NO_FEATURES = (
        "no_features",
        "Give a GeoJSON FeatureCollection with a list of features, or a Feature.",
    )
    NOT_A_FEATURE = (
        "not_a_feature",
        "Give an object with type Feature, a geometry, and properties that are an object or null.",
    )


class InvalidGeofence(ValueError):
    """A geofence that cannot be judged against; its message carries no coordinate."""

    def __init__(self, flaw: Flaw, *, at: str | None = None) -> None:
        super().__init__(flaw.advice)
        self.flaw = flaw
        #: The place in the document, such as "coordinates[0][3]".
        self.at = at

    @property
    def code(self) -> str:
        """Stable, for programs."""
        return self.flaw.value

    @property
    def message(self) -> str:
        """A sentence for the person who drew the fence."""
        return self.flaw.advice
