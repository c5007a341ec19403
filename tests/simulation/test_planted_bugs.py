"""L6: every check passes on the hub as it is, and each planted bug makes its check fail. A suite that never failed proves nothing."""

import inspect

import pytest

from simulation import checks
from simulation.planted import BUGS

CHECKS = {
    name: function
    for name, function in vars(checks).items()
    if inspect.isfunction(function) and function.__module__ == checks.__name__ and not name.startswith("_") and name != "swept"
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_hub_keeps(name: str) -> None:
    CHECKS[name]()


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, check = BUGS[bug]
    plant(monkeypatch)
    with pytest.raises((AssertionError, LookupError, RuntimeError)):
        check()


def test_there_are_at_least_twenty_five_of_them() -> None:
    assert len(BUGS) >= 25
