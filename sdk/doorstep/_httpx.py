"""A native async transport, by httpx: `pip install doorstep[httpx]`.

Failures are named outside the `except` that saw them: httpx's own errors hold the request.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from doorstep._errors import (
    ConnectFailed,
    ConnectionLost,
    DoorstepError,
    TimedOut,
    UnexpectedAnswer,
    UntrustedServer,
)
from doorstep._http import MAX_ANSWER_BYTES
from doorstep._retry import Timeout
from doorstep._trust import trusted_context
from doorstep._wire import Request, Response

try:
    import httpx
except ImportError:
    raise ImportError("HTTPXTransport needs httpx: install doorstep[httpx]") from None


class HTTPXTransport:
    """Sends over a bounded pool of kept-alive connections, without threads.

    For `AsyncClient(…, transport=HTTPXTransport())`, used in one event loop; close it with `close`.
    Whom to trust is decided as by `HTTPTransport`. Proxies of the environment are not used, and no
    redirect is followed.
    """

    def __init__(
        self, *, max_connections: int = 8, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._limits = httpx.Limits(
            max_connections=max_connections, max_keepalive_connections=max_connections
        )
        self._ssl_context = ssl_context
        #: one for each kind of address: authorities are needed for https alone
        self._clients: dict[bool, httpx.AsyncClient] = {}

    async def send(
        self,
        request: Request,
        *,
        timeout: Timeout,  # noqa: ASYNC109 (the seam)
    ) -> Response:
        """Send it once, within its time."""
        client = self._client(secure=request.url.lower().startswith("https:"))
        outcome: Response | DoorstepError = TimedOut()
        try:
            async with asyncio.timeout(timeout.total):
                outcome = await _exchange(client, request, timeout)
        except TimeoutError:
            pass
        if isinstance(outcome, Response):
            return outcome
        raise outcome

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()

    def _client(self, *, secure: bool) -> httpx.AsyncClient:
        if secure not in self._clients:
            context = (self._ssl_context or trusted_context()) if secure else False
            self._clients[secure] = httpx.AsyncClient(
                verify=context,
                limits=self._limits,
                trust_env=False,
                follow_redirects=False,
                # an answer is read as it comes
                headers={"accept-encoding": "identity"},
            )
        return self._clients[secure]


async def _exchange(
    client: httpx.AsyncClient, request: Request, within: Timeout
) -> Response | DoorstepError:
    """Once more where a kept connection was closed just as it was used: that is no attempt."""
    seen = _Seen()
    outcome = await _exchanged(client, request, within, seen)
    if isinstance(outcome, ConnectionLost) and seen.was_kept and not seen.heard:
        return await _exchanged(client, request, within, _Seen())
    return outcome


class _Seen:
    """What httpcore tells of an exchange."""

    def __init__(self) -> None:
        #: whether the connection is from before
        self.was_kept = True
        #: whether any of the answer came
        self.heard = False

    async def hear(self, event: str, _: Any) -> None:
        """A trace of httpcore."""
        if event.startswith("connection.connect"):
            self.was_kept = False
        elif event.startswith("http11.receive_response_headers.complete"):
            self.heard = True


async def _exchanged(
    client: httpx.AsyncClient, request: Request, within: Timeout, seen: _Seen
) -> Response | DoorstepError:
    limits = httpx.Timeout(within.total, connect=within.connect)
    try:
        async with client.stream(
            request.method,
            request.url,
            headers=dict(request.headers),
            content=request.body,
            timeout=limits,
            extensions={"trace": seen.hear},
        ) as answer:
            return await _read(answer)
    except httpx.ConnectError as error:
        return _not_connected(error)
    except httpx.ConnectTimeout:
        return ConnectFailed()
    except httpx.TimeoutException:
        return TimedOut()
    except (httpx.HTTPError, ValueError):
        return ConnectionLost()


def _not_connected(error: BaseException) -> DoorstepError:
    """The certificate, or the way to the server."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UntrustedServer()
        cause = cause.__cause__ or cause.__context__
    return ConnectFailed()


async def _read(answer: httpx.Response) -> Response | DoorstepError:
    body = bytearray()
    async for some in answer.aiter_raw():
        body += some
        if len(body) > MAX_ANSWER_BYTES:
            return UnexpectedAnswer(answer.status_code)
    if not body and _ends_with_connection(answer):
        # so it looks when headers are cut
        return ConnectionLost()
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Response(status=answer.status_code, headers=headers, body=bytes(body))


def _ends_with_connection(answer: httpx.Response) -> bool:
    has_end = {"content-length", "transfer-encoding"} & {name.lower() for name in answer.headers}
    return not has_end and answer.status_code not in {204, 304}
