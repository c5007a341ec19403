"""Every kind of result leads to exactly the documented outcome."""

import random
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
