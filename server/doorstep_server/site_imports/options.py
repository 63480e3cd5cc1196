"""How a file is to be taken in."""

from dataclasses import dataclass

from doorstep_server.site_files import Format, ReadOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What whoever imports says beside the file."""

    format: Format
    #: of sites that name none
    timezone: str = "UTC"
    #: of points that say none
    radius_m: float | None = None
    #: mend fences that are not valid, and say how; otherwise they are rejected
    repair: bool = False
    #: say what would happen, and change nothing
    dry_run: bool = False
    #: take the valid ones although others are not
    skip_invalid: bool = False
    #: the properties that hold names and external ids, where they are called otherwise
    name_from: str = "name"
    id_from: str = "external_id"

    def reading(self) -> ReadOptions:
        """As the readers of files want it."""
        return ReadOptions(repair=self.repair, radius_m=self.radius_m)
