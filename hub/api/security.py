"""API keys at the door: `x-bearerInfoFunc` of the contract. The gateway puts the hub's context into the ASGI scope."""

from typing import Any

import connexion

from hub.errors import HubError
from hub.identity.api_keys import Client, authenticate


def bearer(token: str, request: Any) -> dict[str, Any] | None:
    """Who a key belongs to; None refuses it."""
    client = authenticate(request.scope["hub"].store, token)
    return None if client is None else {"client": client, "sub": client.name}


def current_client() -> Client:
    """The client of the request in hand; raises `unauthorized` if there is none."""
    info = connexion.context.context.get("token_info")
    if not info:
        raise HubError("unauthorized")
    client: Client = info["client"]
    return client
