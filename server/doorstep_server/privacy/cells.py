"""Cells: how little is kept of a place where there is no site.

H3 cells of resolution 7: the finest of which even the smallest (3.17 km²) is larger than the 3 km²
from which on a place counts as approximate; but for twelve pentagons of 2.6 km², all at sea. The
same place is always the same cell: noise that is drawn anew for each check-in would average out.
"""

import h3

RESOLUTION = 7
#: an approximate fix: its circle of 68 % is about as large as the cell that it names
MAX_ACCURACY_M = 2_000.0


def cell_of(lat: float, lon: float) -> int:
    """The cell of a place, as the number that H3 gives it."""
    return int(h3.str_to_int(h3.latlng_to_cell(lat, lon, RESOLUTION)))


def cell_name(cell: int) -> str:
    """A cell as the API shows it: H3's own name for it."""
    return str(h3.int_to_str(cell))
