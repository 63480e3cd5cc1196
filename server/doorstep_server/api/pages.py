"""Pages for people: what a problem means, and the API reference. Nothing comes from elsewhere."""

from html import escape
from importlib.resources import files

from litestar import Response, get
from litestar.params import FromPath
from litestar.response import Redirect

from doorstep_server.problems import TYPES, ProblemType, Refusal

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>{title} – Doorstep</title><link rel="stylesheet" href="/assets/page.css"></head>
<body><main>{body}</main></body>
</html>
"""
_DOCS = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>Doorstep API</title><script type="module" src="/assets/rapidoc-min.js"></script></head>
<body><rapi-doc spec-url="/openapi.json" load-fonts="false" render-style="read"
 show-header="false" allow-server-selection="false" schema-style="table"
 allow-spec-url-load="false" allow-spec-file-load="false"></rapi-doc></body>
</html>
"""
_ASSETS = {
    "rapidoc-min.js": "text/javascript",
    "page.css": "text/css",
    "rapidoc-LICENSE.txt": "text/plain",
}


@get("/problems/{code:str}", include_in_schema=False)
async def problem_page(code: FromPath[str]) -> Response[str]:
    """What a problem means and what to do next."""
    kind = TYPES.get(code)
    if kind is None:
        raise Refusal("not-found")
    return _html(kind.title, _described(kind))


@get("/problems", include_in_schema=False)
async def problem_index() -> Response[str]:
    """Every problem there is."""
    rows = "".join(f"<section>{_described(kind)}</section>" for kind in TYPES.values())
    return _html("Problems", f"<h1>Problems</h1>{rows}")


@get("/docs", include_in_schema=False)
async def docs() -> Response[str]:
    """The API reference."""
    return Response(_DOCS, media_type="text/html")


@get("/assets/{name:str}", include_in_schema=False, cache_control=None, sync_to_thread=False)
def asset(name: FromPath[str]) -> Response[bytes]:
    """Our own copies of what the pages need."""
    media_type = _ASSETS.get(name)
    if media_type is None:
        raise Refusal("not-found")
    content = files("doorstep_server").joinpath("assets", name).read_bytes()
    return Response(content, media_type=f"{media_type}; charset=utf-8")


@get("/", include_in_schema=False)
async def home() -> Redirect:
    """To the reference."""
    return Redirect("/docs")


def _described(kind: ProblemType) -> str:
    return (
        f"<h2>{escape(kind.title)}</h2>"
        f"<p><code>{escape(kind.code)}</code>, status {kind.status}</p>"
        f"<p>{escape(kind.advice)}</p>"
    )


def _html(title: str, body: str) -> Response[str]:
    return Response(_PAGE.format(title=escape(title), body=body), media_type="text/html")
