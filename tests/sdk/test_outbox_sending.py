"""What an answer means for the check-ins that were sent, and when to send again (rules 3 to 6)."""

from datetime import date

import pytest

from doorstep import (
    ApiError,
    BatchResult,
    BundleOutdated,
    CheckIn,
    ConnectFailed,
    ConnectionLost,
    DeviceRevoked,
    DoorstepError,
    IdReused,
    Invalid,
    NotAllowed,
    NotFound,
    NoTrustStore,
    PermissionUnknown,
    PermissionWithdrawn,
    RateLimited,
    Redirected,
    ServerError,
    Stored,
    TimedOut,
    TooOld,
    Unauthorized,
    UnexpectedAnswer,
)
from doorstep._keeper import Nothing
from doorstep._sending import Sender
from doorstep._waiting import Waiting

MARK, BOOT, NOW_S = "mark", "boot-1", 5000.0

AGAIN = [
    ConnectFailed(),
    ConnectionLost(),
    TimedOut(),
    NoTrustStore(),
    ServerError(408),
    RateLimited(429, code="rate-limited"),
    ServerError(500, code="internal"),
    ServerError(502),
    ServerError(503, code="unavailable"),
    UnexpectedAnswer(200),
    UnexpectedAnswer(403),
    Redirected(302),
]
FINAL = [
    (Invalid(400, code="invalid-body"), "failed"),
    (NotAllowed(403, code="not-assigned"), "failed"),
    (NotAllowed(403, code="consent-required"), "failed"),
    (IdReused(422, code="id-reused"), "failed"),
    (TooOld(422, code="too-old"), "expired"),
    (Invalid(422, code="a-newer-servers-word"), "failed"),
]


def rows(count, **changes):
    known = {"base_url": "https://x.test", "identity": "i", "epoch": 0, "schema": 1}
    times = {"captured_at": 1.0, "boot": BOOT, "clock": 4000.0}
    content = {"precise": True, "sealed": False, "claim": b"{}"}
    return [
        Waiting(**{**known, **times, **content, "id": f"id-{n}", **changes}) for n in range(count)
    ]


def check_in(id_, **changes):
    answer = {
        "id": id_,
        "outcome": "accepted",
        "reason": "inside",
        "site_id": "site-1",
        "action": None,
        "stored": Stored(level="site", fields={}),
        "expires_on": date(2026, 5, 8),
        "decision": None,
        "replayed": None,
        "request_id": "req-1",
    }
    return CheckIn(**{**answer, **changes})


def results(*outcomes):
    """Each a check-in or an error."""
    return tuple(
        BatchResult(
            index=n,
            id=f"id-{n}",
            status=one.status if isinstance(one, ApiError) else 201,
            check_in=one if isinstance(one, CheckIn) else None,
            error=one if isinstance(one, DoorstepError) else None,
        )
        for n, one in enumerate(outcomes)
    )


@pytest.fixture
def sender():
    return Sender(lambda: 1.0)


def judge(sender, sent, answered, now_s=NOW_S):
    return sender.judge(sent, answered, now_s=now_s, mark=MARK, boot=BOOT)


def ended(verdicts):
    return [(one.id, one.state, one.reason) for one in verdicts.ends]


def test_a_2xx_settles_and_keeps_what_a_ticket_needs_without_a_place(sender):
    uncertain = check_in("id-1", outcome="uncertain", reason="near_boundary", decision="sealed")
    verdicts = judge(sender, rows(2), results(check_in("id-0"), uncertain))
    assert ended(verdicts) == [
        ("id-0", "accepted", "inside"),
        ("id-1", "uncertain", "near_boundary"),
    ]
    kept = verdicts.ends[1]
    assert (kept.decision, kept.expires_on, kept.request_id) == (
        "sealed",
        date(2026, 5, 8),
        "req-1",
    )
    assert (kept.loss, hasattr(kept, "site_id")) == (None, False)
    assert [one.id for one in verdicts.check_ins] == ["id-0", "id-1"]
    assert sender.held(NOW_S, MARK) is None


@pytest.mark.parametrize("failure", AGAIN, ids=repr)
def test_what_may_pass_ends_nothing_and_backs_off(sender, failure):
    assert ended(judge(sender, rows(3), failure)) == []
    assert sender.held(NOW_S, MARK) == Nothing(why="backing-off", wait_s=1.0)
    assert sender.held(NOW_S + 1, MARK) is None
    assert sender.most_items == 50


