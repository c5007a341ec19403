"""Every kind of result leads to exactly the documented outcome."""

import random
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from hub.errors import LeaseLostError, ThrottledError
from hub.flow.outcome import Write, decide
from hub.policies.dead_letter import backoff_seconds
from hub.runtime.performer import Run
from hub.sdk.errors import (
    AmbiguousWriteError,
    AuthenticationError,
    ConnectorError,
    RateLimitedError,
    RejectedByTargetError,
    RetryableError,
    TargetUnavailableError,
)
from hub.sdk.steps import Skipped, Written
from hub.settings import Settings

CTX: Any = SimpleNamespace(settings=Settings(max_attempts=3, retry_base_seconds=2.0))
FIND = Write("find", 30.0, "invoice")
NONE = Write("none", 30.0, "invoice")


def _decide(result: Any, effects: int = 0, attempts: int = 0, write: Write = FIND, probe: bool = False) -> Any:
    return decide(
        CTX, {"attempts": attempts, "failures": attempts, "probe": probe}, write, result, Run(effects=effects), random.Random(1)
    )


@pytest.mark.parametrize(
    ("result", "effects", "state", "code"),
    [
        (Written("42"), 1, "applied", ""),
        (Skipped("counted later"), 0, "skipped", "skipped"),
        (RejectedByTargetError("no", code="unknown_sku"), 0, "dead", "unknown_sku"),
        (AuthenticationError("401"), 0, "pending", "authentication_failed"),
        (RateLimitedError("429", retry_after=7), 0, "pending", "rate_limited"),
        (TargetUnavailableError("down"), 0, "pending", "target_unavailable"),
        (ThrottledError(9), 0, "pending", "throttled"),
        (AmbiguousWriteError("lost"), 1, "ambiguous", "ambiguous_write"),
        (TargetUnavailableError("down"), 1, "ambiguous", "target_unavailable"),
        (ConnectorError("html", code="unreadable_answer"), 1, "ambiguous", "unreadable_answer"),
        (KeyError("x"), 1, "ambiguous", "connector_bug"),
        (KeyError("x"), 0, "pending", "connector_bug"),
    ],
)
def test_a_result_becomes_its_outcome(result: Any, effects: int, state: str, code: str) -> None:
    outcome = _decide(result, effects)

    assert (outcome.state, outcome.code) == (state, code)
    assert outcome.probe is (state == "ambiguous")


@pytest.mark.parametrize(
    "failure",
    [TargetUnavailableError("down"), RateLimitedError("429"), ThrottledError(9), AuthenticationError("401"), KeyError("bug")],
)
def test_a_probe_that_could_not_look_is_still_owed(failure: Exception) -> None:
    assert _decide(failure, effects=0, probe=True).probe is True


def test_nothing_is_sent_again_before_the_quiesce_window_is_over() -> None:
    assert _decide(AmbiguousWriteError("lost"), 1).after_seconds == 30.0
    assert _decide(RateLimitedError("429", retry_after=1), 1).after_seconds == 30.0


def test_a_write_that_can_neither_be_deduped_nor_found_goes_to_a_person() -> None:
    outcome = _decide(AmbiguousWriteError("lost"), 1, write=NONE)

    assert (outcome.state, outcome.code) == ("dead", "undecidable")
    assert outcome.remedy


def test_tries_end_but_an_outage_or_a_limit_costs_none() -> None:
    assert _decide(RetryableError("x"), attempts=2).state == "dead"
    assert _decide(TargetUnavailableError("down"), attempts=500).state == "pending"
    assert _decide(RateLimitedError("429"), attempts=500).state == "pending"


def test_a_lost_lease_decides_nothing() -> None:
    assert _decide(LeaseLostError()) is None


def test_a_refused_credential_pauses_the_connection_and_kills_nothing() -> None:
    outcome = _decide(AuthenticationError("401"), attempts=100)

    assert (outcome.state, outcome.pause) == ("pending", True)


