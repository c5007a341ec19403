"""Who may say what about an entity: one state per entity, heard field by field, and what each system still has to be told.

Pure: a state is JSON in, JSON out. It holds, per field, the value that counts with its origin and time (`fields`), and per
system what it is known to have (`said`), by what it told last and by what was written to it. A field that a system tells as it
told it before is no change of that system, whatever others did meanwhile; what a system has already is not written to it.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

#: Who publishes by the hub's API, as an origin and as an owner.
API = "api"
MERGES = ("newest", "union", "sum", "review")
WRITES = ("always", "create", "update", "if_empty")
#: Not fields of the entity: each system has its own.
_OWN = frozenset({"id", "updated_at"})
#: What tells which entity it is goes along whoever owns it.
_IDENTITY = frozenset({"id", "sku", "code", "number", "price_list", "location"})
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Rule:
    """Who may change a field, what happens where nobody owns it, and when it is written to others.

    Attributes:
        owner: the connection (or `API`) whose word alone counts; '' for nobody's.
        merge: newest, union (of lists), sum (of differences, for numbers) or review (by a person).
        write: always, create (only to a system that has not got the entity), update (only to one that has), if_empty.
        tolerance_seconds: two systems' times that are no further apart do not say who was first: a person decides.
    """

    owner: str = ""
    merge: str = "newest"
    write: str = "always"
    tolerance_seconds: float = 0.0


Rules = Mapping[str, Rule]


@dataclass(frozen=True)
class Conflict:
    """A change that does not count (now). ``open``: a person has to decide."""

    field: str
    origin: str
    wanted: Any
    kept: Any
    why: str
    open: bool


@dataclass
class Heard:
    """The state after a message, which of its fields changed, and what was said in vain."""

    state: dict[str, Any]
    changed: list[str]
    conflicts: list[Conflict]
    stale: bool = False


def rule_of(rules: Rules, field: str) -> Rule:
    """The field's own rule, else that of every other field (`*`)."""
    return rules.get(field) or rules.get("*") or Rule()


def owned(rules: Rules, fields: Iterable[str], owner: str) -> list[str]:
    """Those of ``fields`` that only ``owner`` may write."""
    return sorted(field for field in fields if field not in _OWN | _IDENTITY and rule_of(rules, field).owner == owner)


def empty() -> dict[str, Any]:
    """The state of an entity that nobody has told of."""
    return {"id": "", "fields": {}, "said": {}}


def hear(
    state: Mapping[str, Any], rules: Rules, origin: str, data: Mapping[str, Any], at: datetime, read_at: datetime | None = None
) -> Heard:
    """``origin`` (a connection, or `API`) says how the entity is at a time of its own clock.

    An older word than its last is stale as a whole: what it says has been said better. Of two of one time (clocks tick in
    seconds) the one that was read last counts: a webhook may have been overtaken, and what it told is read again.
    """
    found = Heard(copy.deepcopy(dict(state)), [], [])
    said = found.state["said"].setdefault(origin, {"at": _NEVER.isoformat(), "fields": {}})
    last = datetime.fromisoformat(said["at"])
    before = datetime.fromisoformat(said["read_at"]) if said.get("read_at") else None
    if last > at or (last == at and before is not None and (read_at is None or read_at < before)):
        found.stale = True
        return found
    said["read_at"] = read_at.isoformat() if read_at else None
    known = said["fields"]
    found.state["id"] = found.state["id"] or str(data.get("id", ""))
    for field, value in data.items():
        if field in _OWN or (field in known and known[field] == value):
            continue
        before = known.get(field)
        known[field] = copy.deepcopy(value)
        _change(found, rule_of(rules, field), field, origin, value, before, at)
    said["at"] = at.isoformat()
    return found


