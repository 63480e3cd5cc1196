from collections.abc import Iterator
from pathlib import Path

import pytest

from world import Phone, Tenancy, World, opened


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path / "home") as world:
        yield world


@pytest.fixture
def tenant(world: World) -> Tenancy:
    return world.first


@pytest.fixture
def phone(tenant: Tenancy) -> Phone:
    """A phone with permission, and one site to check in at."""
    tenant.site()
    return tenant.phone()
