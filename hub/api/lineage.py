"""Tag `lineage`."""

from typing import Any

from hub.flow.context import Context
from hub.flow.lineage import lineage
from hub.identity.api_keys import Client


def get_lineage(ctx: Context, client: Client, of: str) -> dict[str, Any]:
    """Everything that happened to what ``of`` names."""
    return lineage(ctx, client.tenant_id, of)
