"""A version of the contract under review in a running hub: proposed, decided about change by change, released or withdrawn.

What people decided is bound to a change's fingerprint and the version it starts from: a proposal that is made again keeps the
verdicts on everything in it that stayed the same. Every step is an audit record in the transaction of the step itself.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
import yaml

from hub.contracts.changes import ERR, INFO, Change
from hub.contracts.impact import Impact, impact
from hub.contracts.lint import Report, lint_others, lint_text
from hub.contracts.releases import PEOPLE, REMOVALS, Contract, follows, load, numbers, since, versions
from hub.errors import HubError, NotFoundError
from hub.identity.api_keys import Client
from hub.policies import audit
from hub.store import UnitOfWork, new_id

Row = dict[str, Any]
APPROVE, REJECT = "approve", "reject"
_FINDINGS_KEPT = 500


@dataclass(frozen=True)
class Review:
    """A proposal as it stands now: each change with its callers, the verdicts on it, and what keeps it from being released."""

    row: Row
    impact: Sequence[Impact]
    verdicts: Mapping[str, Sequence[Row]]
    obstacles: Sequence[Mapping[str, str]]

    def changes(self) -> list[dict[str, Any]]:
        """For the API and for the record."""
        return [
            item.change.as_dict() | {
                "callers": [vars(caller) for caller in item.callers],
                "verdicts": [
                    {"by": given["person"], "at": given["at"].isoformat()} | {key: given[key] for key in ("verdict", "reason")}
                    for given in self.verdicts.get(item.change.fingerprint, ())
                ],
                "approvals_missing": missing(item.change, self.verdicts, self.row["owner"]),
            }
            for item in self.impact
        ]  # fmt: skip


def person(client: Client) -> str:
    """Who stands behind a key, in records that outlive the key."""
    return f"{client.tenant_id}/{client.name}"


def propose(uow: UnitOfWork, client: Client, body: Mapping[str, Any], own: Contract, now: datetime) -> str:
    """Keep a proposal: its id. What ``body`` leaves out of events and connectors is the hub's ``own``.

    Raises HubError `invalid_document` (field and remedy), or `wrong_state` if the version does not come after the last one.
    """
    contract, report = _read(body, own)
    base, older = newest(uow)
    if not follows(body["version"], [base] if base else []):
        raise HubError("wrong_state", f"{body['version']} does not come after {base or '0.0.0'}")
    try:
        changes = since(older, contract) if older else []
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _invalid("/openapi", f"cannot be compared: {type(error).__name__}; lint it first") from None
    packed = zlib.compress(orjson.dumps(vars(contract)))
    digest = hashlib.sha256(b"".join(contract.files().values())).hexdigest()
    identity = new_id()
    uow.governance.add({
        "tenant_id": client.tenant_id, "id": identity, "version": body["version"], "base": base, "state": "open",
        "owner": person(client), "reason": body["reason"], "contract": packed, "digest": digest, "score": report.score,
        "findings": [vars(item) for item in report.findings[:_FINDINGS_KEPT]],
        "changes": [item.as_dict() for item in changes], "created_at": now, "released_by": None, "released_at": None,
        "evidence": {},
    })  # fmt: skip
    breaking = [item.fingerprint for item in changes if item.severity == ERR]
    _record(uow, client, now, "contract.proposed", body["version"], proposal=identity, digest=digest, reason=body["reason"],
            base=base, score=report.score, breaking=breaking)  # fmt: skip
    return identity


def _read(body: Mapping[str, Any], own: Contract) -> tuple[Contract, Report]:
    text = body["openapi"]
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))):
            raise _invalid("/openapi", "YAML aliases are not allowed; write it out")
        openapi = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _invalid("/openapi", f"neither YAML nor JSON: {str(error)[:200]}") from None
    # Days are YAML dates; in JSON they are strings.
    openapi = orjson.loads(orjson.dumps(openapi, option=orjson.OPT_NON_STR_KEYS))
    if not isinstance(openapi, dict) or not str(openapi.get("openapi", "")).startswith("3."):
        raise _invalid("/openapi", "is not an OpenAPI 3 document")
    paths = openapi.get("paths", {})
    if not isinstance(paths, dict) or not all(isinstance(item, dict) for item in paths.values()):
        raise _invalid("/openapi", "/paths: must be an object of path items")
    try:
        report = lint_text(text)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _invalid("/openapi", f"cannot be read as OpenAPI: {type(error).__name__} {str(error)[:200]}") from None
    openapi.setdefault("paths", {})
    contract = Contract(openapi, body.get("events", own.events), body.get("connectors", own.connectors))
    try:
        others = lint_others(contract.events, contract.connectors)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _invalid("/events", f"cannot be read as JSON Schemas: {type(error).__name__} {str(error)[:200]}") from None
    report.findings += others.findings
    report.checked += others.checked
    report.failed += others.failed
    return contract, report


def _invalid(field: str, message: str) -> HubError:
    return HubError("invalid_document", f"{field} {message}", [{"code": "invalid_field", "field": field, "message": message}])


def newest(uow: UnitOfWork) -> tuple[str, Contract | None]:
    """The last released version, of those that came with this installation and those that were released here; '' if none."""
    shipped, here = versions(), {row["version"]: row["id"] for row in uow.governance.released()}
    found = max([*shipped, *here], key=numbers, default="")
    return found, released(uow, found) if found else None


def released(uow: UnitOfWork, version: str) -> Contract:
    """A released contract. Raises HubError `not_found`."""
    for row in uow.governance.released():
        if row["version"] == version:
            whole = uow.governance.get(row["id"])
            assert whole is not None
            return contract_of(whole)
    return load(version)


def contract_of(row: Row) -> Contract:
    """What was proposed."""
    return Contract(**orjson.loads(zlib.decompress(row["contract"])))


def review(uow: UnitOfWork, row: Row, since_day: str) -> Review:
    """A proposal with what is known about it now; callers since a day."""
    changes = [Change(**{key: item[key] for key in Change.__annotations__}) for item in row["changes"]]
    older = released(uow, row["base"]) if row["base"] else None
    called = impact(
        changes, older.openapi, uow.usage.callers(since_day), older.events, uow.usage.fields(since_day)
    ) if older else []  # fmt: skip
    found = called or [Impact(change, ()) for change in changes]
    verdicts: dict[str, list[Row]] = {}
    for given in uow.governance.decisions(row["base"]):
        verdicts.setdefault(given["fingerprint"], []).append(given)
    obstacles = [] if row["state"] == "released" else list(_obstacles(uow, row, found, verdicts))
    return Review(row, found, verdicts, obstacles)


def missing(change: Change, verdicts: Mapping[str, Sequence[Row]], owner: str) -> int:
    """How many people more have to approve: two others than the owner for what breaks somebody."""
    given = {item["person"] for item in verdicts.get(change.fingerprint, ()) if item["verdict"] == APPROVE} - {owner}
    return max(0, PEOPLE - len(given)) if change.severity == ERR else 0


def _obstacles(
    uow: UnitOfWork, row: Row, found: Sequence[Impact], verdicts: Mapping[str, Sequence[Row]]
) -> Sequence[Mapping[str, str]]:
    reasons = []

    def add(code: str, subject: str, message: str) -> None:
        reasons.append({"code": code, "subject": subject, "message": message})

    if row["state"] != "open":
        add("not_open", row["id"], f"the proposal is {row['state']}")
    base, _ = newest(uow)
    if base != row["base"]:
        add("base_moved", row["base"], f"{base} was released since; propose again")
    for finding in row["findings"]:
        if finding["severity"] == "error":
            add("lint_error", finding["pointer"] or "/", f"{finding['rule']}: {finding['message']}")
    for item in found:
        change = item.change
        for given in verdicts.get(change.fingerprint, ()):
            if given["verdict"] == REJECT:
                add("rejected", change.fingerprint, f"{given['person']}: {given['reason']}")
        if number := missing(change, verdicts, row["owner"]):
            add("approvals_missing", change.fingerprint, f"{number} of {PEOPLE} missing: {change.text}")
        if change.rule in REMOVALS and item.callers:
            who = ", ".join(f"{caller.tenant_id}/{caller.client} (last on {caller.last_day})" for caller in item.callers)
            add("still_called", change.fingerprint, f"{change.place} is called by {who}; keep it until they have moved")
    return reasons


def decide(
    uow: UnitOfWork, client: Client, proposal_id: str, fingerprints: Sequence[str], verdict: str, reason: str, now: datetime
) -> None:
    """One person's verdict on some changes of an open proposal.

    Raises HubError `not_found`, `wrong_state` (not open; the owner would approve of their own), `invalid_document` (no such
    change).
    """
    row = _open(uow, proposal_id)
    known = {item["fingerprint"] for item in row["changes"]}
    for index, fingerprint in enumerate(fingerprints):
        if fingerprint not in known:
            raise _invalid(f"/fingerprints/{index}", f"no change {fingerprint!r} in this proposal")
    if verdict == APPROVE and person(client) == row["owner"]:
        raise HubError("wrong_state", "whoever proposed it cannot approve of it; two others must")
    for fingerprint in dict.fromkeys(fingerprints):
        uow.governance.decide({
            "tenant_id": client.tenant_id, "base": row["base"], "fingerprint": fingerprint, "person": person(client),
            "verdict": verdict, "reason": reason, "at": now,
        })  # fmt: skip
    action = "contract.approved" if verdict == APPROVE else "contract.rejected"
    _record(uow, client, now, action, row["version"], proposal=proposal_id, fingerprints=list(fingerprints), reason=reason)


def withdraw(uow: UnitOfWork, client: Client, proposal_id: str, reason: str, now: datetime) -> None:
    """End an open proposal. Raises HubError `not_found`, `wrong_state`."""
    row = _open(uow, proposal_id)
    uow.governance.close(proposal_id, {"state": "withdrawn"})
    _record(uow, client, now, "contract.withdrawn", row["version"], proposal=proposal_id, reason=reason)


def release(uow: UnitOfWork, client: Client, proposal_id: str, now: datetime, days: int = 30) -> None:
    """Make a proposal the newest version, keep the evidence, and tell the clients that its changes concern.

    Raises HubError `not_found`, or `wrong_state` with every obstacle as an entry.
    """
    row = _open(uow, proposal_id)
    found = review(uow, row, (now - timedelta(days=days)).date().isoformat())
    if found.obstacles:
        entries = [{"code": "obstacle", "field": item["subject"], "message": item["message"]} for item in found.obstacles]
        raise HubError("wrong_state", f"{len(entries)} thing(s) keep {row['version']} from being released", entries)
    told: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for item in found.impact:
        for caller in item.callers if item.change.severity != INFO or "deprecated" in item.change.rule else ():
            entry = {"severity": item.change.severity, "operation": caller.operation, "text": item.change.text,
                     "fingerprint": item.change.fingerprint}  # fmt: skip
            told.setdefault((caller.tenant_id, caller.client), []).append(entry)
    for (tenant_id, name), changes in sorted(told.items()):
        uow.governance.notify(
            {"tenant_id": tenant_id, "client": name, "version": row["version"], "changes": changes, "at": now}
        )
    uow.governance.close(proposal_id, {
        "state": "released", "released_by": person(client), "released_at": now,
        "evidence": {"changes": found.changes(), "days": days},
    })  # fmt: skip
    _record(uow, client, now, "contract.released", row["version"], proposal=proposal_id, digest=row["digest"],
            told=[f"{tenant_id}/{name}" for tenant_id, name in sorted(told)])  # fmt: skip


def _open(uow: UnitOfWork, proposal_id: str) -> Row:
    row = uow.governance.lock(proposal_id)
    if row is None:
        raise NotFoundError("proposal", proposal_id)
    if row["state"] != "open":
        raise HubError("wrong_state", f"the proposal is {row['state']}")
    return row


def subject(version: str) -> str:
    """Under which the audit log keeps a version's records."""
    return f"contract/{version}"


def _record(uow: UnitOfWork, client: Client, now: datetime, action: str, version: str, **detail: Any) -> None:
    audit.record(uow, client.tenant_id, now, f"key/{client.name}", action, subject(version), **detail)
