"""Webhook subscriptions: what a connector wants to be told is asked for, looked after and mended by the hub.

Systems drop subscriptions (after failures, on expiry, when somebody tidies up) and say nothing. So the hub looks at what a
system lists, at a cadence: what is missing is made, what ends soon renewed, what is of no use ended; where one was gone, the
streams are read at once, for what was not told meanwhile.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from hub.errors import HubError, NotFoundError, ThrottledError
from hub.flow.budget import ReadBoundary
from hub.flow.context import Context
from hub.flow.ingest import webhook_url
from hub.identity.connections import pause
from hub.policies import audit, redaction
from hub.runtime.performer import Run
from hub.runtime.session import Session
from hub.sdk.errors import AuthenticationError, ConnectorError
from hub.sdk.steps import Request, Steps, Subscription
from hub.store import StoreUnavailableError, UnitOfWork
from hub.store.rows import Row
from hub.sync.runs import moment

log = logging.getLogger(__name__)
T = TypeVar("T")
#: What did not work is tried again after this long at the latest.
_AGAIN = timedelta(minutes=5)


class _Boundary(ReadBoundary):
    """Requests about subscriptions: they take their slots like reads, and may change what the system sends us."""

    async def before_effect(self, request: Request) -> None:
        await self.before_read(request)


@dataclass(frozen=True)
class _Seen:
    """What the system lists for us: of each wanted topic the one that is good, and what is of no use."""

    good: Mapping[str, Subscription]
    useless: Sequence[Subscription]


class Subscriber:
    """Looks after the subscriptions of every connection that some flow takes its input from."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._every = timedelta(seconds=ctx.settings.subscription_seconds)

    def run_due(self) -> int:
        """Look at what is due; returns how many connections were."""
        due, now = [], self._ctx.clock()
        with self._ctx.store.read() as uow:
            for tenant_id in uow.tenants.ids():
                known: dict[str, list[Row]] = {}
                for row in uow.subscriptions.of(tenant_id):
                    known.setdefault(row["connection_id"], []).append(row)
                for connection_id, topics in self._wanted(uow, tenant_id).items():
                    rows = known.get(connection_id, [])
                    missing = {row["topic"] for row in rows} != set(topics)
                    if missing or any(row["due_at"] <= now for row in rows):
                        due.append((tenant_id, connection_id))
        for tenant_id, connection_id in due:
            try:
                self.look(tenant_id, connection_id)
            except StoreUnavailableError:
                raise
            except Exception as error:  # a connector that cannot even be made is nobody else's business
                log.warning("subscriptions of %s/%s cannot be looked at: %s", tenant_id, connection_id, error)
        return len(due)

    def _wanted(self, uow: UnitOfWork, tenant_id: str) -> dict[str, Sequence[str]]:
        """By active connection, the topics to be told: none if no flow takes its input from it."""
        sources = {flow.source for entry in self._ctx.routes.in_force(uow, tenant_id) for _, flow in entry.flows()}
        found: dict[str, Sequence[str]] = {}
        for row in uow.connections.all(tenant_id):
            connector = self._ctx.plugins.connectors.get(row["connector"])
            declared = connector.manifest.data["webhooks"] if connector else None
            if row["state"] == "active" and declared and declared["topics"]:
                found[row["connection_id"]] = declared["topics"] if row["connection_id"] in sources else ()
        return found

    def look(self, tenant_id: str, connection_id: str) -> list[Row]:
        """Compare with what the system lists, mend, look again; returns the rows. Raises NotFoundError."""
        ctx = self._ctx
        with ctx.store.read() as uow:
            wanted = self._wanted(uow, tenant_id)
            before = {row["topic"]: row for row in uow.subscriptions.of(tenant_id, connection_id)}
            if uow.connections.get(tenant_id, connection_id) is None:
                raise NotFoundError("connection", connection_id)
            if connection_id not in wanted:  # it is paused, or its connector asks for no webhooks by itself
                return list(before.values())
            session = ctx.sessions.get(uow, tenant_id, connection_id)
        topics, url = wanted[connection_id], webhook_url(ctx, tenant_id, connection_id)
        if not topics and not before:
            return []
        refused: dict[str, str] = {}
        seen = _Seen({}, ())
        if topics and not ctx.settings.public_url:
            refused = dict.fromkeys(topics, f"HUB_PUBLIC_URL is not set: nobody outside reaches {url}")
        else:
            try:
                seen, refused = self._mend(session, topics, url)
            except AuthenticationError as error:
                refused = dict.fromkeys(topics or before, error.message)
                with ctx.store.begin() as uow:
                    pause(uow, session, error.message, ctx.clock(), "subscriptions")
            except StoreUnavailableError:
                raise
            except Exception as error:  # whatever a system or its connector does: it is told, and tried again
                refused = dict.fromkeys(topics or before, _why(error))
        return self._save(session, topics, url, before, seen, refused)

    def _mend(self, session: Session, topics: Sequence[str], url: str) -> tuple[_Seen, dict[str, str]]:
        """(what there is afterwards, what was refused)."""
        seen, refused, changed = self._listed(session, topics, url), dict[str, str](), False
        for old in [item for item in seen.useless if item.url == url]:  # it takes the place of the one to be made
            self._end(session, old)
            changed = True
        for topic in [topic for topic in topics if topic not in seen.good]:
            try:
                self._perform(session, session.connector.subscribe(topic, url))
            except AuthenticationError:
                raise
            except ConnectorError as error:
                refused[topic] = error.message
            changed = True
        for old in [item for item in seen.useless if item.url != url]:
            self._end(session, old)
            changed = True
        return (self._listed(session, topics, url) if changed else seen), refused

    def _end(self, session: Session, old: Subscription) -> None:
        """What cannot be ended does no harm: it is tried again the next time."""
        try:
            self._perform(session, session.connector.unsubscribe(old.id))
        except AuthenticationError:
            raise
        except ConnectorError as error:
            log.warning("subscription %s of %s/%s cannot be ended: %s", old.id, session.tenant_id, session.connection_id,
                        redaction.text(error.message, session.secrets))  # fmt: skip

    def _listed(self, session: Session, topics: Sequence[str], url: str) -> _Seen:
        """Ours are known by the URL's path: the hub's host may have been another one."""
        good: dict[str, Subscription] = {}
        useless = []
        soon = self._ctx.clock() + 2 * self._every
        for item in self._perform(session, session.connector.subscriptions()):
            if urlsplit(item.url).path != urlsplit(url).path:
                continue
            ends = moment(item.expires_at)
            lasts = ends is None or ends > soon
            if item.topic in topics and item.topic not in good and item.url == url and item.active and lasts:
                good[item.topic] = item
            else:
                useless.append(item)
        return _Seen(good, useless)

    def _perform(self, session: Session, steps: Steps[T]) -> T:
        loop = self._ctx.loop
        boundary = _Boundary(self._ctx, session)
        return loop.submit(loop.performer.perform(steps, session, boundary, Run())).result(120)

    def _save(
        self, session: Session, topics: Sequence[str], url: str, before: Mapping[str, Row], seen: _Seen,
        refused: Mapping[str, str],
    ) -> list[Row]:  # fmt: skip
        ctx, now = self._ctx, self._ctx.clock()
        tenant_id, connection_id = session.tenant_id, session.connection_id
        rows = [self._row(session, topic, url, before.get(topic), seen.good.get(topic), refused.get(topic, ""), now)
                for topic in topics]  # fmt: skip
        gone = [] if refused and not topics else [topic for topic in before if topic not in topics]
        why = redaction.text(next(iter(refused.values()), ""), session.secrets)
        with ctx.store.begin() as uow:
            uow.subscriptions.put(rows)
            uow.subscriptions.forget(tenant_id, connection_id, gone)
            for action, found in self._told(before, rows, gone).items():
                audit.record(uow, tenant_id, now, "subscriptions", f"subscription.{action}", f"connection/{connection_id}",
                             topics=found, url=url, detail=why)  # fmt: skip
                log.log(
                    logging.INFO if action == "created" else logging.WARNING,
                    "webhook subscriptions of %s/%s %s: %s %s",
                    tenant_id,
                    connection_id,
                    action,
                    ", ".join(found),
                    why,
                )
                if action == "repaired":
                    uow.cursors.hurry(tenant_id, connection_id, now)
        return rows

    @staticmethod
    def _told(before: Mapping[str, Row], rows: Sequence[Row], gone: Sequence[str]) -> dict[str, list[str]]:
        """What is worth telling: only what changed."""
        found: dict[str, list[str]] = {"ended": list(gone)}
        for row in rows:
            old = before.get(row["topic"])
            if row["state"] != "active":
                if old is None or (old["state"], old["detail"]) != (row["state"], row["detail"]):
                    found.setdefault("refused", []).append(row["topic"])
            elif old is None or (old["state"] != "active" and not old["external_id"]):
                found.setdefault("created", []).append(row["topic"])
            elif old["external_id"] != row["external_id"]:
                found.setdefault("repaired", []).append(row["topic"])
        return {action: topics for action, topics in found.items() if topics}

    def _row(
        self, session: Session, topic: str, url: str, old: Row | None, found: Subscription | None, refused: str, now: datetime
    ) -> Row:  # fmt: skip
        known: dict[str, Any] = dict(old) if old else {"external_id": "", "repairs": 0, "since": now}
        another = found is not None and found.id != known["external_id"]
        detail = refused or ("" if found else "the system took it and does not list it")
        return {
            "tenant_id": session.tenant_id, "connection_id": session.connection_id, "topic": topic, "url": url[:500],
            "external_id": found.id[:255] if found else known["external_id"], "state": "active" if found else "refused",
            "detail": "" if found else redaction.text(detail, session.secrets)[:500],
            "repairs": known["repairs"] + (1 if another and known["external_id"] else 0),
            "expires_at": found.expires_at[:40] if found else "", "since": now if another else known["since"],
            "checked_at": now, "due_at": now + (self._every if found else min(self._every, _AGAIN)),
        }  # fmt: skip


def _why(error: Exception) -> str:
    if isinstance(error, ConnectorError):
        return error.message
    if isinstance(error, HubError):
        return error.detail
    return "the connection's budget is used up" if isinstance(error, ThrottledError) else f"{type(error).__name__}: {error}"
