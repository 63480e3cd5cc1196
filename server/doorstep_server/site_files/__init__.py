"""Files of sites, read and written as streams: GeoJSON and its sequences, KML, KMZ, CSV, GPX.

A file that cannot be read raises UnreadableFile; a feature that cannot is a RejectedFeature among
the others. Neither carries anything of the file but the place.
"""

from doorstep_server.site_files.faults import Fault, UnreadableFile
from doorstep_server.site_files.features import ExportedSite, Feature, ReadOptions
from doorstep_server.site_files.formats import Format, guess_format
from doorstep_server.site_files.reading import read
from doorstep_server.site_files.writing import WRITABLE, write

__all__ = [
    "WRITABLE",
    "ExportedSite",
    "Fault",
    "Feature",
    "Format",
    "ReadOptions",
    "UnreadableFile",
    "guess_format",
    "read",
    "write",
]
