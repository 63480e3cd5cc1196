"""Sites from files: all of them or none, and a report that says what became of each."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from doorstep_server.cli import main
from doorstep_server.site_files import Format
from doorstep_server.site_imports import reading, report
from doorstep_server.site_imports.importing import Import
from doorstep_server.site_imports.looking import Neighbours
from doorstep_server.site_imports.options import Options
from doorstep_server.store.schema import site_versions
from doorstep_server.store.tenants import Limits
from features import BOW_TIE, apart, collection, feature, square
from world import NOON, SQUARE, Tenancy, World

GEOJSON = "application/geo+json"


@pytest.fixture
def tenant(shared_world: World) -> Tenancy:
    """A tenant without sites."""
    return shared_world.tenant()


Check = Callable[..., reading.Prepared]


@pytest.fixture
def checked() -> Iterator[Check]:
    """Reads and checks features, without a database."""
    with ExitStack() as opened:

        def check(features: list[Any], **options: Any) -> reading.Prepared:
            file = BytesIO(collection(*features).encode())
            wanted = Options(format=Format.GEOJSON, **options)
            return opened.enter_context(reading.prepare(file, wanted, Limits()))

        yield check


def take(
    tenant: Tenancy, body: str | bytes, query: str = "", kind: str = GEOJSON
) -> httpx.Response:
    query = query if query.startswith("format") else f"format=geojson&{query}"
    return tenant.admin.post(
        f"/v1/sites/import?{query.rstrip('&')}", content=body, headers={"Content-Type": kind}
    )


def took(tenant: Tenancy, body: str | bytes, query: str = "") -> dict[str, Any]:
    answer = take(tenant, body, query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def fates(report: dict[str, Any]) -> dict[str, int]:
    names = ("created", "updated", "unchanged", "rejected")
    return {name: report[name] for name in names if report[name]}


def stored(tenant: Tenancy) -> dict[str, dict[str, Any]]:
    found = tenant.admin.get("/v1/sites?limit=500").json()["items"]
    return {site["name"]: site for site in found}


def codes(report: dict[str, Any]) -> dict[str, int]:
    return dict(report["warnings_by_code"])


# -- what becomes of features -------------------------------------------------------------------


def test_sites_are_created_then_left_then_updated(tenant: Tenancy) -> None:
    office = feature("Office", external_id="office", timezone="America/Sao_Paulo")
    kiosk = feature("Kiosk", {"type": "Point", "coordinates": [-46.6, -23.5]}, radius_m=50)
    kiosk["properties"]["external_id"] = "kiosk"
    first = took(tenant, collection(office, kiosk))
    assert (fates(first), first["applied"]) == ({"created": 2}, True)
    assert fates(took(tenant, collection(office, kiosk))) == {"unchanged": 2}
    moved = feature("Office", square(10, 10), external_id="office", timezone="America/Sao_Paulo")
    assert fates(took(tenant, collection(moved, kiosk))) == {"updated": 1, "unchanged": 1}
    office_now = stored(tenant)["Office"]
    assert (office_now["version"], office_now["geofence"]) == (2, square(10, 10))
    assert stored(tenant)["Kiosk"]["version"] == 1


def test_a_dry_run_says_the_same_and_changes_nothing(tenant: Tenancy) -> None:
    document = collection(feature("Office", external_id="office"))
    told = took(tenant, document, "dry_run=true")
    assert (fates(told), told["applied"], told["dry_run"]) == ({"created": 1}, False, True)
    assert stored(tenant) == {}


def test_one_bad_feature_is_named_and_nothing_is_imported_unless_asked(tenant: Tenancy) -> None:
    document = collection(*_one_bad_of(600))
    told = took(tenant, document, "dry_run=true")
    assert fates(told) == {"created": 599, "rejected": 1}
    [rejection] = told["rejections"]
    assert rejection["place"].startswith("features[599].geometry.coordinates")
    assert rejection["code"] == "self_intersection"
    refused = take(tenant, document)
    assert (refused.status_code, refused.json()["code"]) == (422, "import-rejected")
    assert refused.json()["report"] == told | {"dry_run": False}
    assert stored(tenant) == {}
    taken = took(tenant, document, "skip_invalid=true")
    assert (fates(taken), taken["applied"]) == (fates(told), True)
    again = took(tenant, document, "skip_invalid=true")
    assert fates(again) == {"unchanged": 599, "rejected": 1}


def _one_bad_of(count: int) -> list[dict[str, Any]]:
    features = apart(count)
    features[-1]["geometry"] = BOW_TIE
    return features


def test_without_an_external_id_a_feature_always_makes_a_new_site(tenant: Tenancy) -> None:
    document = collection(feature("Office"))
    assert fates(took(tenant, document)) == {"created": 1}
    assert fates(took(tenant, document)) == {"created": 1}


def test_an_external_id_stands_in_a_file_once(tenant: Tenancy) -> None:
    twice = collection(feature("One", external_id="a"), feature("Two", external_id="a"))
    [rejection] = took(tenant, twice, "dry_run=true")["rejections"]
    assert rejection["place"] == "features[1].properties"
    assert rejection["code"] == "external-id-repeated"


@pytest.mark.parametrize(
    ("properties", "place", "code"),
    [
        ({"tolerance_m": "5 m"}, "properties.tolerance_m", "properties-invalid"),
        ({"groups": [1]}, "properties.groups", "properties-invalid"),
        ({"purposes": ["Über"]}, "properties.purposes", "properties-invalid"),
        ({"timezone": "Mars/Olympus"}, "properties.timezone", "timezone-unknown"),
        ({"active": "yes"}, "properties.active", "properties-invalid"),
        ({"name": "x" * 201}, "properties.name", "properties-invalid"),
    ],
)
def test_a_property_that_cannot_be_kept_is_named(
    checked: Check, properties: dict[str, Any], place: str, code: str
) -> None:
    found = checked([feature("Office") | {"properties": {"name": "Office", **properties}}])
    [rejection] = found.findings.rejections.first
    assert (rejection.place, rejection.code) == (f"features[0].{place}", code)


def test_what_is_null_or_empty_is_not_said(checked: Check) -> None:
    found = checked([feature("Office", external_id="", tolerance_m=None, timezone=None)])
    site = found.spool[0].content
    assert (site.external_id, site.tolerance_m, site.timezone) == (None, 0.0, "UTC")


def test_names_and_ids_may_stand_in_other_properties(checked: Check) -> None:
    roof = feature(None, ref=17, title="Roof")
    found = checked([roof], name_from="title", id_from="ref")
    site = found.spool[0].content
    assert (site.name, site.external_id) == ("Roof", "17")


def test_a_features_own_id_may_be_the_external_id(checked: Check) -> None:
    mine = feature("Own") | {"id": "way/17"}
    both = feature("Both", id=18) | {"id": "way/18"}
    found = checked([mine, both], id_from="id")
    assert [found.spool[n].content.external_id for n in (0, 1)] == ["way/17", "18"]
    # unless it is asked for it is none: it may be the number of a row
    assert checked([mine]).spool[0].content.external_id is None


def test_a_site_without_a_name_is_named_by_its_external_id(checked: Check) -> None:
    found = checked([feature(None, external_id="way/17"), feature(None)])
    assert found.spool[0].content.name == "way/17"
    assert found.findings.warnings.by_code["named_by_id"] == 1
    [rejection] = found.findings.rejections.first
    assert (rejection.place, rejection.code) == ("features[1].properties", "name-missing")


def test_a_fence_is_mended_only_when_asked_and_it_is_told_how(tenant: Tenancy) -> None:
    document = collection(feature("Bow tie", BOW_TIE, external_id="bow"))
    assert took(tenant, document, "dry_run=true")["rejected"] == 1
    mended = took(tenant, document, "repair=true")
    assert fates(mended) == {"created": 1}
    [change] = [w for w in mended["warnings"] if w["code"] == "repaired"]
    assert change["place"].startswith("features[0].geometry.coordinates")
    assert change["area_before_m2"] > 0
    assert change["area_after_m2"] > 0


def test_a_site_may_not_be_larger_than_the_tenants_limit(tenant: Tenancy) -> None:
    tenant.admin.put("/v1/settings", {"max_speed_kmh": None, "max_site_area_km2": 100})
    large = feature("State", square(-50, -20, 0.5), external_id="large")
    [rejection] = took(tenant, collection(large), "dry_run=true")["rejections"]
    assert (rejection["place"], rejection["code"]) == ("features[0].geometry", "too_large")
    body = {"name": "State", "geofence": square(-50, -20, 0.5), "timezone": "UTC"}
    answer = tenant.admin.post("/v1/sites", json=body)
    assert (answer.status_code, answer.json()["reason"]) == (422, "too_large")


def test_what_another_changed_meanwhile_is_read_anew(tenant: Tenancy, checked: Check) -> None:
    """Between looking and writing a site is changed, and another made under an id of the file."""
    world, tenant_id = tenant.world, tenant.new.tenant.tenant_id
    site = tenant.site(external_id="changed", name="As it was")
    features = [feature("As it was", external_id=name, timezone="America/Sao_Paulo")
                for name in ("changed", "made")]  # fmt: skip
    options = Options(format=Format.GEOJSON)
    work = Import(tenant_id=tenant_id, options=options, prepared=checked(features))
    world.read(tenant_id, work.look)
    assert fates_of(work) == {"created": 1, "unchanged": 1}
    body = {k: site[k] for k in ("name", "timezone", "external_id", "version")}
    answer = tenant.admin.put(f"/v1/sites/{site['id']}", json=body | {"geofence": square(5, 5)})
    assert answer.status_code == 200
    tenant.site(external_id="made", name="As it was")
    world.write(tenant_id, lambda c: work.write(c, NOON))
    assert fates_of(work) == {"updated": 1, "unchanged": 1}
    versions = tenant.admin.get(f"/v1/sites/{site['id']}/versions").json()["items"]
    assert [(v["version"], v["geofence"]) for v in versions] == [
        (3, SQUARE),
        (2, square(5, 5)),
        (1, SQUARE),
    ]


def test_what_is_imported_is_kept_as_what_is_posted(tenant: Tenancy) -> None:
    """Rows of many sites are made in another way than those of one, and are the same rows."""
    said: dict[str, Any] = {
        "timezone": "Asia/Tokyo", "tolerance_m": 12.5, "assurance": "strict",
        "max_accuracy_m": 33.25, "purposes": ["visit"], "groups": ["crew"], "active": False,
        "hours": {"weekly": {"mon": [["09:00", "18:00"]]}},
    }  # fmt: skip
    circle = {"type": "Circle", "center": [10.5, 20.25], "radius_m": 80}
    tenant.site(name="Square", geofence=SQUARE, external_id="a", **said)
    tenant.site(name="Circle", geofence=circle, external_id="b")
    point = {"type": "Point", "coordinates": circle["center"]}
    document = collection(
        feature("Square", SQUARE, external_id="c", **said),
        feature("Circle", point, external_id="d", radius_m=80, timezone="America/Sao_Paulo"),
    )
    took(tenant, document)
    took(tenant, document.replace("33.25", "34.5"))
    took(tenant, document)
    others = {"tenant_id", "site_id", "version"}
    columns = ", ".join(f'"{c.name}"' for c in site_versions.columns if c.name not in others)
    mine = f"tenant_id = {literal(tenant)}"
    one, two = (
        tenant.world.rows(
            f"SELECT {columns} FROM site_versions v WHERE {mine} AND name = '{name}' "
            "ORDER BY version"
        )
        for name in ("Square", "Circle")
    )
    assert (len(one), len(set(map(repr, one)))) == (4, 2)
    assert (len(two), len(set(map(repr, two)))) == (2, 1)
    assert fates(took(tenant, document)) == {"unchanged": 2}


def literal(tenant: Tenancy) -> str:
    """The tenant's id, as the database's SQL writes it."""
    tenant_id = tenant.new.tenant.tenant_id
    on_postgresql = tenant.world.settings.admin_database_url is not None
    return f"'{tenant_id}'" if on_postgresql else f"x'{tenant_id.hex}'"


def fates_of(work: Import) -> dict[str, int]:
    told = work.report(applied=True)
    return {n: getattr(told, n) for n in ("created", "updated", "unchanged") if getattr(told, n)}


def test_very_many_new_sites_are_known_to_the_database_at_once(tenant: Tenancy) -> None:
    """Or PostgreSQL would plan for the few that there were, until it looks by itself."""
    world = tenant.world
    took(tenant, collection(*apart(1_000)))
    if world.settings.admin_database_url is not None:
        [(counted,)] = world.rows("SELECT reltuples FROM pg_class WHERE relname = 'sites'")
        assert counted >= 1_000
    assert len(stored(tenant)) == 500, "the longest page"


# -- warnings ------------------------------------------------------------------------------------


def test_what_lies_over_another_of_the_file_is_told(checked: Check) -> None:
    near, far = square(10, 10), square(20, 20)
    found = checked([
        feature("One", near), feature("Same", near), feature("Half", square(10.0005, 10)),
        feature("Far", far), feature("Beside", square(20.001, 20)),
    ])  # fmt: skip
    told = [(w.place, w.code, w.other_place) for w in found.findings.warnings.first]
    assert told == [
        ("features[1]", "duplicate", "features[0]"),
        ("features[2]", "overlaps", "features[0]"),
    ]


def test_what_lies_over_a_site_is_told_but_not_over_the_one_that_it_replaces(
    tenant: Tenancy,
) -> None:
    there = tenant.site(external_id="there")
    closed = tenant.site(external_id="closed", geofence=square(30, 30))
    tenant.admin.delete(f"/v1/sites/{closed['id']}")
    features = [
        feature("New", external_id="new"),
        feature("Over a closed one", square(30, 30), external_id="other"),
    ]
    [warning] = took(tenant, collection(*features), "dry_run=true")["warnings"]
    assert (warning["code"], warning["other_site_id"]) == ("duplicate", there["id"])
    again = feature("There", external_id="there")
    assert took(tenant, collection(again), "dry_run=true")["warnings"] == []


def test_very_many_in_one_place_are_not_all_compared(checked: Check) -> None:
    found = checked([feature(f"Site {n}", square(10 + n / 1e5, 10)) for n in range(40)])
    warnings: report.Listed[report.Warned] = report.Listed()
    Neighbours(found.spool, warnings, compared=10).within()
    assert dict(warnings.by_code) == {"overlaps": 10, "overlaps_not_all_found": 1}


def test_a_purpose_that_nobody_registered_is_told(tenant: Tenancy) -> None:
    document = collection(feature("Office", purposes=["visit", "delivery"]))
    assert codes(took(tenant, document)) == {"purpose_unknown": 1}


def test_a_fence_with_swapped_numbers_is_told_by_its_time_zone(checked: Check) -> None:
    swapped = feature("Office", square(-23.56, -46.65), timezone="America/Sao_Paulo")
    assert checked([swapped]).findings.warnings.by_code["looks_swapped"] == 1


def test_lists_end_and_counts_do_not(checked: Check) -> None:
    found = checked([feature("Bow tie", BOW_TIE) for _ in range(report.LISTED + 100)])
    told = found.findings.report({}, dry_run=True, applied=False)
    assert (told.rejected, len(told.rejections)) == (report.LISTED + 100, report.LISTED)
    assert told.rejections_by_code == {"self_intersection": report.LISTED + 100}


# -- the body ------------------------------------------------------------------------------------

KML = """<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark><name>Office</name>
<ExtendedData><Data name="external_id"><value>office</value></Data></ExtendedData><Polygon>
<outerBoundaryIs><LinearRing><coordinates>-46.656,-23.562 -46.654,-23.562 -46.654,-23.56
-46.656,-23.56 -46.656,-23.562</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark>
</Document></kml>"""
GPX = """<gpx xmlns="http://www.topografix.com/GPX/1/1" version="1.1" creator="x">
<wpt lat="-23.561" lon="-46.655"><name>Office</name></wpt></gpx>"""
CSV = "name,external_id,lat,lon,radius_m\nOffice,office,-23.561,-46.655,80\n"


@pytest.mark.parametrize(
    ("query", "kind", "body"),
    [
        ("format=geojson", "application/json", collection(feature("Office"))),
        ("format=geojsonseq", "application/geo+json-seq", json.dumps(feature("Office")) + "\n"),
        ("format=kml", "application/vnd.google-earth.kml+xml", KML),
        ("format=csv", "text/csv; charset=utf-8", CSV),
        ("format=gpx&radius_m=80", "application/gpx+xml", GPX),
        ("format=csv", "application/octet-stream", CSV),
    ],
)
def test_every_format_is_taken(tenant: Tenancy, query: str, kind: str, body: str) -> None:
    answer = take(tenant, body.encode(), query, kind)
    assert (answer.status_code, fates(answer.json())) == (200, {"created": 1})
    assert stored(tenant)["Office"]["timezone"] == "UTC"


def test_a_file_that_cannot_be_read_is_refused_with_the_place(tenant: Tenancy) -> None:
    whole = collection(*apart(50))
    for body in (whole[: len(whole) // 2], "{", "", "[1, 2]", '{"type": "Topology"}'):
        answer = take(tenant, body)
        assert (answer.status_code, answer.json()["code"]) == (422, "file-unreadable")
        assert answer.json()["reason"]
    assert stored(tenant) == {}


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "text/csv"},
        {"Content-Type": GEOJSON, "Content-Encoding": "gzip"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
)
def test_a_body_of_another_kind_is_refused(tenant: Tenancy, headers: dict[str, str]) -> None:
    answer = tenant.admin.post(
        "/v1/sites/import?format=geojson", content=collection(feature("Office")), headers=headers
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "invalid-parameter"),
        ("format=shp", 400, "invalid-parameter"),
        ("format=geojson&radius_m=0", 400, "invalid-parameter"),
        ("format=geojson&dry-run=true", 400, "invalid-parameter"),
        ("format=geojson&timezone=Mars/Olympus", 422, "timezone-unknown"),
    ],
)
def test_a_parameter_that_says_nothing_is_refused(
    tenant: Tenancy, query: str, status: int, code: str
) -> None:
    answer = tenant.admin.post(
        f"/v1/sites/import?{query}", content="{}", headers={"Content-Type": GEOJSON}
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_body_that_is_announced_too_large_is_refused_before_it_comes(tenant: Tenancy) -> None:
    headers = {"Content-Type": GEOJSON, "Content-Length": str(10**9)}
    answer = tenant.admin.post("/v1/sites/import?format=geojson", content=b"{", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")


def test_a_polygon_of_very_many_positions_is_refused_and_the_rest_is_read(tenant: Tenancy) -> None:
    ring = ",".join(f"[{n / 1e6:.6f},1]" for n in range(150_000))
    huge = '{"type":"Feature","properties":{"name":"Huge"},"geometry":'
    huge += '{"type":"Polygon","coordinates":[[' + ring + "]]}}"
    good = json.dumps(feature("Office"))
    body = '{"type":"FeatureCollection","features":[' + huge + "," + good + "]}"
    told = took(tenant, body, "dry_run=true")
    assert fates(told) == {"created": 1, "rejected": 1}
    assert told["rejections"][0]["place"].startswith("features[0]")
    answer = tenant.admin.post(
        "/v1/sites", content=body + " " * 4_000_000, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")


def test_few_imports_run_at_once(tenant: Tenancy) -> None:
    turns = tenant.world.services.imports
    with turns.taken(), turns.taken():
        answer = take(tenant, collection(feature("Office")))
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
    assert take(tenant, collection(feature("Office"))).status_code == 200
    # a turn is given back whatever became of the import
    for _ in range(3):
        assert take(tenant, "{").status_code == 422
    assert take(tenant, collection(feature("Office"))).status_code == 200


# -- the command -----------------------------------------------------------------------------------

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    home = tmp_path / "cli"
    runner = CliRunner()

    def run(*arguments: str, **options: Any) -> Any:
        return runner.invoke(main, ["--home", str(home), *arguments], **options)

    assert run("init").exit_code == 0
    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sites.geojson"


def test_the_command_creates_then_leaves_then_updates(run: Run, file: Path) -> None:
    point = {"type": "Point", "coordinates": [-46.6, -23.5]}
    office = feature("Office", external_id="office")
    kiosk = feature("Kiosk", point, external_id="kiosk", radius_m=50)
    file.write_text(collection(office, kiosk))
    assert run("sites", "import", "--dry-run", str(file)).output.strip() == (
        "2 would be created, 0 rejected"
    )
    assert run("sites", "import", str(file)).output.strip() == "2 created, 0 rejected"
    assert run("sites", "import", str(file)).output.strip() == "2 unchanged, 0 rejected"
    file.write_text(collection(feature("Moved", square(10, 10), external_id="office"), kiosk))
    assert run("sites", "import", str(file)).output.strip() == (
        "1 unchanged, 1 updated, 0 rejected"
    )


def test_the_command_names_bad_features_and_imports_nothing_unless_asked(
    run: Run, file: Path
) -> None:
    bad = feature("Bow tie", BOW_TIE, external_id="bad")
    file.write_text(collection(feature("Office", external_id="office"), bad, feature(None)))
    refused = run("sites", "import", str(file))
    assert refused.exit_code == 1
    assert "features[1].geometry.coordinates" in refused.output
    assert "features[2].properties: name-missing" in refused.output
    assert "Nothing was imported" in refused.output
    taken = run("sites", "import", "--skip-invalid", str(file))
    assert taken.exit_code == 0
    assert "1 created, 2 rejected" in taken.output
    file.write_text(collection(bad))
    mended = run("sites", "import", "--repair", str(file))
    assert "Warning: repaired (1)" in mended.output
    assert "m² →" in mended.output
    assert mended.exit_code == 0


def test_one_bad_feature_of_5000_is_named_by_the_command(run: Run, file: Path) -> None:
    file.write_text(collection(*_one_bad_of(5_000)))
    told = run("sites", "import", "--dry-run", str(file))
    assert "features[4999].geometry.coordinates" in told.output
    assert "4999 would be created, 1 rejected" in told.output
    assert "Nothing was imported" in run("sites", "import", str(file)).output
    assert json.loads(run("sites", "export").stdout_bytes)["features"] == []
    taken = run("sites", "import", "--skip-invalid", str(file))
    assert "4999 created, 1 rejected" in taken.output


@pytest.mark.parametrize("text", ["{", "[]", '{"type": "Topology"}', "", "\x00"])
def test_a_file_that_cannot_be_read_is_told_in_a_sentence(run: Run, file: Path, text: str) -> None:
    file.write_text(text)
    result = run("sites", "import", str(file))
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "Traceback" not in result.output


def test_the_format_is_told_by_the_file_or_named(run: Run, tmp_path: Path) -> None:
    for name, text in (("a.csv", CSV), ("b.kml", KML), ("c.txt", KML)):
        (tmp_path / name).write_text(text)
        assert run("sites", "import", "--dry-run", str(tmp_path / name)).exit_code == 0
    unknown = tmp_path / "d.txt"
    unknown.write_text("nothing that we know")
    assert "--format" in run("sites", "import", str(unknown)).output
    told = run("sites", "import", "--dry-run", "--radius-m", "80", "-", input=GPX)
    assert told.output.strip() == "1 would be created, 0 rejected"


def test_the_report_is_for_programs_too(run: Run, file: Path) -> None:
    file.write_text(collection(feature("Office"), feature("Same")))
    told = json.loads(run("sites", "import", "--json", str(file)).output)
    assert (told["created"], told["applied"]) == (2, True)
    assert told["warnings_by_code"] == {"duplicate": 1}


def test_warnings_are_told_by_kind_with_some_places(run: Run, file: Path) -> None:
    file.write_text(collection(*(feature(f"Site {n}") for n in range(6))))
    told = run("sites", "import", str(file)).output
    assert "Warning: duplicate (5)" in told
    assert "features[1] with features[0]" in told
    assert "… and 2 more: duplicate" in told
