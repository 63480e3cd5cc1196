"""The API reference in a real browser: it shows every route and asks nobody else for anything."""

import os
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, sync_playwright

from served import Served, serving

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true",
    reason="Chromium is not installed; as root, `make test` installs it",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("docs") / "home") as server:
        yield server


@pytest.fixture
def page() -> Iterator[Page]:
    assert CHROMIUM, "CI must have Chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser.new_page()
        browser.close()


def test_the_reference_shows_every_route_and_loads_nothing_from_elsewhere(
    server: Served, page: Page
) -> None:
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{server.url}/docs")
    for path in ("/v1/check-ins/batch", "/v1/device/permission", "/v1/sites/judge"):
        page.get_by_text(path).first.wait_for(state="attached", timeout=30_000)
    page.wait_for_load_state("networkidle")
    host = urlsplit(server.url).netloc
    elsewhere = [
        u for u in asked if urlsplit(u).scheme in {"http", "https"} and urlsplit(u).netloc != host
    ]
    assert elsewhere == []
    assert any(url.endswith("/openapi.json") for url in asked)
    assert errors == []


def test_a_problem_page_can_be_read(server: Served, page: Page) -> None:
    page.goto(f"{server.url}/problems/id-reused")
    assert page.get_by_text("Make a new id for a new check-in.").is_visible()
