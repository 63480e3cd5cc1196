"""The little of the admin API that the demo and the load test need. Standard library only."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

_PAGE = 500
_TIMEOUT_S = 15.0


class AdminFailed(RuntimeError):
    """The admin API gave no answer, or refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """An enrollment code."""

    text: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Admin:
    """An API key at work."""

    base_url: str
    api_key: str = field(repr=False)

    def sites(self) -> list[dict[str, Any]]:
        """Every site."""
        return list(self._items("/v1/sites"))

    def subject(self, external_id: str, groups: list[str] | None = None) -> str:
        """The id of the subject with this external id, made if need be."""
        body = {"external_id": external_id, "groups": groups or []}
        return str(self._ask("POST", "/v1/subjects", body)["id"])

    def code(self, subject_id: str) -> Code:
        """A new enrollment code."""
        issued = self._ask("POST", f"/v1/subjects/{subject_id}/enrollments")
        return Code(
            text=issued["code"], expires_at=datetime.fromisoformat(str(issued["expires_at"]))
        )

    def count_devices(self, subject_id: str) -> int:
        """How many devices a subject has enrolled, ever."""
        devices = self._items("/v1/devices")
        return sum(device["subject_id"] == subject_id for device in devices)

    def _items(self, path: str) -> Iterator[dict[str, Any]]:
        cursor = ""
        while True:
            page = self._ask("GET", f"{path}?limit={_PAGE}{cursor}")
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            cursor = f"&cursor={quote(page['next_cursor'], safe='')}"

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            status, text = self._exchange(method, path, body)
        except (OSError, HTTPException) as error:
            raise AdminFailed(f"No answer from {self.base_url}: {type(error).__name__}.") from None
        if status >= 300:
            raise AdminFailed(f"{method} {path.partition('?')[0]} was refused: {status}.")
        answer: dict[str, Any] = json.loads(text)
        return answer

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        url = urlsplit(self.base_url)
        connect = HTTPSConnection if url.scheme == "https" else HTTPConnection
        headers = {"Authorization": f"Bearer {self.api_key}", "Doorstep-Purpose": "operations"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        with closing(connect(url.hostname or "", url.port, timeout=_TIMEOUT_S)) as connection:
            connection.request(
                method, url.path.rstrip("/") + path, json.dumps(body) if body else None, headers
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