@pytest.mark.parametrize("failure", [one for one in AGAIN if isinstance(one, ApiError)], ids=repr)
def test_the_same_holds_for_one_item_of_a_batch(sender, failure):
    answered = results(check_in("id-0"), failure, check_in("id-2"))
    verdicts = judge(sender, rows(3), answered)
    assert [one.id for one in verdicts.ends] == ["id-0", "id-2"]
    assert sender.held(NOW_S, MARK).why == "backing-off"


@pytest.mark.parametrize(("failure", "state"), FINAL, ids=str)
def test_another_4xx_ends_that_item_alone_and_says_so(sender, failure, state):
    answered = results(check_in("id-0"), failure, check_in("id-2"))
    verdicts = judge(sender, rows(3), answered)
    assert ended(verdicts)[1] == ("id-1", state, failure.code)
    assert verdicts.ends[1].loss == failure.code
    assert [one.state for one in verdicts.ends] == ["accepted", state, "accepted"]
    assert sender.held(NOW_S, MARK) is None, "the others need not wait for it"


@pytest.mark.parametrize(("failure", "state"), FINAL, ids=str)
def test_a_poisoned_request_is_halved_until_its_item_is_found(sender, failure, state):
    for count in (50, 25, 12, 6, 3):
        assert ended(judge(sender, rows(count), failure)) == []
        assert sender.most_items == count // 2
        assert sender.held(NOW_S, MARK) is None
    assert ended(judge(sender, rows(1), failure)) == [("id-0", state, failure.code)]
    assert sender.most_items == 50


def test_413_halves_and_does_not_grow_again(sender):
    too_large = Invalid(413, code="body-too-large")
    assert ended(judge(sender, rows(50), too_large)) == []
    assert (sender.most_items, sender.held(NOW_S, MARK)) == (25, None)
    judge(sender, rows(25), results(*[check_in(f"id-{n}") for n in range(25)]))
    assert sender.most_items == 25
    judge(sender, rows(1), too_large)
    assert ended(judge(sender, rows(1), too_large)) == [("id-0", "failed", "body-too-large")]


def test_413_of_a_proxy_halves_too_but_ends_nothing(sender):
    assert ended(judge(sender, rows(2), UnexpectedAnswer(413))) == []
    assert sender.most_items == 1
    assert ended(judge(sender, rows(1), UnexpectedAnswer(413))) == []
    assert sender.held(NOW_S, MARK).why == "backing-off"


@pytest.mark.parametrize("refusal", [Unauthorized(401, code="unauthorized"), DeviceRevoked(401)])
def test_401_pauses_until_there_is_another_token(sender, refusal):
    assert ended(judge(sender, rows(2), refusal)) == []
    assert sender.held(NOW_S + 1e9, MARK) == Nothing(why="unauthorized")
    sender.wake()
    assert sender.held(NOW_S + 1e9, MARK) == Nothing(why="unauthorized")
    assert sender.held(NOW_S, "another-mark") is None


def test_401_of_an_item_pauses_too_and_the_answered_ones_are_settled(sender):
    answered = results(check_in("id-0"), Unauthorized(401, code="device-revoked"))
    assert [one.id for one in judge(sender, rows(2), answered).ends] == ["id-0"]
    assert sender.held(NOW_S, MARK).why == "unauthorized"


@pytest.mark.parametrize("status", [404, 405, 415])
def test_a_wrong_address_costs_no_check_in(sender, status):
    failure = NotFound(status, code="not-found")
    for _ in range(10):
        assert ended(judge(sender, rows(1), failure)) == []
    assert sender.held(NOW_S, MARK).why == "backing-off"


def test_permission_unknown_asks_for_a_report_and_sends_the_same_again(sender):
    unknown = PermissionUnknown(403, code="permission-unknown")
    verdicts = judge(sender, rows(2), results(unknown, unknown))
    assert (ended(verdicts), verdicts.report) == ([], True)
    assert sender.held(NOW_S, MARK) is None


