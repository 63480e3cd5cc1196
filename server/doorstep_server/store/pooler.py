"""Connecting through pgbouncer, which may run each transaction on another connection to the server.

A statement that was prepared on one of them is not there on the next, or another one is under its
name. So where a URL says `?pgbouncer=true`, statements are prepared without a name, for one
execution each, and nothing is kept of them. (All that is said of a transaction is local to it
anyway: see `Reach.enter`.)
"""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

_SAID = ("pgbouncer", "true")

Connecting = Callable[[], Awaitable[Any]]


def is_pooled(url: str) -> bool:
    """Whether a URL says that pgbouncer is there."""
    try:
        return _SAID in parse_qsl(urlsplit(url).query)
    except ValueError:
        # no URL: whoever connects by it says so
        return False


def without(url: str) -> str:
    """The same URL as drivers and PostgreSQL's own programs understand it."""
    if not is_pooled(url):
        return url
    parts = urlsplit(url)
    kept = [member for member in parse_qsl(parts.query) if member != _SAID]
    return urlunsplit(parts._replace(query=urlencode(kept, safe="/")))


def connecting(url: str, **options: Any) -> Connecting:
    """Connects by a URL."""
    if is_pooled(url):
        options["statement_cache_size"] = 0
    # asyncpg reads the URL itself, so all that libpq's URLs can say may be said
    return lambda: asyncpg.connect(without(url), **options)


def engine_arguments(url: str) -> dict[str, Any]:
    """What SQLAlchemy's dialect has to be told, beside how to connect."""
    if not is_pooled(url):
        return {}
    return {"prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}
