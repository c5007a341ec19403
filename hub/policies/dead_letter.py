"""Dead letter policy: when trying ends, and what a person is told: a cause with a stable code, and the remedy."""

import random
from collections.abc import Mapping

from hub.settings import Settings

#: Remedies by cause code, where the connector did not give a better one.
REMEDIES: Mapping[str, str] = {
    "rejected_by_target": "Correct the document (correct and replay) or the target's data, then replay.",
    "unknown_sku": "Create the SKU in the target or correct it in the document, then replay.",
    "attempts_exhausted": "Read the attempts; once the target works again, replay.",
    "connector_bug": "Report it to the connector's maintainers with the trace id; replay after an upgrade.",
    "version_refused": "Install a connector version that speaks this major version, then replay.",
    "undecidable": "The target can neither dedupe nor be searched: look there yourself, then replay or discard.",
    "outcome_unknown": "It may have been applied: look in the target. Once look-ups work, replay (it looks first), or discard.",
    "outcome_not_stored": "It may have been applied: look in the target. Replay looks first; discard if it is there.",
    "request_invalid": "Correct the field that the cause names (correct and replay), or the map or connector that makes it; "
    "nothing was sent.",
    "map_failed": "Correct the map in the integration file, apply it, then replay.",
    "untranslatable": "Correct the input and replay, or discard it.",
    "unreadable_record": "Correct the record in its system: it is read again. Or correct its body and replay, or discard it.",
    "malformed_json": "Correct the input and replay, or discard it.",
    "invalid_document": "Correct the input or the connector's map, then replay.",
    "partly_quarantined": "Decide about each quarantined document of this input; the others are admitted.",
    "behind_quarantined": "Correct and replay the earlier document of the same input first, then replay this one.",
    "changed_fact": "Compare both. Discard this one to keep the known fact; replay it to admit it as a correction, which is "
    "a message of its own, delivered beside the first one.",
    "input_forgotten": "Correct it with a document of your own (body: input, document), or discard it.",
    "egress_refused": "Allow the host in HUB_EGRESS_PRIVATE_HOSTS or correct the connection's base_url, then replay.",
}


def remedy_for(code: str, given: str = "") -> str:
    """What to do about ``code``; never empty."""
    return given or REMEDIES.get(code, "Read the attempts, mend the cause, then replay or discard.")


def backoff_seconds(settings: Settings, attempt: int, random_source: random.Random) -> float:
    """Exponential with full jitter in its upper half, capped. ``attempt`` counts from 1."""
    ceiling = min(settings.retry_cap_seconds, settings.retry_base_seconds * 2.0 ** min(attempt - 1, 40))
    return ceiling / 2 + random_source.uniform(0, ceiling / 2)