def test_backoff_grows_with_jitter_and_is_capped_and_never_outlasts_an_outage() -> None:
    source, settings = random.Random(1), Settings()
    waits = [backoff_seconds(settings, n, source) for n in range(1, 2000)]
    assert waits[0] <= 2.0 < waits[4]
    assert max(waits) <= settings.retry_cap_seconds
    assert len(set(waits)) == len(waits)
    assert _decide(TargetUnavailableError("down"), attempts=900).after_seconds <= 30.0


def _until_dead(result: Any, effects: int = 1, **arguments: Any) -> tuple[int, Any]:
    """How many tries until a delivery dies of a result that never changes, and its last outcome."""
    for tries in range(200):
        outcome = _decide(result, effects, attempts=tries, **arguments)
        if outcome.state == "dead":
            return tries + 1, outcome
    return 200, outcome


@pytest.mark.parametrize(
    "result", [AmbiguousWriteError("500"), KeyError("x"), ConnectorError("html", code="unreadable_answer")]
)
def test_an_unknown_outcome_ends_as_a_dead_letter_when_lookups_keep_failing(result: Any) -> None:
    tries, outcome = _until_dead(result, probe=True)

    assert (tries, outcome.code) == (3, "outcome_unknown")
    assert outcome.cause.startswith("unknown outcome, look-up failed 2 times")
    assert outcome.remedy


def test_an_unknown_outcome_ends_when_the_lookup_itself_cannot_be_read() -> None:
    assert _until_dead(ConnectorError("html", code="unreadable_answer"), effects=0, probe=True)[1].code == "outcome_unknown"
    assert _until_dead(ConnectorError("html", code="unreadable_answer"), effects=0)[1].code == "attempts_exhausted"


def test_an_unknown_outcome_is_looked_up_later_and_later_when_nothing_is_learned() -> None:
    settings: Any = SimpleNamespace(settings=Settings(max_attempts=50, retry_base_seconds=2.0, retry_cap_seconds=600.0))

    def wait(failures: int) -> float:
        row = {"attempts": failures, "failures": failures, "probe": True}
        found = decide(settings, row, FIND, AmbiguousWriteError("x"), Run(effects=1), random.Random(failures))
        assert found is not None
        assert found.counts
        return found.after_seconds

    assert wait(0) == 30.0, "the quiesce window at least"
    assert 30.0 < wait(7) < wait(8) <= 600.0
    assert wait(49 - 1) <= 600.0


def test_an_outage_takes_three_times_the_tries_when_the_breaker_sent_them() -> None:
    row = {"attempts": 8, "failures": 7, "probe": True}
    outcome = decide(CTX, row, FIND, AmbiguousWriteError("503"), Run(effects=1), random.Random(1), is_trial=True)
    assert outcome is not None
    assert outcome.state == "ambiguous"
    ended = decide(CTX, {**row, "failures": 8}, FIND, AmbiguousWriteError("x"), Run(effects=1), random.Random(1), is_trial=True)
    assert ended is not None
    assert ended.state == "dead"


@pytest.mark.parametrize(("days", "state"), [(6, "ambiguous"), (8, "dead")])
def test_lookups_that_cannot_be_made_end_when_the_retry_horizon_is_past(days: int, state: str) -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)
    ctx: Any = SimpleNamespace(settings=CTX.settings, clock=lambda: now)
    row = {"attempts": 400, "failures": 1, "probe": True, "created_at": now - timedelta(days=days)}

    outcome = decide(ctx, row, FIND, TargetUnavailableError("down"), Run(), random.Random(1))
    assert outcome is not None
    assert outcome.state == state


def test_a_target_that_asks_for_time_is_not_looked_up_before_when_the_outcome_is_unknown() -> None:
    assert _decide(AmbiguousWriteError("503", retry_after=120), 1).after_seconds == 120.0


def test_the_remedy_is_told_when_a_delivery_waits() -> None:
    assert (
        _decide(TargetUnavailableError("302", code="redirected", remedy="Correct the base_url.")).remedy
        == "Correct the base_url."
    )
