from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sdk.boxes import fast_folder
from sdk.scripted import Either


@pytest.fixture
def path() -> Iterator[Path]:
    """Of an outbox, in a folder of its own."""
    with TemporaryDirectory(dir=fast_folder()) as name:
        yield Path(name) / "outbox.db"


@pytest.fixture(params=["sync", "async"])
def either(request: pytest.FixtureRequest) -> Either:
    """Every rule holds for both clients."""
    return Either(request.param)