def _change(found: Heard, rule: Rule, field: str, origin: str, value: Any, before: Any, at: datetime) -> None:
    """One field that ``origin`` has changed."""
    current = found.state["fields"].get(field)
    if current is not None and current["value"] == value:
        if origin == rule.owner:
            current |= {"origin": origin, "at": at.isoformat()}
        return
    if rule.owner and origin != rule.owner:
        kept = current["value"] if current else None
        found.conflicts.append(Conflict(field, origin, value, kept, f"{rule.owner} owns it", open=False))
        return
    if current is not None and not rule.owner and current["origin"] != origin:
        merged, why, open_ = _merged(rule, current, value, before, at)
        if open_:
            current["disputed"] = sorted({*current.get("disputed", []), origin})
        if merged != value:
            found.conflicts.append(Conflict(field, origin, value, current["value"], why, open_))
        if merged == current["value"]:
            return
        value = merged
    found.state["fields"][field] = {"value": copy.deepcopy(value), "origin": origin, "at": at.isoformat()}
    found.changed.append(field)


def _merged(rule: Rule, current: Mapping[str, Any], value: Any, before: Any, at: datetime) -> tuple[Any, str, bool]:
    """(what counts, why, whether a person decides) where two systems may change a field."""
    held = current["value"]
    if rule.merge == "union" and isinstance(held, list) and isinstance(value, list):
        removed = [item for item in before or [] if item not in value]
        return [*(item for item in held if item not in removed), *(item for item in value if item not in held)], "merged", False
    if rule.merge == "sum" and before is not None:
        try:
            return format(Decimal(str(held)) + Decimal(str(value)) - Decimal(str(before)), "f"), "differences added", False
        except ArithmeticError:
            return held, "not numbers: a person decides", True
    if rule.merge == "review":
        return held, "a person decides", True
    apart = at - datetime.fromisoformat(current["at"])
    if abs(apart) < timedelta(seconds=rule.tolerance_seconds):
        return held, f"who was first is not knowable within {rule.tolerance_seconds:g} s: a person decides", True
    return (value, "newest", False) if apart >= timedelta(0) else (held, f"{current['origin'] or 'a person'} was later", False)


def wanted(state: Mapping[str, Any], rules: Rules, target: str) -> dict[str, Any]:
    """The fields that ``target`` has not got as they count, without those that it owns; empty if it needs nothing."""
    found = dict(_needed(state, rules, target))
    return found if found.keys() - _IDENTITY else {}


def _needed(state: Mapping[str, Any], rules: Rules, target: str) -> Iterator[tuple[str, Any]]:
    said = state["said"].get(target)
    for field, held in state["fields"].items():
        rule = rule_of(rules, field)
        if rule.owner == target or (said is not None and said["fields"].get(field) == held["value"]):
            continue
        if target in held.get("disputed", ()):  # a person decides first: it stays there as it is
            continue
        empty_ = said is None or said["fields"].get(field) in (None, "", [], {})
        if (rule.write == "create" and said is not None) or (rule.write == "update" and said is None):
            continue
        if rule.write == "if_empty" and not empty_:
            continue
        yield field, held["value"]


def document(state: Mapping[str, Any], rules: Rules, target: str, updated_at: datetime, in_part: bool) -> dict[str, Any]:
    """What ``target`` is given: every field as it counts for it. What it owns, or is not for it, is left out of a document
    ``in_part``, and is as it said itself in a whole one.
    """
    needed = wanted(state, rules, target)
    said = state["said"].get(target, {"fields": {}})["fields"]
    told: dict[str, Any] = {}
    for field, held in state["fields"].items():
        kept = rule_of(rules, field).owner != target and said.get(field) == held["value"]
        if field in needed or kept or field in _IDENTITY:
            told[field] = held["value"]
        elif not in_part and field in said:
            told[field] = said[field]
    return {"id": state["id"], **copy.deepcopy(told), "updated_at": updated_at.isoformat()}


def wrote(state: Mapping[str, Any], target: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The state after ``target`` has taken what it was given. Its own clock is not known: its next word is never stale."""
    found = copy.deepcopy(dict(state))
    said = found["said"].setdefault(target, {"at": _NEVER.isoformat(), "fields": {}})
    said["fields"] |= {field: copy.deepcopy(value) for field, value in given.items() if field not in _OWN}
    return found


def decide(state: Mapping[str, Any], field: str, value: Any, at: datetime) -> dict[str, Any]:
    """The state after a person has said what counts."""
    found = copy.deepcopy(dict(state))
    found["fields"][field] = {"value": copy.deepcopy(value), "origin": "", "at": at.isoformat()}
    return found
