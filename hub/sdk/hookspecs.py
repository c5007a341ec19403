"""The hooks a plugin may implement. One to start; a new hook ships only with a plugin that needs it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from hub.sdk.connector import Connector

PROJECT = "hub"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def hub_connectors() -> Sequence["type[Connector]"]:  # type: ignore[empty-body]
    """Returns the connector classes this plugin carries."""
