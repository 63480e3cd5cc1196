import pytest

from sdk.scripted import Either


@pytest.fixture(params=["sync", "async"])
def either(request: pytest.FixtureRequest) -> Either:
    """Every rule holds for both clients."""
    return Either(request.param)
