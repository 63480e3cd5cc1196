"""Lists and their cursors.

A cursor says where the next page begins. It is sealed for its tenant, its list and its filters:
nothing can be read from it, and one from elsewhere is refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from litestar.params import QueryParameter

from doorstep_server.privacy import seals
from doorstep_server.privacy.keys import TenantKeys
from doorstep_server.problems import Refusal

T = TypeVar("T")
P = TypeVar("P")
R = TypeVar("R")

DEFAULT_LIMIT = 50
MAX_LIMIT = 500

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="How many items at most.")]
CursorText = Annotated[
    str | None,
    QueryParameter(max_length=1_000, description="`next_cursor` of the page before."),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Paging:
    """Which page was asked for."""

    limit: int
    cursor: str | None


def paging(limit: Limit = DEFAULT_LIMIT, cursor: CursorText = None) -> Paging:
    """Dependency of every list."""
    return Paging(limit=limit, cursor=cursor)


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list; `next_cursor` is null on the last one."""

    items: list[T]
    next_cursor: str | None


class Cursors(Generic[P]):
    """Cursors of one list: `place` is the kind of thing that says where a page begins."""

    def __init__(self, keys: TenantKeys, place: Any, *, of: str, filters: object = None) -> None:
        self._keys = keys
        self._decoder: msgspec.json.Decoder[P] = msgspec.json.Decoder(place)
        self._context = b"cursor" + msgspec.json.encode([of, filters])

    def read(self, cursor: str | None) -> P | None:
        """Where a page begins; None for the first. Raises `Refusal`."""
        if cursor is None:
            return None
        try:
            return self._decoder.decode(seals.unseal_text(self._keys, self._context, cursor))
        except (seals.BrokenSeal, msgspec.DecodeError):
            raise Refusal("invalid-cursor") from None

    def write(self, place: P) -> str:
        """The cursor to a place."""
        return seals.seal_text(self._keys, self._context, msgspec.json.encode(place))

    def page(
        self,
        found: Sequence[R],
        limit: int,
        *,
        show: Callable[[R], T],
        place: Callable[[R], P],
    ) -> Page[T]:
        """A page of what was found, which is one more than the limit where there is more."""
        shown = found[:limit]
        more = len(found) > limit
        return Page(
            items=[show(item) for item in shown],
            next_cursor=self.write(place(shown[-1])) if more else None,
        )
