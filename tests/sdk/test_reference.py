"""The reference is what the docstrings say now."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import doorstep

DOCS = Path(doorstep.__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_up_to_date(reference: ModuleType) -> None:
    """If not: python sdk/docs/reference.py."""
    assert reference.FILE.read_text("utf-8") == reference.written()


def test_every_public_name_is_in_it(reference: ModuleType) -> None:
    written = reference.written()
    for name in reference.MODULES:
        for public in importlib.import_module(name).__all__:
            assert f"### {public}" in written or public.startswith("_")


def test_a_name_without_words_is_refused(reference: ModuleType) -> None:
    class Silent:
        pass

    with pytest.raises(reference.Undocumented):
        reference._told("Silent", Silent)
