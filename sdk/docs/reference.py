"""Writes the reference of every public name from its docstring.

    python sdk/docs/reference.py

A test says when `api.md` is not what this writes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from typing import Any, get_args, get_origin

MODULES = ("doorstep", "doorstep.providers", "doorstep.testing")
FILE = Path(__file__).with_name("api.md")
#: what a client's resources are; they are reached by its attributes
RESOURCES = ("check_ins", "device", "permission", "privacy", "sites")


class Undocumented(Exception):
    """A public name has no docstring."""


def written() -> str:
    """The whole reference."""
    lines = ["# Reference", "", "Made by `python sdk/docs/reference.py` from docstrings."]
    for name in MODULES:
        lines += ["", f"## {name}", *_module(import_module(name))]
    return "\n".join(lines) + "\n"


def _module(module: Any) -> Iterator[str]:
    for name in sorted(module.__all__, key=str.lower):
        if not name.startswith("_"):
            yield from _name(name, getattr(module, name))


def _name(name: str, value: Any) -> Iterator[str]:
    if get_origin(value) is not None:
        yield from ("", f"### {name}", "", f"One of {_words(value)}.")
        return
    yield from ("", f"### {name}{_signature(value)}", "", _told(name, value))
    fields = getattr(value, "_members", ())
    if fields:
        yield from ("", f"Members: {', '.join(f'`{field}`' for field in fields)}.")
    members = [*_members(name, value)] if _has_members(value) else []
    yield from ["", *members] if members else ()


def _has_members(value: Any) -> bool:
    return inspect.isclass(value) and not issubclass(value, Exception)


def _members(name: str, kind: type) -> Iterator[str]:
    for member, value in _public(kind):
        yield f"- `{member}{_signature(value)}`: {_line(_told(f'{name}.{member}', value))}"
    if name == "Client":
        for resource in RESOURCES:
            yield from _resource(resource)


def _resource(resource: str) -> Iterator[str]:
    """Of a client; those of `AsyncClient` are the same, awaited."""
    client = import_module("doorstep").Client("https://localhost")
    for member, value in _public(type(getattr(client, resource))):
        told = _line(_told(f"{resource}.{member}", value))
        yield f"- `{resource}.{member}{_signature(value)}`: {told}"


def _public(kind: type) -> Iterator[tuple[str, Any]]:
    """Its methods and properties, also those of its bases here."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("doorstep"):
            found |= vars(base)
    for member, value in sorted(found.items()):
        is_member = inspect.isfunction(value) or isinstance(value, property | classmethod)
        if is_member and not member.startswith("_"):
            yield member, value


def _signature(value: Any) -> str:
    if isinstance(value, property) or _is_bare(value):
        return ""
    function = value.__func__ if isinstance(value, classmethod) else value
    try:
        signature = inspect.signature(function)
    except ValueError:
        return ""
    some = [_parameter(p) for p in signature.parameters.values() if p.name not in {"self", "cls"}]
    return f"({', '.join(_starred(signature, some))})"


def _is_bare(value: Any) -> bool:
    """Whether it is not made as its signature says: a protocol, or a record of members."""
    return inspect.isclass(value) and value.__init__.__qualname__.startswith(
        ("Value.", "_no_init", "object.")
    )


def _starred(signature: inspect.Signature, some: list[str]) -> list[str]:
    """With the star before what is given by its name."""
    named = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    has_star = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
    if not named or has_star:
        return some
    place = len(some) - len(named) - any(s.startswith("**") for s in some)
    return [*some[:place], "*", *some[place:]]


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
    name = stars.get(parameter.kind, "") + parameter.name
    if parameter.default is parameter.empty:
        return name
    # a default that is an object of its own tells nothing
    default = re.sub(r"<.*>", "…", repr(parameter.default))
    return f"{name}={default}"


def _told(name: str, value: Any) -> str:
    if isinstance(value, str):
        return "This package's version."
    documented = value.__func__ if isinstance(value, classmethod) else value
    # not one that is inherited: it would tell of something else
    told = documented.__doc__ if not inspect.isclass(value) else value.__dict__.get("__doc__")
    if not told:
        raise Undocumented(name)
    return cleandoc(told)


def _line(told: str) -> str:
    return " ".join(told.split())


def _words(value: Any) -> str:
    return ", ".join(f"`{word}`" for word in get_args(value))


if __name__ == "__main__":
    FILE.write_text(written(), "utf-8")
