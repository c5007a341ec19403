"""The canonical types as contracts: schema, digest and example of each; the digest tells when one changed."""

import hashlib
from typing import Any

import orjson

from canonical.examples import EXAMPLES
from canonical.json_schema import standalone
from canonical.registry import TYPES


def contracts() -> list[dict[str, Any]]:
    """Every type in the registry, by name."""
    found = []
    for name, definition in sorted(TYPES.items()):
        schema = standalone(definition)
        digest = hashlib.sha256(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
        found.append({"type": name, "major": definition.major, "schema": schema, "digest": digest, "example": EXAMPLES[name]})
    return found
