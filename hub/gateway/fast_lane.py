"""The fast lane: `POST /v1/events` without a framework, committed in groups.

It may only accept. Its validators are compiled from the contract; whatever it does not accept (no key, a wrong key, a bad
field, a key used before) goes unchanged to Connexion, which alone words refusals. So the two cannot disagree about an error,
and a differential test holds them to the same answers for what is accepted.
"""

from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import orjson

from hub.api.app import draft4, request_fingerprint
from hub.api.events import answer
from hub.contracts.api_versions import downgrade, version_of
from hub.contracts.document import document, operations, short_name
from hub.errors import HubError
from hub.flow.context import Context
from hub.flow.ingest import accepted, event_work
from hub.flow.route import Admitted
from hub.identity.api_keys import Client
from hub.store import UnitOfWork
from hub.telemetry import incoming

#: Where events are published → the operation there.
PATHS = {"/v1/events": "hub.api.events.publish", "/v2/events": "v2.hub.api.events.publish"}
_NAME = "events.publish"


class _DeclineError(Exception):
    """Roll back what this request wrote and let Connexion answer it."""


class FastLane:
    """Compiled from the contract once per hub, for one of `PATHS`."""

    def __init__(self, ctx: Context, path: str) -> None:
        self._ctx, self._path = ctx, path
        declared = operations()[PATHS[path]]
        schema = declared["requestBody"]["content"]["application/json"]["schema"]
        self._body = jsonschema_rs.validator_for({**draft4(schema), "components": draft4(document()["components"])})
        self._scope: str = declared["x-scope"]
        self._name = short_name(PATHS[path])
        self._version, _ = version_of(PATHS[path])

    async def accept(self, headers: Mapping[str, str], body: bytes) -> bytes | None:
        """The 202's body once the event is committed; None: let Connexion answer. ``body`` has passed `strict_json`."""
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        key = headers.get("idempotency-key")
        if scheme.lower() != "bearer" or not token or (key is not None and not 1 <= len(key) <= 255):
            return None
        envelope = orjson.loads(body)
        if not self._body.is_valid(envelope):
            return None
        traceparent = incoming(headers) if "traceparent" in headers else ""
        try:
            found = await self._ctx.commit(lambda uow: self._work(uow, token, key, envelope, traceparent, body))
        except _DeclineError:
            return None
        if found is None:
            return None
        client, admitted, content = found
        accepted(self._ctx, client, admitted)
        return content

    def _work(
        self, uow: UnitOfWork, token: str, key: str | None, envelope: Any, traceparent: str, body: bytes
    ) -> tuple[Client, Admitted, bytes] | None:
        ctx = self._ctx
        client = ctx.clients.of(uow, token)
        if client is None or self._scope not in client.scopes:
            return None
        if key is not None and uow.idempotency.known(client.tenant_id, self._name, key):
            return None
        try:
            result = event_work(ctx, client, envelope, traceparent)(uow)
        except HubError as error:
            raise _DeclineError from error
        if isinstance(result, HubError):
            return None
        ctx.used(uow, client, self._name)
        content = orjson.dumps(downgrade(_NAME, answer(result), self._version))
        if key is not None:
            fingerprint = request_fingerprint(self._path, body)
            if uow.idempotency.open(client.tenant_id, self._name, key, fingerprint, ctx.clock()) is not None:
                raise _DeclineError  # another request took the key between our look and now
            uow.idempotency.close(client.tenant_id, self._name, key, 202, content)
        return client, result, content
