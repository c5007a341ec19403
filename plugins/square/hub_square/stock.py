"""Inventory changes → counts and adjustments. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.sdk import Document, Ignored, Refused
from hub_square.lines import JSON, Article

Item = Document | Ignored | Refused

#: Square's InventoryState → canonical stock state. A state that is missing here (CUSTOM, COMPOSED, …) is refused.
_STATES = {
    "IN_STOCK": "available", "RESERVED_FOR_SALE": "reserved", "WASTE": "unsellable", "IN_TRANSIT": "in_transit",
    "IN_TRANSIT_TO": "in_transit", "NONE": "none", "ORDERED_FROM_VENDOR": "none", "RECEIVED_FROM_VENDOR": "none",
}  # fmt: skip
_SOLD = ("SOLD", "SOLD_ONLINE")
#: States of goods that a customer brought back and that are not for sale yet.
_BROUGHT_BACK = ("RETURNED_BY_CUSTOMER", "UNLINKED_RETURN")


@dataclass(frozen=True, kw_only=True)
class Counting:
    """What inventory changes are made documents with.

    Attributes:
        articles: by catalogue object id.
        rivals: other live variations with the same SKU, by catalogue object id.
        is_restocked_by_inventory: whether returned goods come back with their inventory adjustment, not with their return.
    """

    articles: Mapping[str, Article]
    rivals: Mapping[str, Sequence[JSON]]
    is_restocked_by_inventory: bool
    location: Callable[[str], dict[str, str]]
    business_date: Callable[[str, str], str]


def fact_of(record: JSON) -> JSON:
    """The count, adjustment or transfer that an InventoryChange carries."""
    fact: JSON = record.get("physical_count") or record.get("adjustment") or record.get("transfer") or {}
    return fact


def stock_item(record: JSON, counting: Counting) -> Item:
    """What one inventory change tells; one that cannot be told is refused alone."""
    fact, kind = fact_of(record), record.get("type")
    if kind == "PHYSICAL_COUNT":
        return _counted(fact, counting)
    if kind == "ADJUSTMENT":
        return _adjusted(fact, counting)
    return Ignored(f"inventory change of type {kind} is not carried")


def _counted(fact: JSON, counting: Counting) -> Item:
    state = _STATES.get(fact["state"])
    if state is None:
        return _unknown_state(fact, fact["state"])
    if state == "none":
        return Ignored(f"a count in state {fact['state']} is outside of the stock")
    object_id = str(fact.get("catalog_object_id"))
    if rivals := [item for item in counting.rivals.get(object_id, ()) if is_present(item, fact["location_id"])]:
        ids = ", ".join(sorted(str(item["id"]) for item in rivals))
        said = (
            f"{fact['quantity']} of variation {object_id} were counted, but {ids} at this location has the same SKU "
            f"{_sku(fact, counting)}: one count is not that of the SKU; give each variation an SKU of its own"
        )
        return Refused(_source_id(fact), "sku_ambiguous", said)
    data = {**_head(fact, counting), "state": state, "quantity": fact["quantity"]}
    return Document("stock.counted.v1", _source_id(fact), data)


def _adjusted(fact: JSON, counting: Counting) -> Item:
    old, new = str(fact["from_state"]), str(fact["to_state"])
    states = _of_return(old, new, counting) if {old, new} & {*_SOLD, *_BROUGHT_BACK} else _moved(old, new)
    if states is None:
        return _unknown_state(fact, old if old not in _STATES else new)
    if isinstance(states, Ignored):
        return states
    data = {
        **_head(fact, counting), "from_state": states[0], "to_state": states[1], "quantity": fact["quantity"],
        "reason": f"{old} to {new}",
    }  # fmt: skip
    return Document("stock.adjusted.v1", _source_id(fact), data)


def _moved(old: str, new: str) -> tuple[str, str] | Ignored | None:
    """Canonical states of a movement without a sale; None if one is not known."""
    if old not in _STATES or new not in _STATES:
        return None
    if _STATES[old] == _STATES[new]:
        return Ignored(f"{old} to {new} moves nothing: both are {_STATES[old]} to the hub")
    return _STATES[old], _STATES[new]


def _of_return(old: str, new: str, counting: Counting) -> tuple[str, str] | Ignored | None:
    """Canonical states of a movement by a sale or a return.

    A sale's goods leave with its order. Returned goods come back available with their order, so that an adjustment only says
    what became of them instead; or (`is_restocked_by_inventory`) they come back with their adjustment.
    """
    part_of_sale = Ignored(f"{old} to {new} is part of a sale and comes with its order")
    if new in _SOLD:
        return part_of_sale
    if new in _BROUGHT_BACK:
        if counting.is_restocked_by_inventory or old not in (*_SOLD, "NONE"):
            return part_of_sale
        return "available", "none"  # brought back, not for sale yet: the return said available
    if new not in _STATES:
        return None
    if old == "RETURNED_BY_CUSTOMER" or counting.is_restocked_by_inventory:
        return _moved("NONE", new)
    return part_of_sale if new == "IN_STOCK" else _moved("IN_STOCK", new)


def _unknown_state(fact: JSON, state: str) -> Refused:
    said = f"inventory state {state} has no canonical state: {fact['quantity']} of {fact.get('catalog_object_id')}"
    return Refused(_source_id(fact), "unknown_state", said)


def _source_id(fact: JSON) -> str:
    return f"inventory:{fact['id']}"


def _head(fact: JSON, counting: Counting) -> dict[str, Any]:
    place = str(fact["location_id"])
    return {
        "id": fact["id"], "location": counting.location(place), "sku": _sku(fact, counting),
        "occurred_at": fact["occurred_at"], "business_date": counting.business_date(fact["occurred_at"], place),
    }  # fmt: skip


def _sku(fact: JSON, counting: Counting) -> str:
    """An item without an SKU goes by its Square id: it is then unknown to the target, and said so."""
    object_id = str(fact.get("catalog_object_id"))
    article = counting.articles.get(object_id)
    return (article.sku if article else "") or object_id


def is_present(variation: JSON, location_id: str) -> bool:
    """Whether a catalogue object is live at a location."""
    if variation.get("is_deleted"):
        return False
    if variation.get("present_at_all_locations", True):
        return location_id not in (variation.get("absent_at_location_ids") or [])
    return location_id in (variation.get("present_at_location_ids") or [])
