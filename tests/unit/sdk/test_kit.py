"""The kit: a breaker for every rule, a connector that breaks exactly it and is caught by exactly it."""

import importlib
import json
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kit_model import Model, ModelSystem, declared, subject, system

from hub.cli import main
from hub.sdk import AmbiguousWriteError, Change, Document, Page, Request, Skipped, TargetUnavailableError, Written
from hub.sdk.kit import RULES, Subject, judge
from hub.sdk.scaffold import scaffold
from hub.sdk.testing import route

BREAKERS: dict[str, Callable[..., Subject]] = {}


def breaker(rule: str) -> Callable[[Any], Any]:
    def register(make: Any) -> Any:
        BREAKERS[rule] = make if not isinstance(make, type) else lambda: subject(make)
        return make

    return register


def _manifest(rule: str, old: str, new: str) -> None:
    BREAKERS[rule] = lambda: subject(type("Broken", (Model,), {"manifest": declared(old, new)}))


_ERRORS = "errors:\n"
_manifest("check-answers", "path: /me", "path: /nowhere")
_manifest("signature-covers-body", "over: [body]", "over: [url]")
_manifest("maps-are-valid", 'active: "= !(record.deleted)"', 'active: "= record.title"')
_manifest("reads-everything", "type: cursor, token: next", "type: none")
_manifest("throttled-waits", _ERRORS, _ERRORS + '  - {when: "status == `429`", then: retry}\n')
_manifest("outage-waits", _ERRORS, _ERRORS + '  - {when: "status == `503`", then: rejected, remedy: Call them.}\n')
_manifest("unclear-is-ambiguous", _ERRORS, _ERRORS + '  - {when: "status == `500`", then: retry}\n')
_manifest("refused-credentials", _ERRORS, _ERRORS + '  - {when: "status == `401` && effect", then: rejected, remedy: No.}\n')
_manifest("refusal-is-final", "message: body.detail, remedy: Correct it and replay.", "message: body.detail")


@breaker("manifest-agrees")
class _Undeclared(Model):
    def write_order_placed(self, document: Any, key: str) -> Any:
        return (yield self.sale(document, key))


_manifest("tells-its-fields", 'name: "= record.name"', 'name: "= record.on"')


@breaker("custom-fields")
class _DropsFields(Model):
    def sale(self, document: Any, key: str) -> Request:
        return super().sale({**document, "extensions": {}}, key)


@breaker("has-samples")
def _no_sample() -> Subject:
    whole = subject()
    return subject(documents={name: found for name, found in whole.documents.items() if name != "product.v1"})


def _package(tmp_path: Path, line: str) -> Subject:
    """The model in a package of its own whose code has another line."""
    name = f"breaker_{uuid.uuid4().hex[:8]}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "connector.py").write_text(f"{line}\nfrom kit_model import Model\n\n\nclass Own(Model):\n    pass\n")
    sys.path.insert(0, str(tmp_path))
    try:
        return subject(importlib.import_module(f"{name}.connector").Own)
    finally:
        sys.path.remove(str(tmp_path))


BREAKERS["only-the-door"] = lambda tmp_path: _package(tmp_path, "from hub.settings import Settings")
BREAKERS["performs-no-io"] = lambda tmp_path: _package(tmp_path, "import socket")


@breaker("check-refuses")
def _public_check() -> Subject:
    class Public(ModelSystem):
        def authenticate(self, request: Any) -> Any:
            return None if request.path == "/me" else super().authenticate(request)

    return subject(system=lambda: system(Public))


@breaker("stable-source-id")
class _Chance(Model):
    def to_canonical(self, object_name: str, record: Any) -> Any:
        for found in super().to_canonical(object_name, record):
            yield Document(found.type, uuid.uuid4().hex, found.data)


@breaker("junk-records")
class _Unguarded(Model):
    def to_canonical(self, object_name: str, record: Any) -> Any:
        if record["id"].startswith("test-"):
            return []
        return super().to_canonical(object_name, record)


@breaker("misses-no-change")
class _Exclusive(Model):
    def read(self, object_name: str, cursor: Any) -> Any:
        page = yield from super().read(object_name, cursor)
        if not page.more:
            page.cursor["since"] = page.cursor["since"].replace(":00Z", ":01Z")
        return page


_manifest("deleted-is-tombstone", 'active: "= !(record.deleted)"', "active: \"= type(record.deleted) == 'boolean'\"")


@breaker("skips-with-reason")
class _Silent(Model):
    def write_sale_completed(self, document: Any, key: str) -> Any:
        yield from super().write_sale_completed(document, key)
        return Skipped("")


