"""A transport for the SDK that tells Locust of every request: its route, and what became of it."""

import re
import time

from locust.env import Environment

from doorstep import Request, Response, Timeout, Transport, TransportError

#: routes as the API names them, by what addresses look like: no id ever stands in a name
_ROUTES = (
    (re.compile(r"/v1/sites/[0-9a-f-]{36}"), "/v1/sites/{site_id}"),
    (re.compile(r"/v1/enrollments|/v1/device(/permission)?|/v1/check-ins(/batch)?|/v1/sites"), ""),
)
_COME_BACK = frozenset({429, 503})


class StatusFailed(Exception):
    """The server answered with a status that no user here should see."""


class Measured:
    """Sends by another transport, and tells Locust: no id, no query, no body."""

    def __init__(
        self, environment: Environment, transport: Transport, meant: frozenset[int], whose: str = ""
    ) -> None:
        self._environment = environment
        self._transport = transport
        self._meant = meant
        self._whose = f" ({whose})" if whose else ""

    def send(self, request: Request, *, timeout: Timeout) -> Response:
        """Send, and tell. What is meant to be refused is told apart, and is no failure."""
        began = time.perf_counter()
        try:
            response = self._transport.send(request, timeout=timeout)
        except TransportError as error:
            self._tell(request, request.method, began, 0, error)
            raise
        kind, error = request.method, None
        if response.status >= 400:
            kind = f"{request.method} {response.status}"
            error = self._failure(response)
        self._tell(request, kind, began, len(response.body), error)
        return response

    def _failure(self, response: Response) -> Exception | None:
        if response.status not in self._meant:
            return StatusFailed(str(response.status))
        if response.status in _COME_BACK and not _says_when(response):
            return StatusFailed(f"{response.status} without Retry-After")
        return None

    def _tell(
        self, request: Request, kind: str, began: float, length: int, error: Exception | None
    ) -> None:
        self._environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type=kind + self._whose,
            name=route(request.url),
            response_time=(time.perf_counter() - began) * 1000,
            response_length=length,
            exception=error,
            context={},
        )


def _says_when(response: Response) -> bool:
    return (response.header("Retry-After") or "").isdigit()


def route(url: str) -> str:
    """The route of a request: one of a fixed few."""
    path = "/" + url.partition("://")[2].partition("/")[2].partition("?")[0]
    for pattern, template in _ROUTES:
        if pattern.fullmatch(path):
            return template or path
    return "other"
