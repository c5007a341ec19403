"""What a change of a contract is: rule, severity, place, both sides, and a fingerprint that an approval is bound to.

Severities are those of consumers' trouble: ERR breaks somebody who keeps to the old contract, WARN may, INFO does not.
Source of the taxonomy: oasdiff's checks, Google AIP-180, schema-registry compatibility (RELIABILITY 4.1).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

ERR, WARN, INFO = "ERR", "WARN", "INFO"
SEVERITIES = (ERR, WARN, INFO)

#: What a schema may do: kind → (severity where callers write it, severity where callers read it, what it means).
SCHEMA_KINDS: dict[str, tuple[str, str, str]] = {
    "type-narrowed": (ERR, INFO, "fewer JSON types are allowed"),
    "type-widened": (INFO, ERR, "more JSON types are allowed"),
    "type-changed": (ERR, ERR, "another JSON type is asked for"),
    "became-nullable": (INFO, ERR, "null is allowed"),
    "became-not-nullable": (ERR, INFO, "null is no longer allowed"),
    "enum-value-removed": (ERR, INFO, "a value is no longer in the list"),
    "enum-value-added": (INFO, WARN, "a value was added to the list"),
    "enum-introduced": (ERR, INFO, "only listed values are allowed"),
    "enum-dropped": (INFO, WARN, "values are no longer listed"),
    "bound-tightened": (ERR, INFO, "a bound allows less"),
    "bound-loosened": (INFO, ERR, "a bound allows more"),
    "pattern-introduced": (ERR, INFO, "a pattern must be matched"),
    "pattern-changed": (ERR, WARN, "another pattern must be matched"),
    "pattern-dropped": (INFO, WARN, "no pattern is promised any more"),
    "format-introduced": (ERR, INFO, "a format is asked for"),
    "format-changed": (ERR, ERR, "another format"),
    "format-dropped": (INFO, ERR, "no format is promised any more"),
    "property-removed": (WARN, WARN, "an optional property is gone"),
    "property-forbidden": (ERR, ERR, "a property is gone and unknown ones are refused"),
    "required-property-removed": (WARN, ERR, "a property that was always there is gone"),
    "property-added": (INFO, INFO, "an optional property is new"),
    "required-property-added": (ERR, INFO, "a new property must be there"),
    "property-became-required": (ERR, INFO, "a property must be there now"),
    "property-became-optional": (INFO, ERR, "a property may be absent now"),
    "property-became-read-only": (WARN, INFO, "a property can no longer be written"),
    "property-became-write-only": (INFO, ERR, "a property is no longer answered"),
    "property-became-writable": (INFO, INFO, "a property can be written now"),
    "property-became-readable": (INFO, INFO, "a property is answered now"),
    "property-deprecated": (INFO, INFO, "a property should no longer be used"),
    "additional-forbidden": (ERR, INFO, "unknown properties are refused"),
    "additional-allowed": (INFO, INFO, "unknown properties are allowed"),
    "default-added": (WARN, INFO, "leaving it out means something now"),
    "default-changed": (ERR, INFO, "leaving it out means something else"),
    "default-removed": (ERR, INFO, "leaving it out means nothing any more"),
    "alternative-removed": (ERR, INFO, "one of several shapes is no longer allowed"),
    "alternative-added": (INFO, ERR, "another shape is possible"),
    "alternatives-introduced": (ERR, INFO, "only the listed shapes are allowed"),
    "alternatives-dropped": (INFO, ERR, "any shape is possible"),
    "items-introduced": (ERR, INFO, "the items of a list have a shape now"),
    "items-dropped": (INFO, ERR, "the items of a list may be anything"),
    "discriminator-changed": (ERR, ERR, "another property tells the shapes apart"),
    "discriminator-added": (WARN, INFO, "a property tells the shapes apart"),
    "discriminator-removed": (INFO, ERR, "no property tells the shapes apart any more"),
    "discriminator-value-removed": (ERR, INFO, "a shape's name is gone"),
    "discriminator-value-changed": (ERR, ERR, "a shape's name means another shape"),
    "discriminator-value-added": (INFO, WARN, "a shape has a new name"),
    "negation-changed": (WARN, WARN, "what is not allowed changed"),
}

#: What an operation may do: rule → (severity, what it means).
OPERATION_RULES: dict[str, tuple[str, str]] = {
    "operation-removed": (ERR, "an operation is gone"),
    "operation-removed-after-sunset": (INFO, "an operation is gone after its announced sunset"),
    "operation-added": (INFO, "an operation is new"),
    "operation-id-changed": (WARN, "generated clients call it by another name"),
    "operation-deprecated": (INFO, "an operation should no longer be used, until its sunset"),
    "operation-deprecated-without-sunset": (WARN, "an operation is deprecated and nobody knows until when it works"),
    "operation-reactivated": (INFO, "an operation is no longer deprecated"),
    "sunset-earlier": (ERR, "an operation ends sooner than was announced"),
    "sunset-later": (INFO, "an operation ends later than was announced"),
    "parameter-removed": (WARN, "a parameter is gone; whoever sends it is ignored or refused"),
    "required-parameter-added": (ERR, "a new parameter must be sent"),
    "parameter-added": (INFO, "an optional parameter is new"),
    "parameter-became-required": (ERR, "a parameter must be sent now"),
    "parameter-became-optional": (INFO, "a parameter may be left out now"),
    "parameter-serialization-changed": (ERR, "a parameter is written in another style"),
    "parameter-deprecated": (INFO, "a parameter should no longer be sent"),
    "required-body-added": (ERR, "a body must be sent now"),
    "body-added": (INFO, "a body may be sent now"),
    "body-removed": (ERR, "a body is no longer read"),
    "body-became-required": (ERR, "the body must be sent now"),
    "body-became-optional": (INFO, "the body may be left out now"),
    "request-media-type-removed": (ERR, "a media type is no longer read"),
    "request-media-type-added": (INFO, "another media type is read"),
    "success-response-removed": (ERR, "a successful status is no longer answered"),
    "error-response-removed": (INFO, "an error status is no longer answered"),
    "success-response-added": (WARN, "another successful status may be answered"),
    "error-response-added": (INFO, "another error status may be answered"),
    "response-body-removed": (ERR, "nothing is answered where something was"),
    "response-body-added": (INFO, "something is answered where nothing was"),
    "response-media-type-removed": (ERR, "a media type is no longer answered"),
    "response-media-type-added": (INFO, "another media type can be answered"),
    "required-response-header-removed": (ERR, "a header that was always there is gone"),
    "response-header-removed": (WARN, "a header is gone"),
    "response-header-added": (INFO, "a header is new"),
    "response-header-became-optional": (ERR, "a header may be absent now"),
    "security-introduced": (ERR, "a public operation asks for credentials"),
    "security-dropped": (INFO, "an operation needs no credentials any more"),
    "security-alternative-removed": (ERR, "a way to authenticate is gone"),
    "security-alternative-added": (INFO, "another way to authenticate"),
    "security-scope-added": (ERR, "a scope more is needed"),
    "security-scope-removed": (INFO, "a scope less is needed"),
    "security-scheme-changed": (ERR, "credentials are sent in another way"),
    "server-removed": (WARN, "a base URL is gone"),
    "server-added": (INFO, "another base URL"),
    "webhook-removed": (ERR, "an event is no longer sent"),
    "webhook-added": (INFO, "an event is new"),
}


#: What else others rely on may do: event types and connectors.
OTHER_RULES: dict[str, tuple[str, str]] = {
    "event-type-removed": (ERR, "an event type is gone"),
    "event-type-added": (INFO, "an event type is new"),
    "connector-removed": (ERR, "a connector is gone"),
    "connector-added": (INFO, "a connector is new"),
    "connector-read-removed": (ERR, "a connector no longer reads something"),
    "connector-read-added": (INFO, "a connector reads something more"),
    "connector-write-removed": (ERR, "a connector no longer writes a type"),
    "connector-write-added": (INFO, "a connector writes another type"),
    "connector-guarantee-lowered": (ERR, "a write guarantees less"),
    "connector-guarantee-raised": (INFO, "a write guarantees more"),
    "connector-host-added": (WARN, "a connector talks to another host"),
    "connector-credential-added": (ERR, "a connector asks for another credential"),
    "connector-setting-required": (ERR, "a connector cannot do without a setting any more"),
    "connector-setting-removed": (WARN, "a connector ignores, or refuses, a setting"),
    "connector-canonical-changed": (WARN, "a connector speaks another major of the language"),
}


@dataclass(frozen=True)
class Change:
    """One difference. ``place`` is where it is in words that stay the same when the document is re-ordered or edited elsewhere.

    ``pointer`` leads into the newer document, or into the older one where something was removed; ``before`` and ``after`` are
    the JSON values of both sides (None: absent). ``operations``: whom it concerns, as ``GET /v1/messages``.
    """

    rule: str
    severity: str
    place: str
    pointer: str
    before: Any
    after: Any
    operations: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits, the same as long as the same thing changes in the same way at the same place."""
        said = orjson.dumps([self.rule, self.place, self.before, self.after], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(said).hexdigest()[:12]

    @property
    def text(self) -> str:
        """One line for people."""
        return f"{meaning(self.rule)}: {self.place}{_sides(self.before, self.after)}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint, "severity": self.severity, "rule": self.rule, "place": self.place,
            "pointer": self.pointer, "before": self.before, "after": self.after, "operations": list(self.operations),
            "text": self.text,
        }  # fmt: skip


def _sides(before: Any, after: Any) -> str:
    def shown(value: Any) -> str:
        text = orjson.dumps(value).decode()
        return text if len(text) <= 60 else text[:57] + "…"

    if before is None and after is None:
        return ""
    if before is None or after is None:
        return f" ({shown(after if before is None else before)})"
    return f" ({shown(before)} → {shown(after)})"


def _named() -> dict[str, tuple[str, str]]:
    return OPERATION_RULES | OTHER_RULES


def meaning(rule: str) -> str:
    """What a rule says happened."""
    named = _named().get(rule)
    return named[1] if named else SCHEMA_KINDS[rule.partition("-")[2]][2]


def severity(rule: str) -> str:
    """A rule's severity; schema rules are named ``request-…`` or ``response-…``."""
    if named := _named().get(rule):
        return named[0]
    direction, _, kind = rule.partition("-")
    return SCHEMA_KINDS[kind][0 if direction == "request" else 1]


def all_rules() -> Mapping[str, tuple[str, str]]:
    """Every rule id with its severity and meaning."""
    found = _named()
    for kind, (written, read, text) in SCHEMA_KINDS.items():
        found |= {f"request-{kind}": (written, text), f"response-{kind}": (read, text)}
    return found
