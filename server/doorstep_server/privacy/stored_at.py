"""What a check-in leaves at each level: which columns of the data map it writes."""

from collections.abc import Iterator
from dataclasses import dataclass

from doorstep_server.privacy.data_map import DATA_MAP, Entry
from doorstep_server.privacy.levels import Level
from doorstep_server.privacy.minimize import Unstored


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The tables that a check-in writes, and the columns in them that stay empty."""

    #: the levels of purposes that may store so much
    allowed_by: frozenset[Level]
    tables: tuple[str, ...]
    empty: frozenset[str]

    def columns(self) -> Iterator[tuple[str, Entry]]:
        """Each column that is written, as `table.column`."""
        for table in self.tables:
            for column, entry in DATA_MAP[table].items():
                name = f"{table}.{column}"
                if name not in self.empty:
                    yield name, entry


STORED_AT = {
    # every rejection, whatever the purpose allows
    Level.NONE: Written(
        allowed_by=frozenset(Level),
        tables=("receipts", "tallies"),
        empty=frozenset({"receipts.record_expires_on"}),
    ),
    Level.SITE: Written(
        allowed_by=frozenset({Level.SITE, Level.EXACT}),
        tables=("check_ins", "receipts"),
        empty=frozenset({"check_ins.cell", "receipts.sealed"}),
    ),
    Level.CELL: Written(
        allowed_by=frozenset({Level.CELL}),
        tables=("check_ins", "receipts"),
        empty=frozenset({"check_ins.site_id", "check_ins.site_version", "receipts.sealed"}),
    ),
    Level.EXACT: Written(
        allowed_by=frozenset({Level.EXACT}),
        # the key of the person and the day is in the keyring
        tables=("check_ins", "exact_positions", "keyring_entries", "receipts"),
        empty=frozenset({"check_ins.cell", "receipts.sealed"}),
    ),
}

#: what is inside of what is sealed, where the column's entry does not say it all
INSIDE = {
    "receipts.sealed": Unstored.__struct_fields__,
    "exact_positions.sealed": ("lat", "lon", "accuracy_m", "captured_at"),
}
