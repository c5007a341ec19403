"""The fast lane: `POST /v1/events` and `/v1/events/batch` without a framework, committed in groups.

It may only accept. Its validators are compiled from the contract; whatever it does not accept (no key, a wrong key, a bad
field, a key used before) goes unchanged to Connexion, which alone words refusals. So the two cannot disagree about an error,
and a differential test holds them to the same answers for what is accepted. A batch is accepted as a whole: what is wrong with
one of its events is said beside the others, by the same function as behind Connexion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
import orjson

from hub.api.app import draft4, request_fingerprint
from hub.api.events import answer, batch_answer
from hub.contracts.api_versions import downgrade, version_of
from hub.contracts.document import document, operations, short_name
from hub.errors import HubError
from hub.flow.context import Context
from hub.flow.ingest import Event, accepted, check_envelope, take_events
from hub.flow.route import Admitted
from hub.identity.api_keys import Client
from hub.store import UnitOfWork
from hub.telemetry import incoming

#: Where events are published → the operation there.
PATHS = {
    f"/v{version}/events{path}": f"{prefix}hub.api.events.{name}"
    for version, prefix in ((1, ""), (2, "v2."))
    for path, name in (("", "publish"), ("/batch", "publish_batch"))
}


class _DeclineError(Exception):
    """Roll back what this request wrote and let Connexion answer it."""


@dataclass(frozen=True)
class _Asked:
    """A request that is in order, as far as that can be told without the store; of a batch, with what is wrong in it."""

    lane: "FastLane"
    token: str
    key: str | None
    envelopes: Sequence[Any]
    traceparent: str
    body: bytes


class FastLane:
    """Compiled from the contract once per hub, for one of `PATHS`."""

    def __init__(self, ctx: Context, path: str) -> None:
        self.ctx, self.path = ctx, path
        declared = operations()[PATHS[path]]
        schema = declared["requestBody"]["content"]["application/json"]["schema"]
        self._body = jsonschema_rs.validator_for({**draft4(schema), "components": draft4(document()["components"])})
        self.scope: str = declared["x-scope"]
        self.name = short_name(PATHS[path])
        self.version, handler = version_of(PATHS[path])
        self._shown_as, self._many = short_name(handler), handler.endswith("_batch")
        self.status = 200 if self._many else 202

    async def accept(self, headers: Mapping[str, str], body: bytes, value: Any) -> bytes | None:
        """The answer's body once the events are committed; None: let Connexion answer. ``value``: what ``body`` says."""
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        key = headers.get("idempotency-key")
        if scheme.lower() != "bearer" or not token or (key is not None and not 1 <= len(key) <= 255):
            return None
        if not self._body.is_valid(value):
            return None
        envelopes = [_checked(envelope) for envelope in (value["events"] if self._many else [value])]
        if not self._many and isinstance(envelopes[0], HubError):
            return None
        traceparent = incoming(headers) if "traceparent" in headers else ""
        try:
            asked = _Asked(self, token, key, envelopes, traceparent, body)
            found = await self.ctx.commit_each(_take, asked, weight=len(envelopes))
        except _DeclineError:
            return None
        if found is None:
            return None
        client, results, content = found
        for result in results:
            if isinstance(result, Admitted):
                accepted(self.ctx, client, result)
        return content

    def answer(self, results: Sequence[Admitted | HubError]) -> bytes | None:
        """What the contract says about them; None if it is a refusal, which is not for this lane to word."""
        shown: Any
        if self._many:
            shown = batch_answer(results)
        elif isinstance(results[0], HubError):
            return None
        else:
            shown = answer(results[0])
        return orjson.dumps(downgrade(self._shown_as, shown, self.version))


def _checked(envelope: Any) -> Any:
    """The envelope, or what is wrong with it."""
    try:
        check_envelope(envelope)
    except HubError as error:
        return error
    return envelope


_Taken = tuple[Client, Sequence[Admitted | HubError], bytes]


def _take(uow: UnitOfWork, asked: Sequence[_Asked]) -> list[_Taken | None]:
    """What is committed together: whose key it is, whether it was used before, the events, the answer under the key."""
    ctx = asked[0].lane.ctx
    clients = [ctx.clients.of(uow, item.token) for item in asked]
    used = uow.idempotency.known([
        (client.tenant_id, item.lane.name, item.key)
        for item, client in zip(asked, clients, strict=True) if client is not None and item.key is not None
    ])  # fmt: skip
    going: list[tuple[int, _Asked, Client]] = []
    for place, (item, client) in enumerate(zip(asked, clients, strict=True)):
        if client is None or item.lane.scope not in client.scopes:
            continue
        if item.key is not None:
            if (of := (client.tenant_id, item.lane.name, item.key)) in used:
                continue
            used.add(of)  # the same key twice in one group: the second has to wait for the first
        going.append((place, item, client))
    events = [
        Event(ctx, client, envelope, item.traceparent)
        for _, item, client in going for envelope in item.envelopes if not isinstance(envelope, HubError)
    ]  # fmt: skip
    try:
        taken = iter(take_events(uow, events) if events else [])
    except HubError as error:
        raise _DeclineError from error
    found: list[_Taken | None] = [None] * len(asked)
    answers = []
    for place, item, client in going:
        results = [envelope if isinstance(envelope, HubError) else next(taken) for envelope in item.envelopes]
        content = item.lane.answer(results)
        if content is None:
            continue
        ctx.used(uow, client, item.lane.name)
        found[place] = (client, results, content)
        if item.key is not None:
            answers.append({
                "tenant_id": client.tenant_id, "operation": item.lane.name, "key": item.key,
                "fingerprint": request_fingerprint(item.lane.path, item.body), "status": item.lane.status, "answer": content,
                "created_at": ctx.clock(),
            })  # fmt: skip
    if not uow.idempotency.answered(answers):
        raise _DeclineError  # another request took a key between our look and now
    return found
