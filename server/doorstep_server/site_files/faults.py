"""What can be wrong with a file or with what stands in it, and what to do about it.

What is wrong with a geofence itself is told by `doorstep_geofences.Flaw`.
"""

from doorstep_geofences import Flaw, RejectedFeature
from doorstep_geofences.advised import Advised


class Fault(Advised):
    """A stable code, with a sentence that tells the person what to do next."""

    # -- of the whole file
    EMPTY = ("empty_file", "The file is empty. Export it again.")
    OTHER_FORMAT = (
        "other_format",
        "The file is not in the format that was named: name its own format, or none.",
    )
    NOT_UTF8 = ("not_utf8", "Save the file as UTF-8: some of its text is in another encoding.")
    UNKNOWN_ENCODING = (
        "unknown_encoding",
        "Save the file as UTF-8: the encoding that it names is not read.",
    )
    MALFORMED_JSON = (
        "malformed_json",
        (
            "Mend the JSON at this place, or export the file again: it may be cut off there. NaN,"
            " Infinity, comments and trailing commas are no JSON."
        ),
    )
    NUMBER_TOO_LARGE = (
        "number_too_large",
        "Shorten the number at this place, or put it in quotes: a program could only round it.",
    )
    SEVERAL_DOCUMENTS = (
        "several_documents",
        (
            "The file holds more than one JSON document: name the format geojsonseq, or put the"
            " features into one FeatureCollection."
        ),
    )
    NO_FEATURES = (Flaw.NO_FEATURES.value, Flaw.NO_FEATURES.advice)
    LONE_GEOMETRY = (
        "lone_geometry",
        "Put the geometry into a Feature, with properties that give the site's name.",
    )
    CRS_MEMBER = (Flaw.CRS_MEMBER.value, Flaw.CRS_MEMBER.advice)
    MALFORMED_XML = (
        "malformed_xml",
        (
            "Mend the XML at this place, or export the file again: it may be cut off there,"
            " or be in another encoding than it says."
        ),
    )
    DOCTYPE = (
        "doctype",
        "Remove the DOCTYPE and its entities: neither KML nor GPX has them.",
    )
    TOO_DEEP = ("too_deep", "Export the file again: its parts are nested too deeply.")
    VALUE_TOO_LONG = (
        "value_too_long",
        "Shorten the text, tag or comment at this place: it is longer than any that a site has.",
    )
    MALFORMED_ZIP = (
        "malformed_zip",
        (
            "Save the KMZ again, or give the KML inside it: the archive is damaged, encrypted or"
            " packed in an unusual way."
        ),
    )
    NO_KML = ("no_kml", "Put a file whose name ends in .kml into the archive.")
    ZIP_BOMB = (
        "zip_bomb",
        "Give the KML itself: the archive unpacks to more than is read from one.",
    )
    MALFORMED_CSV = (
        "malformed_csv",
        (
            "Mend the quotes or line ends at this place: a quoted cell ends with a quote right"
            " before the next delimiter, and a quote inside it is doubled."
        ),
    )
    RECORD_TOO_LONG = (
        "record_too_long",
        (
            "Look for a quote that is never closed before this place, or simplify the fence: the"
            " row is longer than any that is read."
        ),
    )
    COLUMNS_MISSING = (
        "columns_missing",
        (
            "Begin with a row of column names: lat, lon and radius_m, or wkt; and name, external_id"
            " and the like."
        ),
    )
    COLUMN_REPEATED = (
        "column_repeated",
        "Keep one of the columns that mean the same: a name may be given once.",
    )

    # -- of one feature
    TOO_LARGE = (
        "feature_too_large",
        "Simplify the fence to at most 100000 positions, and leave out long properties.",
    )
    NESTED_TOO_DEEP = ("nested_too_deep", "Flatten this feature: it is nested too deeply.")
    REPEATED_MEMBER = (
        "repeated_member",
        "Keep one of the members that have the same name.",
    )
    RADIUS_MISSING = (
        "radius_missing",
        "Give radius_m, the circle's radius in metres, here or once for all points.",
    )
    GEOMETRY_MISSING = (
        "geometry_missing",
        "Give a polygon, or a point with radius_m.",
    )
    NO_INSIDE = (
        "unsupported_type",
        "Use polygons, or one point with radius_m: only they have an inside.",
    )
    NOT_PLACES = (
        "not_a_place",
        "Give places: tracks and routes are never read. Mark each place by a waypoint.",
    )
    LINK = (
        "link",
        "Give the content of this link: nothing is fetched.",
    )
    COORDINATES_UNREADABLE = (
        "coordinates_unreadable",
        (
            "Write each position as longitude,latitude in degrees, without a space inside, and put"
            " spaces between positions."
        ),
    )
    POSITION_INCOMPLETE = (
        "position_incomplete",
        "Give both latitude and longitude, in degrees.",
    )
    WKT_UNREADABLE = (
        "wkt_unreadable",
        (
            "Give POLYGON ((lon lat, …)), MULTIPOLYGON (((lon lat, …))) or POINT (lon lat), with"
            " decimal points."
        ),
    )
    OTHER_SRID = (
        "other_srid",
        "Convert the geometry to WGS84 longitude and latitude: SRID 4326 is the only one read.",
    )
    DECIMAL_COMMA = (
        "decimal_comma",
        "Write numbers with a decimal point, such as 23.5: a comma is not guessed at.",
    )
    NOT_A_NUMBER = (
        "not_a_number",
        "Write a plain number, such as 80 or 23.5, without a unit.",
    )
    NOT_A_BOOLEAN = ("not_a_boolean", "Write true or false.")
    NOT_A_LIST = (
        "not_a_list",
        'Write the texts with semicolons between them, or as JSON such as ["a", "b"].',
    )
    NOT_AN_OBJECT = ("not_an_object", "Write a JSON object, as the API takes it.")
    PROPERTY_REPEATED = ("property_repeated", "Give each property once.")
    SURPLUS_CELLS = (
        "surplus_cells",
        (
            "This row has more cells than the first one: quote cells that contain the delimiter,"
            " and write numbers with a decimal point."
        ),
    )


class UnreadableFile(ValueError):
    """A file that cannot be read, from `at` on; its message carries nothing of the file."""

    def __init__(self, fault: Fault, *, at: str | None = None) -> None:
        super().__init__(fault.advice)
        self.fault = fault
        #: the place in the file, such as "line 14"
        self.at = at

    @property
    def code(self) -> str:
        """Stable, for programs."""
        return self.fault.value

    @property
    def message(self) -> str:
        """A sentence for the person who has the file."""
        return self.fault.advice


class Unusable(Exception):
    """A part of a feature that cannot be read: the feature is rejected, the file goes on."""

    def __init__(self, fault: Fault, *, at: str | None = None) -> None:
        super().__init__(fault.advice)
        self.fault = fault
        #: the place in the feature, such as "properties.active"
        self.at = at

    def rejected(self, place: str) -> RejectedFeature:
        """The feature at a place of the file, as it is reported."""
        where = place if self.at is None else f"{place}.{self.at}"
        return RejectedFeature(place=where, code=self.fault.value, message=self.fault.advice)
