"""A rule of the kit: an id, a tier, one sentence, and a check of what a connector *does*. Rules register themselves here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hub.sdk.kit.subject import Subject

BRONZE, SILVER, GOLD, PLATINUM = TIERS = ("bronze", "silver", "gold", "platinum")
Check = Callable[[Subject], Iterable[str]]


@dataclass(frozen=True)
class Rule:
    """``check`` yields one line for each thing that is wrong. ``needs``: rules without which this one says nothing."""

    id: str
    tier: str
    title: str
    check: Check
    needs: tuple[str, ...]


class InapplicableError(Exception):
    """There is nothing here for a rule to judge; the text says what is not there."""


RULES: dict[str, Rule] = {}


def rule(identity: str, tier: str, *needs: str) -> Callable[[Check], Check]:
    """Register the decorated check; its docstring is the rule in one sentence."""

    def register(check: Check) -> Check:
        if tier not in TIERS or identity in RULES or not RULES.keys() >= set(needs):
            raise ValueError(f"rule {identity}: unknown tier, a second one of this name, or a need that comes later")
        RULES[identity] = Rule(identity, tier, (check.__doc__ or identity).strip(), check, needs)
        return check

    return register
