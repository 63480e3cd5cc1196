import pytest

from world import Phone, Tenancy, World


@pytest.fixture
def tenant(world: World) -> Tenancy:
    return world.first


@pytest.fixture
def phone(tenant: Tenancy) -> Phone:
    """A phone with permission, and one site to check in at."""
    tenant.site()
    return tenant.phone()
