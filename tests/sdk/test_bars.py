"""That the bars can be measured; how long things take is no test's business."""

import asyncio

from sdk import bars


def test_the_wheel_is_small():
    assert bars.wheel_bar().is_kept


def test_a_process_says_when_a_check_in_is_durable():
    assert bars.durable().wall_ms > 0


def test_importing_is_measured_beside_a_bare_interpreter():
    assert bars.import_bar(1).most == 30


def test_after_a_withdrawal_no_byte_is_left(path, monkeypatch):
    monkeypatch.setattr(bars, "WAITING", 20)
    assert asyncio.run(bars.withdrawal_ms(path)) > 0


def test_a_bar_that_is_not_kept_says_so():
    assert "TOO MUCH" in str(bars.Bar("this", 31, 30, "ms"))
