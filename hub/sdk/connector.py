"""`Connector`: what a plugin subclasses. Declared behaviour comes from connector.yaml, Python overrides what YAML cannot say.

The hub makes one instance per connection and calls its methods; none performs I/O (see `steps`). Every method must be
safe to run again from its beginning: the hub may drop a generator at any yield.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

from hub.sdk.errors import ConnectorError, ManifestError, RejectedByTargetError, UntranslatableError
from hub.sdk.manifest import Manifest
from hub.sdk.mapping import evaluate, render
from hub.sdk.paging import asked as asked_page
from hub.sdk.paging import furthest, listed, next_page, unreadable, values
from hub.sdk.steps import (
    AccountField,
    Change,
    Document,
    Gone,
    Ignored,
    Page,
    Refused,
    Request,
    Response,
    Skipped,
    Steps,
    Subscription,
    Webhook,
    Written,
)

JSON = Mapping[str, Any]


class Connector:
    """One system's API. Set ``manifest``; override methods where the declaration is not enough.

    Attributes:
        manifest: the checked connector.yaml.
        settings: the connection's settings (never credentials), defaults filled in.
    """

    manifest: ClassVar[Manifest]

    def __init__(self, settings: JSON) -> None:
        declared = self.manifest.data["settings"]
        defaults = {name: value["default"] for name, value in declared.items() if value["default"] is not None}
        self.settings: JSON = {**defaults, **settings}

    # -- inbound ------------------------------------------------------------------------------------------------

    def receive(self, webhook: Webhook) -> Iterable[Change | Gone | Ignored | Refused]:
        """What a verified webhook says happened. Pure: no requests. Raise UntranslatableError for what makes no sense."""
        raise UntranslatableError(f"{self.manifest.connector} declares no webhooks")

    def read(self, object_name: str, cursor: JSON) -> Steps[Page]:
        """One page of ``object_name`` since ``cursor`` ({} the first time). Bounds may be inclusive: repeats are deduped."""
        declared = self.manifest.objects[object_name]["read"]
        if declared is None:
            raise ManifestError(f"{self.manifest.connector}: {object_name} declares no read")
        paging = declared["paging"]
        since, page = cursor.get("since", declared["since"]), cursor.get("page")
        asked = {"since": _earlier(since, declared["overlap_seconds"]), "limit": paging["limit"], "settings": self.settings}
        response, records, path = yield from _listed_page(declared, asked, page)
        if paging["type"] == "version":
            newest = evaluate(paging["token"], response.data())
            if newest is None and records:
                raise unreadable(f"the answer has no version at {paging['token']!r}, by which the next page is asked")
            return Page(records, {"since": since if newest is None else newest}, more=bool(records) and newest != since)
        following, is_unsure = next_page(declared, response, records, page, path)
        if following is not None and is_unsure:
            try:
                response, further, path = yield from _listed_page(declared, asked, following)
            except RejectedByTargetError:
                following = None  # there is no page after one that was not full
            else:
                following, _ = next_page(declared, response, further, following, path)
                records = [*records, *further]
        high = cursor.get("high", since)
        if declared["incremental"]:
            high = furthest(values(declared["incremental"], records), high, response, declared["since"])
        if following is None:
            return Page(records, {"since": high}, more=False)
        return Page(records, {"since": since, "page": following, "high": high}, more=True)

    def change_of(self, object_name: str, record: JSON) -> Change | Gone:
        """The change a read record stands for (`Gone`: it was deleted); its ``ref`` is the id, as the manifest declares it."""
        ref = evaluate(self.manifest.objects[object_name]["read"]["ref"], record)
        if not ref:
            raise UntranslatableError(f"{object_name}: record without an id", code="record_without_id")
        return Change(object_name, str(ref), record)

    def interpret(self, raw: Webhook, object_name: str = "") -> Steps[list[Document | Gone | Ignored | Refused]]:
        """Canonical documents of raw input: of a webhook, or (with ``object_name``) of one record that `read` returned."""
        changes = [self.change_of(object_name, raw.json())] if object_name else self.receive(raw)
        documents: list[Document | Gone | Ignored | Refused] = []
        for change in changes:
            if isinstance(change, Change):
                for item in (yield from self.translate(change)):
                    if isinstance(item, Document):
                        item = replace(item, object=change.object, ref=change.ref)
                    documents.append(item)
            else:
                documents.append(change)
        return documents

    def translate(self, change: Change) -> Steps[Sequence[Document | Gone | Ignored | Refused]]:
        """Canonical documents of a change; fetches the record first if the change is thin. `Gone`: there is no record."""
        record = change.record
        if record is None:
            record = yield from self.fetch(change)
        return list(self.to_canonical(change.object, record))

    def fetch(self, change: Change) -> Steps[JSON]:
        """The full record of a thin change, by the manifest's ``fetch``."""
        declared = self.manifest.objects[change.object]
        if declared["fetch"] is None:
            raise UntranslatableError(f"{change.object} {change.ref}: thin change and no fetch declared")
        context = {"ref": change.ref, "detail": change.detail, "settings": self.settings}
        response = yield _request(declared["fetch"], context)
        record: JSON = evaluate(declared["record"], response.data())
        return record

    def to_canonical(self, object_name: str, record: JSON) -> Iterable[Document | Ignored | Refused]:
        """Canonical documents of a full record, by the manifest's ``map``. Pure."""
        declared = self.manifest.objects[object_name]["map"]
        if declared is None:
            raise UntranslatableError(f"{object_name}: no map declared", code="no_map")
        context = {"record": record, "settings": self.settings}
        yield Document(declared["type"], str(render(declared["source_id"], context)), render(declared["data"], context))

    # -- outbound -----------------------------------------------------------------------------------------------

    def write(self, type_name: str, document: JSON, key: str) -> Steps[Written | Skipped]:
        """Apply ``document`` at the target under our reference ``key`` (at most 40 ASCII characters, stable for ever).

        Calls `write_<entity>_<event>` if the class has it, else the manifest's ``request``.
        """
        method = getattr(self, f"write_{_identifier(type_name)}", None)
        if method is not None:
            result: Written | Skipped = yield from method(document, key)
            return result
        declared = self.manifest.writes[type_name]
        response = yield _request(declared["request"], self._outbound(document, key))
        return Written(str(self._id(declared["external_id"], response)))

    def write_many(
        self, type_name: str, items: Sequence[tuple[JSON, str]]
    ) -> Steps[Sequence[Written | Skipped | ConnectorError]]:
        """Apply several (document, key) pairs in one go, where the manifest declares a ``batch``.

        Calls `write_many_<entity>_<event>`; returns one result per item, in their order: a ConnectorError is that item's
        failure and nobody else's. What raises instead is the failure of all.
        """
        results: Sequence[Written | Skipped | ConnectorError]
        results = yield from getattr(self, f"write_many_{_identifier(type_name)}")(items)
        return results

    def find(self, type_name: str, document: JSON, key: str) -> Steps[str | None]:
        """The target's id of what was written under ``key``, or None if it is certainly not there.

        Calls `find_<entity>_<event>` if the class has it, else the manifest's ``find``.
        """
        method = getattr(self, f"find_{_identifier(type_name)}", None)
        if method is not None:
            result: str | None = yield from method(document, key)
            return result
        declared = self.manifest.writes[type_name]["find"]
        response = yield _request(declared["request"], self._outbound(document, key))
        found = evaluate(declared["external_id"], response.data())
        return None if found is None else str(found)

    def _outbound(self, document: JSON, key: str) -> JSON:
        return {"document": document, "key": key, "settings": self.settings}

    def _id(self, expression: str, response: Response) -> Any:
        found = evaluate(expression, response.data())
        if found is None:
            raise ConnectorError(f"the answer carries no {expression!r}", code="unreadable_answer")
        return found

    # -- what keeps webhooks coming: the hub asks for the manifest's `topics` and looks whether they are there -------

    def subscriptions(self) -> Steps[Sequence[Subscription]]:
        """Every webhook subscription of this account, by the manifest's ``subscriptions``: ours and others'."""
        declared = self._subscribing("list")
        response = yield _request(declared["request"], {"settings": self.settings})
        found = []
        for record in listed(response, declared["records"]):
            told, topic, url = (str(evaluate(declared[name], record) or "") for name in ("id", "topic", "url"))
            active = bool(evaluate(declared["active"], record)) if declared["active"] else True
            ends = str(evaluate(declared["expires_at"], record) or "") if declared["expires_at"] else ""
            found.append(Subscription(told, topic, url, active, ends))
        return found

    def subscribe(self, topic: str, url: str) -> Steps[None]:
        """Have ``topic`` sent to ``url``. The hub lists again to see whether it took."""
        yield _request(self._subscribing("create"), {"topic": topic, "url": url, "settings": self.settings})

    def unsubscribe(self, subscription_id: str) -> Steps[None]:
        """Have a subscription of ours end; one that is gone already is no error (``expect: [404]``)."""
        yield _request(self._subscribing("delete"), {"id": subscription_id, "settings": self.settings})

    def _subscribing(self, name: str) -> JSON:
        declared = (self.manifest.data["webhooks"] or {}).get("subscriptions")
        if declared is None:
            raise ConnectorError(f"{self.manifest.connector} does not subscribe to webhooks", code="no_subscriptions")
        found: JSON = declared[name]
        return found

    # -- the connection itself ----------------------------------------------------------------------------------

    def check(self) -> Steps[str]:
        """Whether the credentials work, by the manifest's ``check``; returns one line for people."""
        declared = self.manifest.data["check"]
        if declared is None:
            return "nothing to check: the manifest declares no check"
        response = yield _request(declared["request"], {"settings": self.settings})
        return f"answered {response.status}"

    def describe(self) -> Steps[Sequence[AccountField]]:
        """The account's fields, its own and custom ones, by the manifest's ``describe``."""
        declared = self.manifest.data["describe"]
        if declared is None:
            raise ConnectorError(f"{self.manifest.connector} does not describe its fields", code="no_describe")
        response = yield _request(declared["request"], {"settings": self.settings})
        found = []
        for record in listed(response, declared["records"]):
            context = {"record": record, "settings": self.settings}
            said = {key: render(declared[key], context) for key in ("object", "name", "type", "label", "required", "custom")}
            on, name, kind, label = (str(said[key] or "") for key in ("object", "name", "type", "label"))
            found.append(AccountField(on, name, kind, label, bool(said["required"]), bool(said["custom"])))
        return found

    @property
    def describes(self) -> bool:
        """Whether `describe` has anything to say."""
        return self.manifest.data["describe"] is not None or type(self).describe is not Connector.describe

    @classmethod
    def disagreements(cls) -> list[str]:
        """Where code and manifest disagree; a connector with any is not loaded."""
        manifest, problems = cls.manifest, []
        for type_name, declared in manifest.writes.items():
            name = _identifier(type_name)
            if declared["request"] is None and not hasattr(cls, f"write_{name}"):
                problems.append(f"writes {type_name}: neither a request in the manifest nor write_{name}()")
            if declared["idempotency"] == "find" and declared["find"] is None and not hasattr(cls, f"find_{name}"):
                problems.append(f"writes {type_name}: idempotency find, but neither find: nor find_{name}()")
            if declared["batch"] > 1 and not hasattr(cls, f"write_many_{name}"):
                problems.append(f"writes {type_name}: batch {declared['batch']}, but no write_many_{name}()")
        written = {f"write_{_identifier(name)}" for name in manifest.writes} | {
            f"write_many_{_identifier(name)}" for name in manifest.writes
        } | {"write_many"}  # fmt: skip
        problems += [
            f"{name}() has no entry under writes in the manifest"
            for name in dir(cls)
            if name.startswith("write_") and name not in written
        ]
        webhooks = manifest.data["webhooks"]
        if webhooks and cls.receive is Connector.receive:
            problems.append("the manifest declares webhooks, the class has no receive()")
        if webhooks and webhooks["topics"] and not webhooks["subscriptions"]:
            problems += [
                f"webhooks.topics, but neither subscriptions: nor {name}()"
                for name in ("subscriptions", "subscribe", "unsubscribe")
                if getattr(cls, name) is getattr(Connector, name)
            ]
        return problems


