"""What OpenAPI says of a route that its types do not: its refusals, and files as bodies."""

from dataclasses import dataclass
from typing import Any

from litestar.openapi import ResponseSpec

from doorstep_server.problems import MEDIA_TYPE, TYPES, Problem

#: what any route that takes a body may answer
BODY = (
    "malformed-json",
    "invalid-body",
    "body-too-large",
    "unsupported-media-type",
    "body-incomplete",
)
#: what any route may answer
ALWAYS = ("invalid-parameter", "internal", "unavailable")
#: what routes for API keys may answer
ADMIN = ("unauthorized", "scope-missing")
#: what routes for devices may answer
DEVICE = ("unauthorized", "device-revoked")
#: what lists may answer
LIST = ("invalid-cursor",)


def refusals(*codes: str) -> dict[int, ResponseSpec]:
    """The problems that a route may answer with, by status."""
    by_status: dict[int, list[str]] = {}
    for code in sorted({*codes, *ALWAYS}):
        by_status.setdefault(TYPES[code].status, []).append(code)
    return {
        status: ResponseSpec(
            data_container=Problem,
            media_type=MEDIA_TYPE,
            description=", ".join(f"`{code}`" for code in found),
            generate_examples=False,
        )
        for status, found in sorted(by_status.items())
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class FileBody:
    """A body that is a file: what it is called, and one that can be tried."""

    media_types: tuple[str, ...]
    #: of the media type that is JSON
    example: dict[str, Any]


#: in a handler's `opt`: the `FileBody` that it takes
TAKES_FILE = "takes_file"
#: and the media types of the file that it gives
GIVES_FILE = "gives_file"
