"""A known source id with another document: a newer state of a record, or a fact that its source has changed (ADR 32)."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import orjson

from canonical.registry import CanonicalType
from canonical.versions import cast
from hub.integrations.plan import differences
from hub.policies.dead_letter import remedy_for
from hub.sdk.errors import PermanentError
from hub.store.ids import bounded

#: Pointers that a person is shown, and characters of a value.
_MOST_SHOWN, _LONGEST_VALUE = 8, 60
#: Pointers that the audit and the quarantine keep.
_MOST_KEPT = 100


class ChangedFactError(PermanentError):
    """A fact that is known by its source id is told with another document. The known one stays.

    Attributes:
        known_id: the message that the fact is.
        digests: of the known document and of the new one.
        fields: pointers whose values differ.
        admit_as: the source id under which a person may admit the new document.
    """

    code = "changed_fact"

    def __init__(self, definition: CanonicalType, known: Mapping[str, Any], source_id: str, data: Any, digest: str) -> None:
        changes = _changes(definition, known, data)
        shown = "; ".join(f"{field}: {was} → {now}" for field, was, now in changes[:_MOST_SHOWN])
        more = f"; and {len(changes) - _MOST_SHOWN} more" if len(changes) > _MOST_SHOWN else ""
        message = f"{source_id} is message {known['id']} already, and is told differently now: {shown}{more}"
        super().__init__(message, code=self.code, remedy=remedy_for(self.code))
        self.known_id = str(known["id"])
        self.digests = (str(known["digest"]), digest)
        self.fields = [field for field, _, _ in changes[:_MOST_KEPT]]
        self.admit_as = source_id_of_change(source_id, digest)


def source_id_of_change(source_id: str, digest: str) -> str:
    """The source id of another document under a known source id: the same for the same document, whenever it is told."""
    return bounded(f"{source_id}~{digest[:24]}")


def digest_of(type_name: str, data: Any) -> str:
    """The digest by which a document is known."""
    return hashlib.sha256(orjson.dumps([type_name, data], option=orjson.OPT_SORT_KEYS)).hexdigest()


def is_other_document(known: Mapping[str, Any], type_name: str, data: Any, digest: str) -> bool:
    """Whether a document says something else than the known message; another major that says the same does not."""
    if known["digest"] == digest:
        return False
    if known["type"] == type_name or known["type"].rpartition(".v")[0] != type_name.rpartition(".v")[0]:
        return True
    before = cast(known["type"], _data(known), 1)
    now = cast(type_name, data, 1)
    return before is None or now is None or digest_of(*before) != digest_of(*now)


def _changes(definition: CanonicalType, known: Mapping[str, Any], data: Any) -> list[tuple[str, str, str]]:
    """(pointer, value before, value now) of what differs; personal data is not shown."""
    found: list[tuple[str, str, str]] = []
    if known["type"] != definition.name:
        found.append(("/type", _shown(known["type"]), _shown(definition.name)))
    private = [pointer.split("/") for pointer in definition.personal]
    for item in differences(_data(known), data):
        hidden = any(_meets(item["field"].split("/"), pointer) for pointer in private)
        was, now = ("(personal data)",) * 2 if hidden else (_shown(item["now"]), _shown(item["then"]))
        found.append((item["field"], was, now))
    return found


def _meets(place: list[str], personal: list[str]) -> bool:
    """Whether a place holds personal data, or is part of it."""
    return all(b in ("*", a) for a, b in zip(place, personal, strict=False))


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _data(known: Mapping[str, Any]) -> Any:
    return orjson.loads(known["body"])["data"]
