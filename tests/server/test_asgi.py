"""The served application: bodies that stop arriving, log lines."""

import asyncio
from typing import Any

from doorstep_server.asgi import logged, patient
from world import World


def scope(path: str, method: str = "POST") -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"100")],
        "client": ("203.0.113.7", 1),
        "server": ("x", 80),
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }


def test_a_body_that_stops_arriving_is_given_up(world: World) -> None:
    pieces: list[dict[str, Any]] = [{"type": "http.request", "body": b"{", "more_body": True}]
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return pieces.pop() if pieces else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def serve() -> None:
        app = logged(patient(world.client.app, wait_s=0.01), world.services.meters)
        async with asyncio.timeout(30):
            await app(scope("/v1/enrollments"), receive, send)  # type: ignore[arg-type]

    asyncio.run(serve())
    assert sent[0]["status"] == 408
    assert b"body-incomplete" in sent[1]["body"]
