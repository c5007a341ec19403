"""Who is who: the keys by which a document names entities, and the ones by which everybody knows them.

A message keeps what its source said. Its subject, and what connectors are given of it, go by canonical keys: two systems' ids
of one customer are one entity, and what was sold under a withdrawn SKU is booked under the one that took its place.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.flow.context import Context
from hub.store import UnitOfWork

#: Entities that can have aliases, and the field of their record that is their key.
KEYED = {"customer": "id", "product": "sku", "location": "code", "supplier": "code"}
#: Parts of documents that name an entity, and which.
_PARTS = {"customer": ("customer", "id"), "location": ("location", "code"), "origin": ("location", "code"),
          "destination": ("location", "code"), "supplier": ("supplier", "code")}  # fmt: skip
#: (entity, key) → canonical key
Names = Mapping[tuple[str, str], str]
#: An alias may lead to one that was merged later; more steps than this are none that people made.
_STEPS = 5


def leading(ctx: Context, uow: UnitOfWork, tenant_id: str) -> Mapping[str, str]:
    """Kinds of entities that have other keys, and whose keys are everybody's ('': nobody said)."""

    def read() -> dict[str, str]:
        said = {entity: identity.systems[0] for entry in reversed(ctx.routes.in_force(uow, tenant_id))
                for entity, identity in entry.integration.identity.items()}  # fmt: skip
        return {**dict.fromkeys(uow.aliases.entities(tenant_id), ""), **said}

    return ctx.configured.get(uow, tenant_id, "leading", read)


@dataclass(frozen=True)
class Said:
    """A document, who said it (a connection, or ''), and for whom it is meant ('': for everybody)."""

    tenant_id: str
    source: str
    type: str
    data: Mapping[str, Any]
    target: str = ""


def names(ctx: Context, uow: UnitOfWork, documents: Sequence[Said]) -> list[Names]:
    """Of each document: by which key an entity goes, where that is another one than it says."""
    found: list[dict[tuple[str, str], str]] = [{} for _ in documents]
    asked: dict[str, list[tuple[int, str, str]]] = {}
    for place, item in enumerate(documents):
        if kinds := leading(ctx, uow, item.tenant_id):
            asked.setdefault(item.tenant_id, []).extend(
                (place, entity, key) for entity, key in _named(item.type, item.data) if entity in kinds
            )
    for tenant_id, items in asked.items():
        keys = {(entity, documents[place].source, key) for place, entity, key in items}
        known = uow.aliases.current(tenant_id, keys | {(entity, "", key) for _, entity, key in items})
        for place, entity, key in items:
            source = documents[place].source
            first = known.get((entity, source, key)) or known.get((entity, "", key))
            if first is not None:
                found[place][entity, key] = _last(uow, tenant_id, entity, first)
            elif source and leading(ctx, uow, tenant_id)[entity] not in ("", source):
                found[place][entity, key] = of_its_own(entity, source, key)
        # What is known by a number of its own there goes by that one; a record's id is the hub's, its link tells theirs.
        meant = {(place, entity, key): (entity, documents[place].target, found[place].get((entity, key), key))
                 for place, entity, key in items if documents[place].target and KEYED[entity] != "id"}  # fmt: skip
        there = uow.aliases.there(tenant_id, set(meant.values()))
        for (place, entity, key), asked_for in meant.items():
            if asked_for in there:  # also where owners have merged it: then it is the canonical key already
                found[place][entity, key] = found[place][entity, asked_for[2]] = there[asked_for]
    return list(found)


def of_its_own(entity: str, source: str, key: str) -> str:
    """The canonical key of a record that is linked with none. An id is its system's: another one's 17 is somebody else."""
    return f"{source}:{key}" if KEYED[entity] == "id" else key


def own_key(connection_id: str, key: str) -> str:
    """The system's own key in a canonical one, if it is its own; '' if not."""
    return key.removeprefix(f"{connection_id}:") if key.startswith(f"{connection_id}:") else ""


def _subjects(entity: str, source: str, key: str) -> set[tuple[str, str]]:
    """(subject, whose word or '') by which a record went before it was linked with another one."""
    return {(f"{entity}/{key}", source), (f"{entity}/{of_its_own(entity, source, key) if source else key}", source)}


