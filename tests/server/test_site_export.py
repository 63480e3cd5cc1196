"""Sites as files: what is exported can be imported again, and changes nothing."""

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from doorstep_server.cli import main
from doorstep_server.site_exports import PAGE
from features import apart, collection, feature, square
from world import Tenancy, World

FORMATS = {
    "geojson": "application/geo+json",
    "geojsonseq": "application/geo+json-seq",
    "kml": "application/vnd.google-earth.kml+xml",
    "csv": "text/csv",
}
HOLED = {
    "type": "Polygon",
    "coordinates": [
        square(10, 10)["coordinates"][0],
        square(10.0003, 10.0003, 0.0003)["coordinates"][0],
    ],
}
TWO = {
    "type": "MultiPolygon",
    "coordinates": [square(20, 20)["coordinates"], square(21.123456789012345, 20)["coordinates"]],
}
CIRCLE = {"type": "Circle", "center": [-46.123456789012345, -23.1], "radius_m": 80.5}


@pytest.fixture
def tenant(shared_world: World) -> Tenancy:
    """A tenant without sites."""
    return shared_world.tenant()


def export(tenant: Tenancy, form: str) -> str:
    answer = tenant.admin.get(f"/v1/sites/export?format={form}")
    assert answer.status_code == 200, answer.text
    return answer.text


def imported(tenant: Tenancy, document: str, form: str = "geojson") -> dict[str, Any]:
    headers = {"Content-Type": FORMATS[form]}
    path = f"/v1/sites/import?format={form}"
    answer = tenant.admin.post(path, content=document.encode(), headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def stored(tenant: Tenancy) -> dict[str, dict[str, Any]]:
    return {site["name"]: site for site in tenant.admin.get("/v1/sites").json()["items"]}


def furnish(tenant: Tenancy) -> None:
    """Sites that have everything that sites can have."""
    said: dict[str, Any] = {
        "tolerance_m": 12.5, "assurance": "strict", "max_accuracy_m": 33.25,
        "purposes": ["visit"], "groups": ["crew; night", 'a "quoted" one', "ünïcode ✓"],
        "timezone": "Asia/Tokyo",
    }  # fmt: skip
    tenant.site(name="Plain", external_id="plain")
    tenant.site(name='=1+1, "said"; <&>\nline', external_id=" spaced ", geofence=HOLED, **said)
    tenant.site(name="Two", external_id="two", geofence=TWO, hours=HOURS)
    closed = tenant.site(name="Circle", external_id="007", geofence=CIRCLE)
    tenant.admin.delete(f"/v1/sites/{closed['id']}")


HOURS = {
    "weekly": {"mon": [["09:00", "18:00"]], "fri": [["22:00", "06:00"]]},
    "exceptions": [{"date": "2026-12-25", "open": []}],
}


@pytest.mark.parametrize("form", FORMATS)
def test_what_was_exported_can_be_imported_and_changes_nothing(tenant: Tenancy, form: str) -> None:
    furnish(tenant)
    before = stored(tenant)
    document = export(tenant, form)
    assert imported(tenant, document, form)["unchanged"] == len(before) == 4
    assert stored(tenant) == before
    # and elsewhere it makes the same sites
    other = tenant.world.tenant()
    assert imported(other, document, form)["created"] == 4
    assert {name: _said(site) for name, site in stored(other).items()} == {
        name: _said(site) for name, site in before.items()
    }


def _said(site: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in site.items() if k not in {"id", "version", "valid_from"}}


@pytest.mark.parametrize(("form", "kind"), FORMATS.items())
def test_a_file_has_its_type_and_a_name_of_ours(tenant: Tenancy, form: str, kind: str) -> None:
    answer = tenant.admin.get(f"/v1/sites/export?format={form}")
    assert answer.headers["content-type"].partition(";")[0] == kind
    assert answer.headers["content-disposition"] == f'attachment; filename="sites.{form}"'


def test_without_sites_there_is_a_file_without_sites(tenant: Tenancy) -> None:
    assert json.loads(export(tenant, "geojson")) == {"type": "FeatureCollection", "features": []}
    assert list(csv.DictReader(StringIO(export(tenant, "csv")))) == []


def test_all_sites_are_exported_however_many(tenant: Tenancy) -> None:
    count = 2 * PAGE + 1
    assert imported(tenant, collection(*apart(count)))["created"] == count
    features = json.loads(export(tenant, "geojson"))["features"]
    assert len(features) == count
    assert {f["properties"]["external_id"] for f in features} == {f"s-{n}" for n in range(count)}


def test_only_ones_own_are_exported(tenant: Tenancy) -> None:
    tenant.site(name="Mine")
    tenant.world.tenant().site(name="Another's")
    assert [f["properties"]["name"] for f in json.loads(export(tenant, "geojson"))["features"]] == [
        "Mine"
    ]


@pytest.mark.parametrize("form", ["kmz", "gpx", "shp", ""])
def test_what_cannot_be_written_is_refused(tenant: Tenancy, form: str) -> None:
    answer = tenant.admin.get(f"/v1/sites/export?format={form}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-parameter")


@pytest.mark.parametrize("form", FORMATS)
def test_the_commands_import_what_they_export(tmp_path: Path, form: str) -> None:
    runner, home = CliRunner(), str(tmp_path / "home")

    def run(*arguments: str) -> bytes:
        result = runner.invoke(main, ["--home", home, *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout_bytes

    run("init")
    source, exported = tmp_path / "sites.geojson", tmp_path / "exported"
    source.write_text(collection(feature("Office", external_id="a"), feature("Hut", HOLED)))
    run("sites", "import", str(source))
    run("sites", "export", "--format", form, "--output", str(exported))
    # a site without an external id is a new one each time
    told = run("sites", "import", "--dry-run", "--format", form, str(exported))
    assert told.splitlines()[-1] == b"1 would be created, 1 would be unchanged, 0 rejected"
    assert run("sites", "export", "--format", form) == exported.read_bytes()
