"""What lasts is set apart from the search for garbage, in a process that serves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LOADING = """
import asyncio, gc, sys, tempfile
from datetime import UTC, datetime
from pathlib import Path
from deployed import Deployed
from doorstep_server import deployment, lasting
from doorstep_server.policies import Policies
from doorstep_server.settings import Settings

deployed = Deployed(settings=Settings(home=Path(sys.argv[1])))
deployed.furnish(1, 500)
database, keyring = deployment.open_deployment(deployed.settings)
policies = Policies(database, keyring, lambda: datetime.now(UTC))
if "serving" in sys.argv:
    lasting.set_apart()
looked_at = len(gc.get_objects())
policy = asyncio.run(policies.of(deployed.tenant.tenant_id))
assert len(policy.index) == 500
is_looked_at = any(one is policy.index for one in gc.get_objects())
print(gc.get_freeze_count() > 0, is_looked_at, len(gc.get_objects()) < looked_at + 500)
"""


@pytest.mark.parametrize(
    ("process", "told"), [("serving", "True False True"), ("another", "False True False")]
)
def test_a_tenants_sites_are_set_apart_in_a_process_that_serves(
    process: str, told: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADING, str(tmp_path / "home"), process],
        cwd=ROOT / "loadtests",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == told, done.stderr


def test_a_worker_sets_apart_what_it_is_made_of_and_lets_threads_take_turns(tmp_path: Path) -> None:
    serving = """
import gc, os, sys
os.environ["DOORSTEP_HOME"] = sys.argv[1]
from doorstep_server.cli.serving import worker
from doorstep_server import deployment, settings
from datetime import UTC, datetime

chosen = settings.read(os.environ)
deployment.initialize(chosen, datetime.now(UTC), tenant=deployment.new_tenant("First"))
import asyncio
async def serve():
    app = worker()
    return any(one is app for one in gc.get_objects())
print(asyncio.run(serve()), gc.get_threshold()[0] > 700, sys.getswitchinterval() < 0.001)
"""
    done = subprocess.run(
        [sys.executable, "-c", serving, str(tmp_path / "home")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "False True True", done.stderr


FREEING = """
import gc, random, weakref
from doorstep_geofences import Fix, Question, SiteIndex, judge
from geofences.making import random_site

rng = random.Random(7)
gc.collect()
gc.disable()
class Watched(SiteIndex):
    pass
sites = [random_site(rng, i) for i in range(50)]
index = Watched(sites)
fixes = [Fix(lat=s.bounds.south, lon=s.bounds.west, accuracy_m=8.0) for s in sites]
asked = [Question(fix=f, site_id=i) for f in fixes for i in (None, *range(5))]
judge(asked, index)
gc.collect()
before, watched = len(gc.get_objects()), weakref.ref(index)
del index, sites, fixes, asked
print(watched() is None, gc.collect(), len(gc.get_objects()) < before - 50)
"""


def test_sites_that_were_judged_by_are_freed_without_a_search(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FREEING],
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "True 0 True", done.stdout + done.stderr