def spoken_of(uow: UnitOfWork, tenant_id: str, subject: str, source: str) -> tuple[str, set[tuple[str, str]]]:
    """The subject by which an entity goes now, and those (with whose word, or '') by which it went before.

    ``source``: who named it, or ''.
    """
    entity, _, key = subject.partition("/")
    if entity not in KEYED:
        return subject, set()
    here = own_key(source, key) or key
    known = uow.aliases.current(tenant_id, {(entity, source, here), (entity, "", here)})
    first = known.get((entity, source, here)) or known.get((entity, "", here))
    found: set[tuple[str, str]] = set()
    now = _last(uow, tenant_id, entity, first or key)
    waiting = [now]
    for _ in range(_STEPS):
        ours = {pair for canonical in waiting for pair in uow.aliases.leading_to(tenant_id, entity, canonical)}
        found |= {item for pair in ours for item in _subjects(entity, *pair)}
        waiting = [key for of, key in ours if not of]  # what was anybody's name may have been another's canonical key
    return f"{entity}/{now}", found - {(f"{entity}/{now}", "")}


def _last(uow: UnitOfWork, tenant_id: str, entity: str, key: str) -> str:
    """Where aliases of aliases lead."""
    for _ in range(_STEPS):
        following = uow.aliases.current(tenant_id, [(entity, "", key)]).get((entity, "", key))
        if following is None:
            return key
        key = following
    return key


def canonical(type_name: str, data: Mapping[str, Any], known: Names, subject: str = "") -> Mapping[str, Any]:
    """A document by canonical keys; the same object if it names nobody else.

    ``subject``: of the message, by which a record goes that is known by its id, and that several systems have spoken of.
    """
    own = _own(type_name)
    if own is not None and own[1] == "id" and subject and (own[0], data["id"]) not in known:
        data = {**data, "id": subject.partition("/")[2]}
    if not known:
        return data
    changed: dict[str, Any] = _walked(data, lambda entity, key: known.get((entity, key), key))
    if own is not None and own[1] != "sku" and (here := data.get(own[1])) is not None:
        changed[own[1]] = known.get((own[0], here), here)
    return changed


def learned(type_name: str, row: Mapping[str, Any], external_id: str) -> dict[str, str] | None:
    """The alias that a write has made: what the target tells of its own record is about the one that was written."""
    own, here = _own(type_name), str(row["subject"]).partition("/")[2]
    if own is None or own[1] != "id":
        return None
    return {"entity": own[0], "connection_id": row["connection_id"], "key": external_id, "canonical": here,
            "rule": "written", "actor": "deliver", "reason": ""}  # fmt: skip


def canonical_id(type_name: str, data: Mapping[str, Any], subject: str) -> str:
    """The id that links go by: of a record that is known by its id, whoever says it, its entity's."""
    own = _own(type_name)
    return subject.partition("/")[2] if own is not None and own[1] == "id" else str(data["id"])


def _own(type_name: str) -> tuple[str, str] | None:
    """(entity, field of its key) of a record's type."""
    entity = type_name.rpartition(".v")[0]
    return (entity, KEYED[entity]) if entity in KEYED else None


def _named(type_name: str, data: Mapping[str, Any]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()

    def note(entity: str, key: str) -> str:
        found.add((entity, key))
        return key

    _walked(data, note)
    own = _own(type_name)
    if own is not None and isinstance(data.get(own[1]), str):
        found.add((own[0], data[own[1]]))
    return found


def _walked(value: Any, name: Callable[[str, str], str]) -> Any:
    """A copy in which every key of an entity is what ``name`` says; extensions are nobody's business."""
    if isinstance(value, list):
        return [_walked(item, name) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {}
    for field, inner in value.items():
        if field == "extensions":
            found[field] = inner
        elif field == "sku" and isinstance(inner, str):
            found[field] = name("product", inner)
        elif field in _PARTS and isinstance(inner, Mapping) and isinstance(inner.get(_PARTS[field][1]), str):
            entity, key = _PARTS[field]
            found[field] = {**_walked(inner, name), key: name(entity, inner[key])}
        else:
            found[field] = _walked(inner, name)
    return found
