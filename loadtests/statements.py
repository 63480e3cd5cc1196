"""Single statements to PostgreSQL, however long they take."""

import asyncio
from typing import Any

import asyncpg


def run(url: str, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement, on a connection of its own."""

    async def fetch() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(statement, *arguments)]
        finally:
            await connection.close()

    return asyncio.run(fetch())


def rest(url: str) -> None:
    """As a database is that nobody filled just now."""
    run(url, "VACUUM ANALYZE")
    run(url, "CHECKPOINT")


def size_bytes(url: str) -> int:
    """How large a database is."""
    [(size,)] = run(url, "SELECT pg_database_size(current_database())")
    return int(size)
