"""What the sites of a file overlap, or repeat: each other, and the sites that are there.

Boxes are compared first, by a tree; then the fences of those that meet, up to a bound. The boxes
of a file's sites are all that is kept in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import shapely

from doorstep_geofences import Geofence
from doorstep_server import site_doubts
from doorstep_server.site_imports.report import Listed, Warned
from doorstep_server.site_imports.spool import Spool, Spooled, box_of
from doorstep_server.store import Connection, sites
from doorstep_server.store.sites import StoredSite

#: what comparing may cost in one import: some seconds' worth, and enough for neighbours everywhere
COMPARED = 400_000
#: two fences cost 1, and 1 more for so many positions: most lie within one another, or beside
_POSITIONS = 320
#: pairs compared at once
_BATCH = 512
#: sites of the tenant read at once
PAGE = 500
#: the tree is asked for so many boxes at once: each may meet all others
_ASKED = 16

_NOT_ALL = Warned(
    place="file",
    code="overlaps_not_all_found",
    message="So many fences lie near each other that not all were compared.",
)

Boxes = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Other:
    """What a site of the file may overlap."""

    geofence: Geofence
    #: as a warning names it
    told: dict[str, Any]


class Neighbours:
    """Looks for what a spool's sites overlap, and adds a warning for each that it finds."""

    def __init__(self, spool: Spool, warnings: Listed[Warned], compared: int = COMPARED) -> None:
        self._spool = spool
        self._warnings = warnings
        self._boxes: Boxes = np.array(spool.boxes, dtype=np.float64).reshape(-1, 4)
        # of equal fences the first stands for all: very many would all meet each other
        self._firsts, self._repeated = _told_apart(spool.prints)
        self._drawn = np.array(shapely.box(*self._boxes[self._firsts].T), ndmin=1)
        self._tree = shapely.STRtree(self._drawn)
        self._left = compared

    def within(self) -> None:
        """Look in the file."""
        found = chain(self._repeated, self._meeting())
        while pairs := list(islice(found, _BATCH)):
            some = {number: self._spool[number] for number in set(chain(*pairs))}
            meeting = [
                (some[number], _Other(there.content.geofence, {"other_place": there.place}))
                for number, there in ((number, some[other]) for number, other in pairs)
            ]
            if not self._compare(meeting):
                return

    def against(
        self, connection: Connection, tenant_id: UUID, replaced: frozenset[str] | set[str]
    ) -> None:
        """Look at the tenant's active sites, but for those that the file replaces."""
        for page in self._stored(connection, tenant_id):
            kept = [s for s in page if s.content.active and s.content.external_id not in replaced]
            found = self._near(kept)
            while pairs := list(islice(found, _BATCH)):
                some = {number: self._spool[number] for _, number in pairs}
                meeting = [
                    (some[number], _Other(site.content.geofence, {"other_site_id": site.site_id}))
                    for site, number in pairs
                ]
                if not self._compare(meeting):
                    return

    def _meeting(self) -> Iterator[tuple[int, int]]:
        """Pairs of sites of the file whose boxes meet, the later one first."""
        for start in range(0, len(self._drawn), _ASKED):
            asking, found = self._tree.query(self._drawn[start : start + _ASKED])
            asking = asking + start
            earlier = found < asking
            yield from zip(
                self._firsts[asking[earlier]].tolist(),
                self._firsts[found[earlier]].tolist(),
                strict=True,
            )

    def _near(self, stored: Sequence[StoredSite]) -> Iterator[tuple[StoredSite, int]]:
        """The stored sites whose boxes meet those of the file's."""
        boxes = [shapely.box(*box_of(site.content.geofence)) for site in stored]
        for start in range(0, len(boxes), _ASKED):
            asking, found = self._tree.query(boxes[start : start + _ASKED])
            for which, near in zip(asking.tolist(), found.tolist(), strict=True):
                yield stored[start + which], int(self._firsts[near])

    def _stored(self, connection: Connection, tenant_id: UUID) -> Iterator[list[StoredSite]]:
        """The tenant's sites, page by page.

        All of them: to ask for a part of the map would make PostgreSQL sort what is there anew for
        each page.
        """
        after: UUID | None = None
        while len(self._spool):
            page = sites.page(connection, tenant_id, after=after, limit=PAGE)
            yield page
            if len(page) < PAGE:
                return
            after = page[-1].site_id

    def _compare(self, meeting: list[tuple[Spooled, _Other]]) -> bool:
        """Compare each two, and tell of those that overlap; False when it was enough."""
        some = list(takewhile(self._affords, meeting))
        pairs = [(site.content.geofence, other.geofence) for site, other in some]
        for (site, other), overlap in zip(some, site_doubts.between(pairs), strict=True):
            if overlap is not None:
                note, told = overlap.note, {"share": overlap.share, **other.told}
                self._warnings.add(
                    Warned(place=site.place, code=note.code, message=note.message, **told)
                )
        if len(some) < len(meeting):
            self._warnings.add(_NOT_ALL)
        return len(some) == len(meeting)

    def _affords(self, pair: tuple[Spooled, _Other]) -> bool:
        """Whether there is room for one more."""
        site, other = pair
        shapes = (site.content.geofence.shape, other.geofence.shape)
        positions = sum(int(shapely.get_num_coordinates(shape)) for shape in shapes if shape)
        self._left -= 1 + positions // _POSITIONS
        return self._left >= 0


def _told_apart(
    prints: Iterable[int],
) -> tuple[npt.NDArray[np.intp], list[tuple[int, int]]]:
    """The first of each kind, and of the others each with its first."""
    firsts: dict[int, int] = {}
    repeated = []
    for number, each in enumerate(prints):
        first = firsts.setdefault(each, number)
        if first != number:
            repeated.append((number, first))
    return np.array(list(firsts.values()), dtype=np.intp), repeated