@breaker("small-cursor")
class _Hoarder(Model):
    def read(self, object_name: str, cursor: Any) -> Any:
        page = yield from super().read(object_name, cursor)
        page.cursor["seen"] = "x" * 5000
        return page


@breaker("survives-the-hub")
class _Buffers(Model):
    """Hands out half a page and keeps the rest, behind a cursor that is past both: a process that dies takes it along."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.kept: list[Page] = []

    def read(self, object_name: str, cursor: Any) -> Any:
        if self.kept:
            return self.kept.pop()
        page = yield from super().read(object_name, cursor)
        if len(page.records) > 2:
            self.kept = [Page(page.records[2:], page.cursor, page.more)]
            return Page(page.records[:2], {**page.cursor, "half": True}, more=True)
        return page


@breaker("webhooks-understood")
class _Nameless(Model):
    def receive(self, webhook: Any) -> Any:
        return [Change("item", "") for _ in super().receive(webhook)]


@breaker("junk-webhooks")
class _Trusting(Model):
    def receive(self, webhook: Any) -> Any:
        return [Change("item", webhook.json()["item"])]


@breaker("is-applied")
class _Liar(Model):
    def write_sale_completed(self, document: Any, key: str) -> Any:
        yield Request("GET", "/me")
        return Written(f"sale/{key}")


@breaker("paths-below-base")
def _dots() -> Subject:
    class Dots(ModelSystem):
        @route("POST", "/v1/../sales")
        def dotted(self, request: Any) -> Any:
            return self.sale(request)

    class Up(Model):
        def sale(self, document: Any, key: str) -> Request:
            return Request("POST", "/v1/../sales", json=super().sale(document, key).json)

    return subject(Up, system=lambda: system(Dots))


@breaker("exact-amounts")
class _Float(Model):
    def sale(self, document: Any, key: str) -> Request:
        body = super().sale(document, key).json
        return Request("POST", "/sales", json=body | {"total": float(body["total"])})


@breaker("effects-declared")
class _Harmless(Model):
    def sale(self, document: Any, key: str) -> Request:
        return Request("POST", "/sales", json=super().sale(document, key).json, effect=False)


@breaker("same-requests")
class _Stamped(Model):
    def sale(self, document: Any, key: str) -> Request:
        return Request("POST", "/sales", json=super().sale(document, key).json, headers={"x-id": uuid.uuid4().hex})


@breaker("not-found-before")
class _Optimist(Model):
    def find_stock_adjusted(self, document: Any, key: str) -> Any:
        return (yield from super().find_stock_adjusted(document, key)) or "move/0"


@breaker("found-after")
class _Renamer(Model):
    def find_stock_adjusted(self, document: Any, key: str) -> Any:
        found = yield from super().find_stock_adjusted(document, key)
        return found and "move/99"


@breaker("applied-once")
def _no_key() -> Subject:
    class Forgetful(ModelSystem):
        @route("POST", "/sales")
        def sale(self, request: Any) -> Any:
            answered = super().sale(request)
            if answered.status == 200:
                self.sales[uuid.uuid4().hex] = self.sales.pop(request.json()["ref"])
            return answered

    return subject(system=lambda: system(Forgetful))


@breaker("lost-answer")
class _Impatient(Model):
    def write_sale_completed(self, document: Any, key: str) -> Any:
        try:
            return (yield from super().write_sale_completed(document, key))
        except AmbiguousWriteError:
            return (yield from super().write_sale_completed(document, f"{key}-2"))


@breaker("lost-request")
class _Careless(Model):
    def write_sale_completed(self, document: Any, key: str) -> Any:
        try:
            return (yield from super().write_sale_completed(document, key))
        except TargetUnavailableError:
            return Written(f"sale/{key}")


@breaker("restarts-anywhere")
class _TwoHalves(Model):
    """Two effects, each looked for; the look-up from outside is content with the first."""

    def write_stock_adjusted(self, document: Any, key: str) -> Any:
        first = yield from self.find_stock_adjusted(document, key)
        if first is None:
            try:
                first = (yield from super().write_stock_adjusted(document, key)).external_id
            except AmbiguousWriteError:
                first = (yield from self.find_stock_adjusted(document, key)) or "move/1"
        if (yield from self.find_stock_adjusted(document, f"{key}/2")) is None:
            yield from super().write_stock_adjusted(document, f"{key}/2")
        return Written(first)


@breaker("two-keys")
class _Cropped(Model):
    def sale(self, document: Any, key: str) -> Request:
        return super().sale(document, key[:-1])


@breaker("long-key")
class _Short(Model):
    def sale(self, document: Any, key: str) -> Request:
        return super().sale(document, key[:30])


@breaker("page-is-no-success")
class _Unread(Model):
    manifest = declared("type(body) != 'object' && effect", "type(body) == 'null' && effect")

    def write_sale_completed(self, document: Any, key: str) -> Any:
        yield self.sale(document, key)
        return Written(f"sale/{key}")


@breaker("half-is-no-success")
class _Glancing(Model):
    manifest = declared("type(body) != 'object' && effect", "starts_with(to_string(body), '<') && effect")

    def write_sale_completed(self, document: Any, key: str) -> Any:
        yield self.sale(document, key)
        return Written(f"sale/{key}")


@breaker("keeps-nothing")
class _Mindful(Model):
    def write_sale_completed(self, document: Any, key: str) -> Any:
        self.key = key
        yield Request("GET", "/me")
        return (yield from super().write_sale_completed(document, self.key))


@breaker("secrets-stay-secret")
def _told_secret() -> Subject:
    manifest = declared("auth: {", "settings: {token: {description: The API token again}}\nauth: {")
    knowing = type("Knowing", (Model,), {"manifest": manifest})
    return subject(knowing, system=lambda: system(settings={"token": ModelSystem().token}))


@breaker("hostile-answers")
class _Indexing(Model):
    def write_sale_completed(self, document: Any, key: str) -> Any:
        return Written((yield self.sale(document, key)).json()["id"])


def test_the_model_is_platinum_and_every_rule_is_asked() -> None:
    report = judge(subject())

    assert [(item.rule.id, list(item.lines)) for item in report.results if item.outcome != "passed"] == []
    assert report.tier == "platinum"


def test_every_rule_has_a_breaker() -> None:
    assert BREAKERS.keys() == RULES.keys()
    assert len(RULES) >= 40


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_breaker_is_caught_by_exactly_its_rule(rule: str, tmp_path: Path) -> None:
    make = BREAKERS[rule]
    broken = make(tmp_path) if make.__code__.co_argcount else make()
    if broken.connector.__module__ == __name__:  # its own code is the model's, not this file
        broken.connector.__module__ = "kit_model"
    report = judge(broken)

    assert {item.rule.id: list(item.lines) for item in report.failed}.keys() == {rule}, report.failed
    tiers = ["", "bronze", "silver", "gold", "platinum"]
    assert report.tier == tiers[tiers.index(RULES[rule].tier) - 1]


def test_a_waiver_needs_a_reason_and_ends_with_its_need() -> None:
    broken = BREAKERS["exact-amounts"]()
    broken.connector.__module__ = "kit_model"
    doubles = {"exact-amounts": "their API takes doubles"}
    assert judge(replace(broken, waivers=doubles)).tier == "platinum"
    assert judge(replace(broken, waivers={"exact-amounts": " "})).waivers == ["waiver of exact-amounts: no reason"]
    unneeded = judge(subject(waivers=doubles))
    assert (unneeded.tier, len(unneeded.waivers)) == ("", 1)
    assert judge(subject(waivers={"nothing": "x"})).waivers == ["waiver of nothing: no such rule"]


@pytest.mark.parametrize("point", sorted(entry_points(group="hub.kits")), ids=lambda point: point.name)
def test_the_connectors_here_are_platinum_without_a_waiver(point: Any) -> None:
    report = judge(point.load()())

    assert [(item.rule.id, list(item.lines)) for item in report.failed] == []
    assert report.tier == "platinum"
    assert not point.load()().waivers


def test_the_command_shows_what_fails_and_exits_by_the_tier_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["plugin", *words])
        return done.exit_code, done.output

    assert run("check", "square", "--tier", "platinum")[0] == 0
    assert scaffold("broken_erp", "erp", "", tmp_path / "broken")
    manifest = tmp_path / "broken/hub_broken_erp/connector.yaml"
    manifest.write_text(manifest.read_text().replace("errors:\n", 'errors:\n  - {when: "status == `429`", then: retry}\n'))
    monkeypatch.syspath_prepend(str(tmp_path / "broken"))
    code, said = run("check", str(tmp_path / "broken"), "--tier", "silver")
    assert code == 1
    assert "throttled-waits" in said
    assert "429 became" in said
    assert run("check", str(tmp_path / "broken"))[0] == 0, "bronze it is"
    assert json.loads(run("check", "tryton", "--json")[1])["tier"] == "platinum"
    assert run("check", "nobody")[0] == 4
    assert len(run("rules")[1].splitlines()) == len(RULES)
