"""A stolen database names nobody: the evaluation in short (`make stolen` is the long one)."""

from __future__ import annotations

from functools import partial

import pytest

from doorstep_server import deployment
from doorstep_server.settings import Settings
from privacy import stolen, stolen_faults
from privacy.stolen import FINDS, Finding, Stolen
from privacy.stolen_attacks import ATTACKS
from privacy.stolen_faults import Fault
from world import initialized

PEOPLE, DAYS, SEED = 40, 5, 3


@pytest.fixture
def taken(settings: Settings) -> Stolen:
    return stolen.steal(settings, PEOPLE, DAYS, SEED)


def test_a_stolen_database_yields_no_more_than_the_ideal_copy(taken: Stolen) -> None:
    findings = stolen.evaluate(taken, SEED)
    assert {finding.attack for finding in findings} == set(ATTACKS)
    assert not [str(finding) for finding in findings if finding.leaks and not _known(finding)]
    # who has the keyring may know
    assert taken.with_keyring == 100
    # both days were watched, and every row was seen to come
    watched = [row for row in taken.real.rows if row.slot // 86_400 in taken.copied]
    assert watched
    assert all(row.hour is not None for row in watched if row.slot % 86_400 >= 3_600)


def _known(finding: Finding) -> bool:
    """See decision 13: what one request brought lies in one transaction."""
    return finding.attack in {"together", "all"}


def test_faults_are_told(settings: Settings) -> None:
    on_postgres = settings.database_url is not None
    faults = [Fault.FOR_SHARE if on_postgres else Fault.LAST_SEEN, Fault.SAME_SEAL]
    taken = stolen.steal(settings, PEOPLE, DAYS, SEED, faults)
    for fault in faults:
        findings = stolen.evaluate(taken, SEED, [FINDS[fault]])
        assert any(finding.leaks for finding in findings), fault


def test_more_than_the_bar_is_a_leak_unless_it_is_chance() -> None:
    def finding(real: float, error: float) -> Finding:
        return Finding(attack="all", rows="all", real=real, ideal=20.0, error=error)

    assert finding(20.6, 0.1).leaks
    assert not finding(20.4, 0.0).leaks
    assert not finding(22.0, 1.0).leaks


def test_every_fault_can_be_planted(settings: Settings) -> None:
    """What it changes is still there to be changed; that it is found is seen by `make stolen`."""
    kind = "sqlite" if settings.database_url is None else "postgresql"
    initialized(settings)
    faults = stolen_faults.faults_of(kind)
    with deployment.closed_after(deployment.database(settings)) as database:
        for fault in faults:
            database.administer(partial(stolen_faults.plant, fault))
    with stolen_faults.planted(faults):
        pass