def _listed_page(declared: JSON, asked: JSON, page: Any) -> Steps[tuple[Response, list[Any], str]]:
    """The answer of a page, the records that it lists, and the path by which it was asked."""
    request = _request(declared["request"], {**asked, "page": page})
    if page is not None and declared["paging"]["type"] in ("link", "next_url"):
        request = asked_page(request, page)
    response = yield request
    return response, listed(response, declared["records"], declared["left_out_when_empty"]), request.path


def _earlier(since: Any, seconds: float) -> Any:
    """A bound so much earlier, in its own notation: what was committed late behind it is seen. Others stay as they are."""
    try:
        found = datetime.fromisoformat(since) - timedelta(seconds=seconds) if seconds else None
    except (TypeError, ValueError):
        return since
    if found is None:
        return since
    if len(since) == len("2026-11-21"):
        return found.date().isoformat()
    text = found.isoformat(timespec="milliseconds" if "." in since else "seconds")
    return text.replace("+00:00", "Z") if since.endswith("Z") else text


def _identifier(type_name: str) -> str:
    """`sale.completed.v1` → `sale_completed`."""
    return re.sub(r"\.v\d+$", "", type_name).replace(".", "_")


def _request(declared: Mapping[str, Any], context: JSON) -> Request:
    rendered = render({key: declared[key] for key in ("path", "params", "json", "headers")}, context)
    return Request(
        declared["method"],
        _path(declared["path"], context) if not declared["path"].startswith("=") else rendered["path"],
        params=rendered.get("params", {}),
        json=rendered.get("json"),
        headers=rendered.get("headers", {}),
        effect=declared["effect"],
        expect=tuple(declared["expect"]),
    )


def _path(path: str, context: JSON) -> str:
    """`/v2/orders/{ref}`: names in braces are JMESPath expressions; their values are escaped for a path segment."""
    return re.sub(r"\{([^}]+)\}", lambda match: quote(str(evaluate(match[1], context)), safe=""), path)
