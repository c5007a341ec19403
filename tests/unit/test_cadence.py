"""Cadences: what they mean, that time goes on, that a thousand tenants do not fall on one second."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.integrations.cadence import NEVER, Cadence, parse_cadence

AT = datetime(2026, 10, 24, 23, tzinfo=UTC)
TIMES = st.integers(0, 10 * 365 * 86400).map(lambda seconds: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))
TEXTS = st.sampled_from(
    ["every 1s", "every 15m", "every 6h", "every 2d", 'cron "0 2 * * *"', 'cron "*/5 8-20 * * 1-6" Europe/Berlin']
)


@given(text=TEXTS, at=TIMES, name=st.text(max_size=8))
def test_the_next_time_is_later_and_no_time_lies_between(text: str, at: datetime, name: str) -> None:
    cadence = parse_cadence(text)
    following = cadence.after(at, name)

    assert following > at
    between = at + (following - at) / 2
    if between > at and following - between > timedelta(milliseconds=1):
        assert abs(cadence.after(between, name) - following) < timedelta(milliseconds=2)


def test_every_keeps_its_period_and_its_share_of_it() -> None:
    cadence = parse_cadence("every 15m")
    first = cadence.after(AT, "acme/pos/order")
    again = cadence.after(first, "acme/pos/order")

    assert again - first == timedelta(minutes=15)
    assert cadence.after(AT + timedelta(days=9), "acme/pos/order") - first == timedelta(days=9), "a restart shifts nothing"


def test_a_thousand_tenants_do_not_stampede() -> None:
    for text, most in (("every 15m", 12), ('cron "0 2 * * *"', 50)):
        cadence = parse_cadence(text)
        seconds = Counter(cadence.after(AT, f"tenant{n}/pos/order").replace(microsecond=0) for n in range(1000))
        assert max(seconds.values()) < most, f"{text}: {max(seconds.values())} in one second"


def test_a_calendar_is_the_zones_and_knows_its_summer() -> None:
    cadence = parse_cadence('cron "30 2 * * *" Europe/Berlin')
    times = [AT]
    for _ in range(3):
        times.append(cadence.after(times[-1], "x"))

    assert [at.strftime("%d %H:%M") for at in times[1:]] == ["25 00:30", "26 01:30", "27 01:30"], (
        "02:30 comes twice on the 25th: once"
    )


def test_what_no_clock_says_is_never() -> None:
    assert [parse_cadence(text).after(AT, "x") for text in ("on_demand", "on_closure")] == [NEVER, NEVER]
    assert parse_cadence("realtime") == Cadence()


@pytest.mark.parametrize(
    ("text", "why"),
    [("every 0s", "is not realtime"), ("sometimes", "is not realtime"), ('cron "61 2 * * *"', "no cron expression"),
     ('cron "0 2 * * *" Mars/X', "no IANA time zone"), ("every 5 weeks", "is not realtime")],
)  # fmt: skip
def test_what_is_no_cadence_says_what_is(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_cadence(text)


@pytest.mark.parametrize("text", ["realtime", "every 900 s", 'cron "0 2 * * *" UTC', "on_demand", "on_closure"])
def test_its_text_is_a_cadence(text: str) -> None:
    assert parse_cadence(text).text == text
