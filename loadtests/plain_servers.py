"""What check-ins are compared with: servers that store nothing, each with one worker.

    python loadtests/plain_servers.py echo|empty PORT

`echo` is an ASGI function that sends a body back: as much as this server, event loop and parser
can do, and more than any framework. `empty` is a Litestar handler that decodes the same body and
answers as much as it must.
"""

import sys
from typing import Any

import msgspec
import uvicorn
from litestar import Litestar, get, post
from litestar.types import Receive, Scope, Send

from doorstep_server.check_ins.claim import Claim
from driving import HOST


class Claims(msgspec.Struct):
    """A batch as Doorstep takes it, but decoded in one go."""

    check_ins: list[Claim]


class Answer(msgspec.Struct):
    """What is looked for in every answer."""

    id: str
    outcome: str = "accepted"
    status: int = 201


class Answers(msgspec.Struct):
    """The same of a batch."""

    results: list[Answer]


@post("/v1/check-ins")
async def take_one(data: Claim) -> Answer:
    """Do nothing."""
    return Answer(str(data.id))


@post("/v1/check-ins/batch", status_code=200)
async def take_many(data: Claims) -> Answers:
    """Do nothing, a hundred times."""
    return Answers([Answer(str(claim.id)) for claim in data.check_ins])


@get("/health/ready")
async def ready() -> None:
    """Where Doorstep has it."""


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the body back."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message: Any = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    status = 201 if scope["path"] == "/v1/check-ins" else 200
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    start: Any = {"type": "http.response.start", "status": status, "headers": head}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})


def empty() -> Litestar:
    """A Litestar application whose handlers do nothing."""
    return Litestar([take_one, take_many, ready], openapi_config=None, logging_config=None)


def serve(app: Any, port: int) -> None:
    """As `doorstep serve` does: uvicorn chooses uvloop and httptools then."""
    uvicorn.run(
        app,
        host=HOST,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off" if app is echo else "on",
    )


if __name__ == "__main__":
    serve(echo if sys.argv[1] == "echo" else empty(), int(sys.argv[2]))
