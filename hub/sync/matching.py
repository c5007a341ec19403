"""Match rules: which records of two systems are the same, by the file's `identity`; said before anything is written.

    identity:
      customer:
        systems: [erp, shop]              # the first one's keys are everybody's
        match: [email, phone, {field: name, how: fuzzy, at_least: 0.92, review: 0.8}]

Records are what the systems have said (a flow without targets reads them and writes nothing). Rules are tried in their order;
what one finds for certain is linked, what is not certain waits for a person; who decided, when and why is remembered.
"""

import difflib
import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from canonical.registry import TYPES, type_named
from hub.errors import HubError, NotFoundError
from hub.flow.context import Context
from hub.flow.names import KEYED, Said, canonical, names, of_its_own
from hub.integrations.files import Identity, MatchRule
from hub.policies import audit
from hub.store import UnitOfWork

#: Words that so many records share say nothing about who is who.
_COMMON = 200
#: Two that are so close to each other are told apart by a person.
_MARGIN = 0.03
_LISTED = 5
VERDICTS = ("link", "review", "new", "create")


@dataclass(frozen=True)
class Item:
    """One record of the following system, or (`create`) one of the leading system that the other has not.

    ``key`` and ``canonical`` are empty where there is no such record; ``candidates`` are the canonical keys to choose from.
    """

    verdict: str
    key: str
    canonical: str
    rule: str
    score: float
    name: str
    candidates: tuple[str, ...] = ()

    def shown(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "key": self.key, "canonical": self.canonical, "rule": self.rule,
                "score": round(self.score, 3), "name": self.name, "candidates": list(self.candidates)}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What linking would do. ``digest`` names exactly these items: what is linked is what was looked at."""

    entity: str
    leads: str
    system: str
    linked: int
    items: Sequence[Item]
    digest: str

    def counts(self) -> dict[str, int]:
        found = Counter(item.verdict for item in self.items)
        return {"linked": self.linked, **{verdict: found[verdict] for verdict in VERDICTS}}


def plan(ctx: Context, uow: UnitOfWork, tenant_id: str, entity: str, system: str) -> Plan:
    """Compare what ``system`` has with what the leading one has. Raises NotFoundError without an `identity` for it."""
    rules = _identity(ctx, uow, tenant_id, entity, system)
    known = uow.aliases.of(tenant_id, entity, system)
    leads = rules.systems[0]
    theirs = _records(uow, tenant_id, entity, leads)
    mine = {key: record for key, record in _records(uow, tenant_id, entity, system).items() if key not in known}
    items = list(_matched(rules.match, theirs, mine, set(known.values())))
    told = orjson.dumps([item.shown() for item in items], option=orjson.OPT_SORT_KEYS)
    return Plan(entity, leads, system, len(known), items, hashlib.sha256(told).hexdigest())


def link(
    ctx: Context, tenant_id: str, entity: str, system: str, digest: str, decisions: Mapping[str, str], actor: str, reason: str
) -> dict[str, int]:  # fmt: skip
    """Remember what a plan found, and what a person decided: key → canonical key, or '' for one of its own.

    Raises HubError (`wrong_state`) if the plan is another one by now, `invalid_document` for a decision about nothing.
    """
    now = ctx.clock()
    with ctx.store.begin() as uow:
        found = plan(ctx, uow, tenant_id, entity, system)
        if found.digest != digest:
            raise HubError("wrong_state", "records or rules have changed since this plan; look at it again")
        open_ = {item.key: item for item in found.items if item.verdict in ("review", "new", "link")}
        leading = set(_records(uow, tenant_id, entity, found.leads))
        wrong = [
            {"code": "unknown_reference", "field": f"/decisions/{key}",
             "message": "no record of this plan" if key not in open_ else f"{found.leads} has no {entity} {target!r}"}
            for key, target in decisions.items() if key not in open_ or (target and target not in leading)
        ]  # fmt: skip
        if wrong:
            raise HubError("invalid_document", "a decision about nothing", wrong)
        pairs = {item.key: (item.canonical, item.rule) for item in found.items if item.verdict == "link"}
        pairs |= {key: (target or of_its_own(entity, system, key), "person") for key, target in decisions.items()}
        rows = [{"entity": entity, "connection_id": system, "key": key, "canonical": target, "rule": rule, "actor": actor,
                 "reason": reason} for key, (target, rule) in pairs.items()]  # fmt: skip
        new = uow.aliases.put(tenant_id, rows, now)
        _follow(ctx, uow, tenant_id, rows)
        _link_back(ctx, uow, tenant_id, entity, system, pairs)
        audit.record(uow, tenant_id, now, actor, "alias.linked", f"{entity}/*", system=system, links=new, digest=digest,
                     reason=reason)  # fmt: skip
    return {"links": new, "decided": len(decisions)}


def import_links(ctx: Context, tenant_id: str, entity: str, rows: Sequence[Mapping[str, str]], actor: str, reason: str) -> int:
    """Links that another integration has kept: connection_id, key (the system's own), canonical. Returns how many are new."""
    now = ctx.clock()
    with ctx.store.begin() as uow:
        wrong = [
            {"code": "unknown_reference", "field": f"/links/{place}/connection_id", "message": "no such connection"}
            for place, row in enumerate(rows) if uow.connections.get(tenant_id, row["connection_id"]) is None
        ]  # fmt: skip
        if wrong:
            raise HubError("invalid_document", "links of connections that are not there", wrong)
        given = [{**row, "entity": entity, "rule": "import", "actor": actor, "reason": reason} for row in rows]
        new = uow.aliases.put(tenant_id, given, now)
        _follow(ctx, uow, tenant_id, given)
        for system in {row["connection_id"] for row in rows}:
            pairs = {row["key"]: (row["canonical"], "import") for row in rows if row["connection_id"] == system}
            _link_back(ctx, uow, tenant_id, entity, system, pairs)
        audit.record(uow, tenant_id, now, actor, "alias.imported", f"{entity}/*", links=new, reason=reason)
    return new


def merge(ctx: Context, tenant_id: str, entity: str, key: str, canonical: str, system: str, actor: str, reason: str) -> None:
    """From now on ``key`` (of one system, or anybody's) is ``canonical``. Raises HubError (`wrong_state`) for a circle."""
    now = ctx.clock()
    with ctx.store.begin() as uow:
        known = uow.aliases.current(tenant_id, [(entity, "", canonical)])
        if key == canonical or known.get((entity, "", canonical)) == key:
            raise HubError("wrong_state", f"{canonical} is {key} already; split it first")
        if known:
            raise HubError("wrong_state", f"{canonical} is {next(iter(known.values()))} itself; name that one")
        row = {"entity": entity, "connection_id": system, "key": key, "canonical": canonical, "rule": "merge", "actor": actor,
               "reason": reason}  # fmt: skip
        uow.aliases.put(tenant_id, [row], now)
        _follow(ctx, uow, tenant_id, [row])
        if system:
            _link_back(ctx, uow, tenant_id, entity, system, {key: (canonical, "merge")})
        audit.record(uow, tenant_id, now, actor, "alias.merged", f"{entity}/{canonical}", key=key, system=system, reason=reason)


def split(ctx: Context, tenant_id: str, entity: str, key: str, system: str, actor: str, reason: str) -> None:
    """From now on ``key`` is itself again. Raises NotFoundError if it was nobody else."""
    now = ctx.clock()
    with ctx.store.begin() as uow:
        known = uow.aliases.current(tenant_id, [(entity, system, key)])
        if not uow.aliases.end(tenant_id, entity, system, key, now):
            raise NotFoundError("alias", f"{entity}/{key}{f' of {system}' if system else ''}")
        canonical = known[entity, system, key]
        for kind in _kinds(ctx, uow, tenant_id, entity, system):
            uow.links.forget(tenant_id, system, kind, canonical, key)
        audit.record(uow, tenant_id, now, actor, "alias.split", f"{entity}/{canonical}", key=key, system=system, reason=reason)


def _identity(ctx: Context, uow: UnitOfWork, tenant_id: str, entity: str, system: str) -> Identity:
    for entry in ctx.routes.in_force(uow, tenant_id):
        found = entry.integration.identity.get(entity)
        if found is not None and system in found.systems[1:]:
            return found
    raise NotFoundError("identity rules that compare", f"{entity} of {system} with another system's")


def _link_back(
    ctx: Context, uow: UnitOfWork, tenant_id: str, entity: str, system: str, pairs: Mapping[str, tuple[str, str]]
) -> None:  # fmt: skip
    """What is written to the system is written to the record that it has."""
    now = ctx.clock()
    uow.links.put([
        {"tenant_id": tenant_id, "connection_id": system, "kind": kind, "canonical_id": canonical, "external_id": key,
         "created_at": now}
        for kind in _kinds(ctx, uow, tenant_id, entity, system) for key, (canonical, _) in pairs.items()
    ])  # fmt: skip


def _follow(ctx: Context, uow: UnitOfWork, tenant_id: str, rows: Sequence[Mapping[str, str]]) -> None:
    """What was said before and waits goes by the subject that it would get now: in order with what is said from now on."""
    keys = {row["key"] for row in rows}
    waiting = {
        row["id"]: row for row in uow.deliveries.not_begun(tenant_id)
        if not keys.isdisjoint(_named(str(row["subject"])))
    }  # fmt: skip
    messages = list(uow.messages.many(tenant_id, [row["message_id"] for row in waiting.values()]).values())
    documents = [orjson.loads(message["body"])["data"] for message in messages]
    said = [
        Said(tenant_id, message["connection_id"] or "", message["type"], data)
        for message, data in zip(messages, documents, strict=True)
    ]
    subjects = {
        message["id"]: type_named(message["type"]).subject(canonical(message["type"], data, known))
        for message, data, known in zip(messages, documents, names(ctx, uow, said), strict=True)
    }
    moved = {
        identity: subjects[row["message_id"]]
        for identity, row in waiting.items()
        if subjects[row["message_id"]] != row["subject"]
    }
    if moved:
        uow.deliveries.follow(tenant_id, moved)


def _named(subject: str) -> set[str]:
    """The keys that a subject may hold; one may have a slash itself."""
    whole = subject.partition("/")[2]
    return {name.rpartition(":")[2] for name in (whole, *whole.split("/"))}


def _kinds(ctx: Context, uow: UnitOfWork, tenant_id: str, entity: str, system: str) -> set[str]:
    """What the system's connector calls the records of an entity that it writes, where they are known by their id."""
    row = ctx.connection(uow, tenant_id, system)
    connector = ctx.plugins.connectors.get(row["connector"]) if row else None
    if connector is None or KEYED[entity] != "id":
        return set()
    return {str(item["object"]) for name, item in connector.manifest.writes.items() if name.rpartition(".v")[0] == entity}


def _records(uow: UnitOfWork, tenant_id: str, entity: str, connection_id: str) -> dict[str, Mapping[str, Any]]:
    """By key, the newest of what a connection said of each record that is in use."""
    types = [name for name in TYPES if name.rpartition(".v")[0] == entity]
    found: dict[str, Mapping[str, Any]] = {}
    for row in uow.aliases.said(tenant_id, types, connection_id):
        data = orjson.loads(row["body"])["data"]
        found.setdefault(str(data[KEYED[entity]]), data)
    return {key: data for key, data in sorted(found.items()) if data.get("active", True)}


def _matched(
    rules: Sequence[MatchRule], theirs: Mapping[str, Mapping[str, Any]], mine: Mapping[str, Mapping[str, Any]], taken: set[str]
) -> Iterable[Item]:
    free = {key: record for key, record in theirs.items() if key not in taken}
    certain: dict[str, tuple[str, MatchRule, float]] = {}
    unsure: dict[str, tuple[tuple[str, ...], MatchRule, float]] = {}
    for rule in rules:
        find = _finder(rule, free)
        for key, record in mine.items():
            if key in certain or key in unsure:
                continue
            found = find(record)
            if not found:
                continue
            (best, score), others = found[0], found[1:]
            if score >= rule.at_least and not (others and others[0][1] > score - _MARGIN):
                certain[key] = (best, rule, score)
            else:
                unsure[key] = (tuple(candidate for candidate, _ in found[:_LISTED]), rule, score)
    wanted = Counter(target for target, _, _ in certain.values())
    used = set()
    for key, record in mine.items():
        name = str(record.get("name") or "")[:255]
        if key in certain and wanted[certain[key][0]] == 1:
            target, rule, score = certain[key]
            used.add(target)
            yield Item("link", key, target, rule.text, score, name)
        elif key in certain:  # two of them would be the same one
            target, rule, score = certain[key]
            used.add(target)
            yield Item("review", key, "", rule.text, score, name, (target,))
        elif key in unsure:
            candidates, rule, score = unsure[key]
            used |= set(candidates)
            yield Item("review", key, "", rule.text, score, name, candidates)
        else:
            yield Item("new", key, "", "", 0.0, name)
    for key, record in free.items():
        if key not in used:
            yield Item("create", "", key, "", 0.0, str(record.get("name") or "")[:255])


Finder = Callable[[Mapping[str, Any]], list[tuple[str, float]]]


def _finder(rule: MatchRule, records: Mapping[str, Mapping[str, Any]]) -> Finder:
    """Of a record, who it may be by a rule: (key, score), the likeliest first."""
    return _alike(rule, records) if rule.how == "fuzzy" else _equal(rule, records)


def _equal(rule: MatchRule, records: Mapping[str, Mapping[str, Any]]) -> Finder:
    by_value: dict[str, list[str]] = defaultdict(list)
    for key, record in records.items():
        if value := normal(rule.how, record.get(rule.field)):
            by_value[value].append(key)

    def find(record: Mapping[str, Any]) -> list[tuple[str, float]]:
        value = normal(rule.how, record.get(rule.field))
        return [(key, 1.0) for key in by_value.get(value, ())] if value else []

    return find


def _alike(rule: MatchRule, records: Mapping[str, Mapping[str, Any]]) -> Finder:
    """By the words they share, and then letter by letter; words that everybody has lead to nobody."""
    texts = {key: _words(record.get(rule.field)) for key, record in records.items()}
    having: dict[str, list[str]] = defaultdict(list)
    for key, words in texts.items():
        for word in set(words):
            having[word].append(key)

    def find(record: Mapping[str, Any]) -> list[tuple[str, float]]:
        words = _words(record.get(rule.field))
        near = {key for word in set(words) if len(having.get(word, ())) <= _COMMON for key in having.get(word, ())}
        text, scored = " ".join(words), []
        for key in near:
            compared = difflib.SequenceMatcher(None, text, " ".join(texts[key]), autojunk=False)
            if compared.quick_ratio() >= rule.review and (score := compared.ratio()) >= rule.review:
                scored.append((key, score))
        return sorted(scored, key=lambda found: (-found[1], found[0]))

    return find


def _words(value: Any) -> list[str]:
    return sorted(normal("normalised", value, " ").split())


def normal(how: str, value: Any, space: str = "") -> str:
    """A value as it is compared; '' if there is nothing to compare."""
    if not isinstance(value, str):
        return ""
    match how:
        case "email":
            return value.strip().casefold() if "@" in value else ""
        case "phone":  # with or without the country's number in front
            digits = re.sub(r"\D", "", value)
            return digits[-9:] if len(digits) >= 7 else ""
        case "gtin":
            return value.zfill(14) if value.isdigit() and len(value) in (8, 12, 13, 14) else ""
        case "normalised":
            plain = unicodedata.normalize("NFKD", value.casefold().replace("ß", "ss"))
            return re.sub(r"[\W_]+", space, "".join(char for char in plain if not unicodedata.combining(char))).strip()
    return value
