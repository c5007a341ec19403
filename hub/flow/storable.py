"""Turns an outcome into a form that every store takes, before the transaction: whatever a target or plugin answered.

An outcome that cannot be stored would be tried again for ever: the lease runs out, and the write is sent once more.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hub.flow.outcome import Ending, Outcome
from hub.policies.dead_letter import remedy_for
from hub.policies.text import clean
from hub.runtime.performer import Run

#: Lengths of the columns, in characters.
_LONGEST_CODE, _LONGEST_ID = 64, 255
#: A cause, a remedy and one text of a step are cut here: people read them, and an answer may have megabytes.
_LONGEST_CAUSE, _LONGEST_REMEDY, _LONGEST_STEP_TEXT = 4000, 1000, 1000
#: Steps of one try that are kept: the first and the last ones, half of them each.
_MOST_STEPS = 400
#: A delivery waits no longer than this before it is looked at again, in seconds.
_LONGEST_WAIT_SECONDS = 2 * 86400.0


def storable(outcome: Outcome) -> Outcome:
    """The outcome with texts cleaned and cut, numbers bounded, and an id that a column holds."""
    external_id, is_altered = storable_id(outcome.external_id)
    code, cause = clean(str(outcome.code), _LONGEST_CODE), clean(str(outcome.cause), _LONGEST_CAUSE)
    if is_altered and outcome.state == "applied":
        code = "external_id_altered"
        cause = (
            f"the target's own id ({len(str(outcome.external_id))} characters) cannot be stored as it is: its beginning and "
            "SHA-256 are kept, and no link is made"
        )
    return replace(
        outcome, code=code, cause=cause, remedy=clean(str(outcome.remedy), _LONGEST_REMEDY), external_id=external_id,
        is_linked=outcome.is_linked and not is_altered, after_seconds=_bounded(outcome.after_seconds),
    )  # fmt: skip


def storable_id(value: Any) -> tuple[str | None, bool]:
    """(an id that a column holds, whether it differs from ``value``). A changed one ends with the digest of the whole."""
    if value is None:
        return None, False
    text = value if isinstance(value, str) else str(value)
    cleaned = clean(text)
    if cleaned == text and len(text) <= _LONGEST_ID:
        return text, False
    mark = f"…sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return cleaned[: _LONGEST_ID - len(mark)] + mark, True


def storable_run(run: Run) -> Run:
    """The run with steps that a store takes."""
    steps = run.steps
    if len(steps) > _MOST_STEPS:
        half = _MOST_STEPS // 2
        left_out = {"n": 0, "label": f"{len(steps) - _MOST_STEPS} steps are left out here"}
        steps = [*steps[:half], left_out, *steps[-half:]]
    return Run([{clean(str(name)): _scalar(value) for name, value in step.items()} for step in steps], int(run.effects))


def not_stored(error: Exception) -> Outcome:
    """The outcome that takes the place of one that the store refused (or that could not be decided). Nothing more is sent."""
    code = "outcome_not_stored"
    cause = f"what became of it could not be stored ({type(error).__name__}); it may have been applied"
    return Outcome("dead", code, clean(cause, _LONGEST_CAUSE), remedy_for(code))


def minimal(ending: Ending, error: Exception) -> Ending:
    """The ending with nothing in it that the store could have refused."""
    return replace(ending, outcome=not_stored(error), run=Run([], int(ending.run.effects)), kept=None, document="")


def _bounded(seconds: Any) -> float:
    if not isinstance(seconds, int | float) or math.isnan(seconds):
        return _LONGEST_WAIT_SECONDS
    return float(min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS))


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value, _LONGEST_STEP_TEXT)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and -(2**53) < value < 2**53:  # neither infinite nor beyond what JSON holds
        return value
    if isinstance(value, Mapping):
        return {clean(str(name)): _scalar(item) for name, item in value.items()}
    return clean(str(value), _LONGEST_STEP_TEXT)
