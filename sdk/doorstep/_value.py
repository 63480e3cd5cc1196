"""Frozen, keyword-only values without `dataclasses`, whose import alone takes half our budget."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform

V = TypeVar("V", bound="Value")


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Value:
    """A frozen record: members are its annotations, defaults their class attributes."""

    _members: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}
    #: members that do not show in the repr
    _hidden: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = cls.__annotations__.items()
        members = (name for name, kind in own if not str(kind).startswith("ClassVar"))
        cls._members = (*cls._members, *members)
        cls._defaults = {name: getattr(cls, name) for name in cls._members if hasattr(cls, name)}

    def __init__(self, **members: Any) -> None:
        self.__dict__.update(self._defaults)
        self.__dict__.update(members)
        wrong = self.__dict__.keys() ^ set(self._members)
        if wrong:
            raise TypeError(f"{type(self).__name__}: {', '.join(sorted(wrong))} missing or unknown")
        self._check()

    def _check(self) -> None:
        """Refuse members that make no sense together; subclasses say which."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__[name] for name in self._members))

    def __repr__(self) -> str:
        shown = (name for name in self._members if name not in self._hidden)
        members = ", ".join(f"{name}={self.__dict__[name]!r}" for name in shown)
        return f"{type(self).__name__}({members})"


def changed(value: V, **members: Any) -> V:
    """The same with some other members."""
    return type(value)(**{**value.__dict__, **members})


class Unpicklable:
    """Holds a position or a token: it stays in memory and is not serialized by accident."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} is not pickled: it may hold a position or a token. "
            "Store what you need of it by name."
        )
