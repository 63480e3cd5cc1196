"""What OpenAPI says of each route's refusals."""

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
