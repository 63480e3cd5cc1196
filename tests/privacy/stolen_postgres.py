"""A thief of a PostgreSQL data folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import postgres
from privacy.stolen_copies import Copier, Row, raw, slot_of
from privacy.stolen_filling import Filled


class PostgresCopier(Copier):
    """Takes rows with their places and transactions, and the rows that were replaced."""

    def __init__(self, filled: Filled) -> None:
        super().__init__(filled)
        assert filled.settings.admin_database_url is not None
        #: transactions that stand in rows, by whom or what these are about
        self._numbered: dict[tuple[bytes, int], None] = {}
        #: the transaction of a check-in, before its day was over and all were written anew
        self._written_by: dict[bytes, int] = {}
        self._held = ExitStack()
        session = self._held.enter_context(postgres.session(filled.settings.admin_database_url))
        self._query = session.run
        self._query("CREATE EXTENSION IF NOT EXISTS pageinspect")

    def take(self) -> None:
        """And be gone."""
        with self._held:
            super().take()

    def _select(self, table: str) -> list[dict[str, Any]]:
        columns = [
            name
            for (name,) in self._query(
                "SELECT column_name::text FROM information_schema.columns"
                f" WHERE table_name = '{table}' ORDER BY ordinal_position"
            )
        ]
        # the numbers of transactions that wrote, replaced or locked a row stand in it
        wanted = [*(f'"{name}"' for name in columns), "xmin::text", "xmax::text"]
        found = []
        for values in self._query(f"SELECT {', '.join(wanted)} FROM {table}"):
            row = dict(zip(columns, values, strict=False))
            if table != "receipts":
                self._by_transactions(table, row, values[-2:])
            found.append(row)
        return found

    def _by_transactions(self, table: str, row: dict[str, Any], numbers: tuple[str, ...]) -> None:
        for number in numbers:
            if number != "0":
                self._numbered[self._key(table, row), int(number)] = None

    def _new_check_ins(self) -> list[bytes]:
        today = f"expires_on = '{self._expiring}'"
        found = self._query(f"SELECT id, xmin::text FROM check_ins WHERE {today}")
        for row_id, number in found:
            self._written_by.setdefault(raw(row_id), int(number))
        return [raw(row_id) for row_id, _ in found]

    def _look_closer(self) -> None:
        """At the rows that were replaced: they stay until their page is cleaned."""
        for key, number in self._numbered:
            self._touched(key, transaction=number)
        for table in ("devices", "subjects"):
            dead = (
                "SELECT substr(t_data, 17, 16), t_xmin::text, t_xmax::text"
                f" FROM generate_series(0, pg_relation_size('{table}') / 8192 - 1) AS page,"
                f" heap_page_items(get_raw_page('{table}', page::int)) WHERE t_data IS NOT NULL"
            )
            for key, *numbers in self._query(dead):
                for number in numbers:
                    if number != "0":
                        self._touched(key, transaction=int(number))

    def _rows(self) -> Iterator[Row]:
        found = self._query(
            "SELECT site_id, time, action, id, token, sealed, xmin::text, tableoid::int,"
            " (ctid::text::point)[0]::int, (ctid::text::point)[1]::int FROM check_ins"
        )
        for site, time, action, row_id, token, sealed, number, table, page, line in found:
            yield Row(
                site=raw(site),
                slot=slot_of(time),
                action=action,
                secrets=(raw(row_id), token, sealed),
                place=(table << 32 | page, line),
                transaction=self._written_by.get(raw(row_id), int(number)),
                hour=self._hours.get(raw(row_id)),
            )