def test_permission_unknown_after_the_report_backs_off_and_asks_again_later(sender):
    unknown = PermissionUnknown(403, code="permission-unknown")
    reports = [judge(sender, rows(1), results(unknown)).report for _ in range(4)]
    assert reports == [True, False, True, False]
    assert sender.held(NOW_S, MARK).why == "backing-off"


def test_without_an_epoch_a_report_does_not_help_an_old_one(sender):
    unknown = PermissionUnknown(403, code="permission-unknown")
    sent = [*rows(1), *rows(1, id="id-1", epoch=None)]
    assert ended(judge(sender, sent, results(unknown, unknown))) == []
    verdicts = judge(sender, sent, results(unknown, unknown))
    assert ended(verdicts) == [("id-1", "failed", "permission-unknown")]


@pytest.mark.parametrize("whole", [True, False])
def test_permission_withdrawn_refuses_the_epoch(sender, whole):
    withdrawn = PermissionWithdrawn(403, code="permission-withdrawn")
    answered = withdrawn if whole else results(withdrawn, withdrawn)
    verdicts = judge(sender, rows(2, epoch=7), answered)
    assert verdicts.refused_epochs == (7, 7)
    assert ended(verdicts)[0] == ("id-0", "withdrawn", "permission-withdrawn")


def test_what_was_judged_by_an_old_bundle_is_judged_anew_and_sent_again(sender):
    outdated = BundleOutdated(422, code="bundle-outdated")
    verdicts = judge(sender, rows(2), results(check_in("id-0"), outdated))
    assert [one.id for one in verdicts.ends] == ["id-0"]
    assert verdicts.outdated == ("id-1",)
    assert sender.held(NOW_S, MARK).why == "backing-off"


def test_an_answer_for_another_id_settles_nothing(sender):
    """A proxy mixed answers up: whoever believed it would lose a check-in."""
    verdicts = judge(sender, rows(2), results(check_in("id-1"), check_in("id-0")))
    assert ended(verdicts) == []
    assert sender.held(NOW_S, MARK).why == "backing-off"


def test_waits_double_up_to_five_minutes_and_begin_anew_after_a_success(sender):
    waits = []
    for _ in range(11):
        judge(sender, rows(1), ConnectFailed())
        waits.append(sender.held(NOW_S, MARK).wait_s)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    judge(sender, rows(1), results(check_in("id-0")))
    judge(sender, rows(1), ConnectFailed())
    assert sender.held(NOW_S, MARK).wait_s == 1


def test_retry_after_is_kept_to_whatever_wakes_us(sender):
    judge(sender, rows(1), ServerError(503, code="unavailable", retry_after_s=120))
    assert sender.held(NOW_S, MARK).wait_s == 120
    sender.wake()
    assert sender.held(NOW_S, MARK).wait_s == 120
    assert sender.held(NOW_S + 120, MARK) is None


def test_an_item_that_the_server_does_not_want_yet_rests_and_the_others_go_on(sender):
    limited = RateLimited(429, code="rate-limited", retry_after_s=120)
    verdicts = judge(sender, rows(3), results(check_in("id-0"), limited, check_in("id-2")))
    assert [one.id for one in verdicts.ends] == ["id-0", "id-2"]
    assert sender.held(NOW_S, MARK) is None
    assert sender.resting(NOW_S) == {"id-1": 120}
    sender.wake()
    assert sender.resting(NOW_S + 119) == {"id-1": 1}
    assert sender.resting(NOW_S + 120) == {}


def test_a_busy_server_is_left_alone_for_the_longest_that_an_item_says(sender):
    busy = [ServerError(503, code="unavailable", retry_after_s=s) for s in (None, 5, 90, 5)]
    assert ended(judge(sender, rows(4), results(*busy))) == []
    assert sender.held(NOW_S, MARK).wait_s == 90
    assert sender.resting(NOW_S) == {}


def test_what_the_network_did_is_forgotten_when_the_app_is_in_front(sender):
    judge(sender, rows(1), ConnectFailed())
    sender.wake()
    assert sender.held(NOW_S, MARK) is None


def test_after_a_reboot_the_end_says_that_the_time_is_less_sure(sender):
    sent = [*rows(1), *rows(1, id="id-1", boot="boot-0")]
    verdicts = judge(sender, sent, results(check_in("id-0"), check_in("id-1")))
    assert [one.time_confidence for one in verdicts.ends] == ["high", "low"]
