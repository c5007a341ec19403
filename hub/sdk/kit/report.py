"""Judging a subject: every rule that can be judged, and the tier that follows from it. A tier is computed, never typed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hub.sdk.kit.rules import RULES, TIERS, InapplicableError, Rule
from hub.sdk.kit.subject import Subject

PASSED, FAILED, INAPPLICABLE, UNJUDGED, WAIVED = "passed", "failed", "not applicable", "not judged", "waived"
_LINES_KEPT = 20


@dataclass(frozen=True)
class Result:
    """What came of a rule. ``lines``: what is wrong, or why it was not judged."""

    rule: Rule
    outcome: str
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """All results, and what is wrong with the waivers."""

    results: Sequence[Result]
    waivers: Sequence[str] = ()

    @property
    def tier(self) -> str:
        """The highest tier whose rules, and those of every tier below, hold; '' if not even bronze. A waived rule holds."""
        reached = ""
        if self.waivers:
            return reached
        for tier in TIERS:
            if any(item.outcome in (FAILED, UNJUDGED) for item in self.results if item.rule.tier == tier):
                break
            reached = tier
        return reached

    @property
    def failed(self) -> list[Result]:
        return [item for item in self.results if item.outcome == FAILED]


def judge(subject: Subject) -> Report:
    """Ask every rule, in an order in which what a rule needs comes first."""
    waived, results = dict(subject.waivers), []
    outcomes: dict[str, str] = {}
    wrong = [f"waiver of {name}: {'no such rule' if name not in RULES else 'no reason'}"
             for name, reason in waived.items() if name not in RULES or not reason.strip()]  # fmt: skip
    for rule in RULES.values():
        result = _asked(rule, subject, outcomes)
        if rule.id in waived:
            if result.outcome == FAILED:
                result = Result(rule, WAIVED, (waived[rule.id], *result.lines))
            else:
                wrong.append(f"waiver of {rule.id}: no longer needed, the rule is {result.outcome}")
        outcomes[rule.id] = result.outcome
        results.append(result)
    return Report(results, wrong)


def _asked(rule: Rule, subject: Subject, outcomes: Mapping[str, str]) -> Result:
    if missing := [name for name in rule.needs if outcomes[name] in (FAILED, UNJUDGED)]:
        return Result(rule, UNJUDGED, [f"needs {', '.join(missing)}"])
    try:
        lines = list(dict.fromkeys(rule.check(subject)))[:_LINES_KEPT]
    except InapplicableError as why:
        return Result(rule, INAPPLICABLE, [str(why)])
    except Exception as error:  # the connector's, or its simulator's: the rule cannot be said to hold
        lines = [f"{type(error).__name__}: {str(error)[:300]}"]
    return Result(rule, FAILED if lines else PASSED, lines)
