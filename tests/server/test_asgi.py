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


def test_a_request_that_is_given_up_is_told_to_come_again(world: World) -> None:
    sent: list[dict[str, Any]] = []

    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def serve() -> None:
        app = logged(never, world.services.meters)
        serving = asyncio.ensure_future(app(scope("/v1/sites"), never, send))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        serving.cancel()
        await serving

    asyncio.run(serve())
    assert sent[0]["status"] == 503
    headers = dict(sent[0]["headers"])
    assert int(headers[b"retry-after"]) >= 1
    assert headers[b"content-type"] == b"application/problem+json"
    assert b'"unavailable"' in sent[1]["body"]


def test_a_body_has_time_for_what_it_brings_and_what_follows_it_has_all_time() -> None:
    """Each byte gives a little; when all is there, nothing is given up any more."""
    pieces = asyncio.Queue[Any]()
    seen: list[Any] = []

    async def read(_: Any, receive: Any, __: Any) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            seen.append(message)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        # the loop's clock moves when the test says so
        loop.time = lambda: now_s  # type: ignore[method-assign]
        serving = asyncio.ensure_future(patient(read, wait_s=10)(scope("/"), pieces.get, read))  # type: ignore[arg-type]
        for _ in range(3):
            pieces.put_nowait({"type": "http.request", "body": b"x" * 20_000, "more_body": True})
            await asyncio.sleep(0)
            now_s += 15
            await asyncio.sleep(0)
        pieces.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        await asyncio.sleep(0)
        now_s += 1_000_000
        for _ in range(9):
            await asyncio.sleep(0)
        assert not serving.done()
        pieces.put_nowait({"type": "http.disconnect"})
        await serving

    asyncio.run(serve())
    assert len(seen) == 4


def test_a_body_that_drips_is_given_up(world: World) -> None:
    """However often one byte more comes."""
    seen: list[Any] = []

    async def drip() -> Any:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def read(_: Any, receive: Any, __: Any) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            seen.append(message)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        started_s, ticks = loop.time(), iter(range(10**9))
        # a second goes by whenever somebody looks
        loop.time = lambda: started_s + next(ticks)  # type: ignore[method-assign]
        async with asyncio.timeout(100_000):
            await patient(read, wait_s=10)(scope("/"), drip, read)  # type: ignore[arg-type]

    asyncio.run(serve())
    assert len(seen) < 20
