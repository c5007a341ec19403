"""The conformance kit: rules about what a connector does, beside a system of its own; the tier is computed from them.

A plugin names a `Subject` under the entry point group `hub.kits`; `hub plugin check NAME` judges it, and so does its own test:

    from hub.sdk.kit import judge
    def test_conformance():
        assert judge(subject()).tier == "gold"
"""

from hub.sdk.kit import answers, declared, engine, reads, writes  # noqa: F401 - they register their rules
from hub.sdk.kit.report import Report, Result, judge
from hub.sdk.kit.rules import RULES, TIERS, Rule
from hub.sdk.kit.subject import Subject, System, Trial

__all__ = ["RULES", "TIERS", "Report", "Result", "Rule", "Subject", "System", "Trial", "judge"]
