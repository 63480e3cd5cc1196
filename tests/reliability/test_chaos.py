"""`make chaos` tells the truth: a proof that fails is told, and each names what there is."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import chaos
from chaos import ROOT, RULES, Proof, proofs, prove, report


def test_each_proof_is_a_program_or_tests_that_are_there() -> None:
    for proof in proofs(short=False):
        files = [part for part in proof.command[1:] if part.endswith(".py")]
        assert files
        assert all((ROOT / file).exists() for file in files), proof.name
        assert set(proof.rules.split(", ")) <= set(RULES)


def test_every_rule_has_a_proof() -> None:
    proved = {rule for proof in proofs(short=False) for rule in proof.rules.split(", ")}
    assert proved == set(RULES)


def test_the_full_counts_are_those_that_were_promised() -> None:
    counts = [
        int(count)
        for proof in proofs(short=False)
        for count in re.findall(r"servers that die, (\d+) on", proof.name)
    ]
    assert counts == [200, 200]


def test_a_proof_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    def proof(code: str) -> Proof:
        return Proof(name="one", rules="1", command=(sys.executable, "-c", code))

    good = prove(proof("print('all well')"), tmp_path / "good.log")
    bad = prove(proof("print('so much lost'); exit(1)"), tmp_path / "bad.log")
    assert good.holds
    assert not bad.holds
    told = report([good, bad])
    assert "1 of 2 proofs hold" in told
    assert "| one | 1 | **no** |" in told
    assert "so much lost" in told
    assert "all well" in told
    assert (tmp_path / "bad.log").read_text() == "so much lost\n"


def test_a_word_that_no_proof_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["chaos.py", "--only", "nothing", "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        chaos.main()
    assert "no proof has that word" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
