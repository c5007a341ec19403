"""Who is who: what rules find and what they leave to a person; what follows from it in both directions; what can be undone."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hub_shopify.connector import Shopify
from hub_shopify.simulator import ShopifySimulator
from support import Shop, envelope
from sync_world import TENANT, World

from canonical.examples import EXAMPLES
from hub.cli import main
from hub.flow.ingest import receive_webhook
from hub.flow.lineage import lineage
from hub.flow.names import Said, canonical, names
from hub.integrations.files import MatchRule, parse_integration
from hub.sdk.errors import ManifestError
from hub.sdk.testing import SimulatorServer
from hub.sync.matching import Item, _matched, normal

CUSTOMER = {"updated_at": "2026-11-20T10:00:00Z", "active": True}
FILE = """
integration: people
connections:
  web: {{connector: shopify, base_url: {url}, settings: {{locations: {{"905684977": HARBOUR-ST}}}}}}
  old: {{connector: shopify, base_url: {old}, settings: {{locations: {{"905684977": HARBOUR-ST}}}}}}
flows:
  - {{name: learn, on: customer.v1, from: web}}
  - {{name: crm, on: customer.v1, from: old, to: [{{connection: web}}]}}
  - {{name: goods, on: product.v1, from: old}}
  - {{name: moves, on: stock.adjusted.v1, to: [{{connection: web}}]}}
identity:
  customer: {{systems: [old, web], match: [email, phone, {{field: name, how: fuzzy}}]}}
  product: {{systems: [old, web], match: [gtin, {{field: sku, how: normalised}}]}}
"""


def rule(how: str, field: str = "", at_least: float = 0.92, review: float = 0.8) -> MatchRule:
    return MatchRule(field or how, how, at_least, review)


def person(name: str, **given: Any) -> dict[str, Any]:
    return {"id": "x", "name": name, **given}


def found(
    theirs: dict[str, Any], mine: dict[str, Any], *rules: MatchRule, taken: frozenset[str] = frozenset()
) -> dict[str, Any]:
    return {item.key or f"+{item.canonical}": (item.verdict, item.canonical or item.candidates, item.rule)
            for item in _matched(rules, theirs, mine, set(taken))}  # fmt: skip


def test_rules_are_tried_in_their_order_and_what_is_unsure_waits() -> None:
    theirs = {
        "1": person("Anna Schmidt", email="anna@x.example"), "2": person("Bernd Maier", phone="+49 170 1234567"),
        "3": person("Clara Groß"), "4": person("Dora Lang", email="d@x.example"), "5": person("Dora Lang", email="d@x.example"),
        "6": person("Emil Kurz"), "7": person("Fritz Hahn", email="f@x.example"),
    }  # fmt: skip
    mine = {
        "a": person("A. S.", email=" ANNA@x.example"), "b": person("B.", phone="0170/1234567"), "c": person("Gross, Clara"),
        "d": person("Dora Lang", email="d@x.example"), "e": person("Emilia Kurz"), "g": person("Gerda Wolf"),
        "f1": person("Fritz", email="f@x.example"), "f2": person("Fritz", email="F@x.example"),
    }  # fmt: skip

    verdicts = found(theirs, mine, rule("email"), rule("phone"), rule("fuzzy", "name"))

    assert verdicts == {
        "a": ("link", "1", "email"), "b": ("link", "2", "phone"), "c": ("link", "3", "fuzzy name"),
        "d": ("review", ("4", "5"), "email"), "e": ("review", ("6",), "fuzzy name"), "g": ("new", (), ""),
        "f1": ("review", ("7",), "email"), "f2": ("review", ("7",), "email"),
    }  # fmt: skip


def test_what_nobody_there_has_would_be_made_and_what_is_taken_is_not_offered() -> None:
    theirs = {"1": person("A", email="a@x.example"), "2": person("B", email="b@x.example")}

    assert found(theirs, {}, rule("email")) == {"+1": ("create", "1", ""), "+2": ("create", "2", "")}
    assert found(theirs, {"a": person("A", email="a@x.example")}, rule("email"), taken=frozenset("1")) == {
        "a": ("new", (), ""), "+2": ("create", "2", ""),
    }  # fmt: skip


def test_likeness_is_of_letters_and_words_that_all_share_lead_to_nobody() -> None:
    theirs = {str(n): person(f"Harbour Coffee Number {n:04d}") for n in range(500)} | {"x": person("Jasmine Tea 250 g")}

    verdicts = found(theirs, {"t": person("jasmine tea, 250g"), "u": person("Coffee Harbour")}, rule("fuzzy", "name"))

    assert verdicts["t"][:2] == ("link", "x")
    assert verdicts["u"][0] == "new"


@pytest.mark.parametrize(
    ("how", "one", "other"),
    [
        ("gtin", "04006381333931", "4006381333931"), ("gtin", "036000291452", "00036000291452"),
        ("normalised", "SKU-0001 ", "sku 0001"), ("normalised", "Café Straße", "CAFE STRASSE"),
        ("phone", "+43 (660) 123 45 67", "0660 1234567"), ("email", " A@B.example", "a@b.EXAMPLE"),
    ],
)  # fmt: skip
def test_values_are_compared_as_people_mean_them(how: str, one: str, other: str) -> None:
    assert normal(how, one) == normal(how, other) != ""


@pytest.mark.parametrize(
    ("how", "value"), [("email", "none"), ("phone", "12"), ("gtin", "X"), ("exact", None), ("phone", "n/a")]
)
def test_what_says_nothing_matches_nothing(how: str, value: Any) -> None:
    assert normal(how, value) == ""


def test_what_is_wrong_with_identity_is_said_with_its_line() -> None:
    text = FILE.format(url="http://a", old="http://b").replace("[email, phone,", "[email, gtin,")

    with pytest.raises(ManifestError, match="no field of customer"):
        parse_integration(text, "people.yaml")
    with pytest.raises(ManifestError, match="'nobody' is not a connection"):
        parse_integration(
            text.replace("gtin, ", "", 1).replace(
                "systems: [old, web], match: [email", "systems: [old, nobody], match: [email"
            ),
            "p.yaml",
        )
    with pytest.raises(ManifestError, match="no entity that is matched"):
        parse_integration(text.replace("  customer: {systems", "  invoice: {systems"), "people.yaml")


class People(Shop):
    """Two shops: customers of the old one go to the new one, which has some of them already."""

    def __init__(self, folder: Path, database_url: str) -> None:
        super().__init__(folder, database_url)
        self.web_shop, self.old_shop = ShopifySimulator(), ShopifySimulator()
        self.servers |= {"web": SimulatorServer(self.web_shop), "old": SimulatorServer(self.old_shop)}
        self.apply(self.text())
        for name, shop in (("web", self.web_shop), ("old", self.old_shop)):
            self.credentials(name, access_token=shop.token, client_secret=shop.client_secret)
            url = f"http://hub.test/webhooks/acme/{name}"
            for topic in Shopify.manifest.data["webhooks"]["topics"]:
                shop.subscriptions[topic] = {"id": topic, "topic": topic, "callbackUrl": url}

    def text(self) -> str:
        return FILE.format(url=self.servers["web"].url, old=self.servers["old"].url)

    def hear(self) -> None:
        """What both shops have to say."""
        for name, shop in (("web", self.web_shop), ("old", self.old_shop)):
            for _, body, headers in shop.take_webhooks():
                receive_webhook(self.hub.ctx, self.tenant, name, headers, body)
        self.until(lambda: not self.raws(state="received"))

    def run(self, *arguments: str, code: int = 0) -> Any:
        assert self.web is not None
        options = ["--url", f"http://127.0.0.1:{self.web.port}", "--key", self.key, "--json"]
        result = CliRunner().invoke(main, ["links", *arguments, *options])
        assert result.exit_code == code, (result.output, result.exception)
        return json.loads(result.stdout) if code != 4 else result.output

    def subjects(self, **filters: Any) -> set[str]:
        with self.hub.ctx.store.read() as uow:
            return {row["subject"] for row in uow.messages.page(self.tenant, None, 200, **filters)}


@pytest.fixture
def people(tmp_path: Path, emptied_url: str) -> Iterator[People]:
    shop = People(tmp_path, emptied_url)
    shop.start()
    shop.serve()
    yield shop
    shop.close()


def number(gid: str) -> str:
    return gid.rpartition("/")[2]


def test_records_are_linked_before_the_first_write_and_nobody_comes_twice(people: People) -> None:
    people.apply(people.text().replace("from: old, to:", "from: old, cadence: on_demand, to:"))  # nothing is written yet
    known = people.web_shop.add_customer("Robert Norman", "bob@mail.example")
    double = people.web_shop.add_customer("Carla Weiss", None, "+15550001111")
    people.web_shop.add_customer("Only There", "only@mail.example")
    bob = people.old_shop.add_customer("Bob Norman", "BOB@mail.example")
    carla = people.old_shop.add_customer("Karla Weiss", "carla@mail.example")
    people.old_shop.add_customer("Dirk New", "dirk@mail.example")
    people.hear()
    assert len(people.subjects(type="customer.v1")) == 6

    plan = people.run("plan", "customer", "web", code=2)

    assert plan["counts"] == {"linked": 0, "link": 1, "review": 1, "new": 1, "create": 1}
    by_key = {item["key"]: item for item in plan["items"]}
    assert (by_key[number(known)]["canonical"], by_key[number(known)]["rule"]) == (number(bob), "email")
    assert by_key[number(double)]["candidates"] == [number(carla)]
    stale = people.run("apply", "customer", "web", "--digest", "0" * 64, code=4)
    assert "look at it again" in stale
    wrong = people.run("apply", "customer", "web", "--digest", plan["digest"], "--decide", "nobody=1", code=4)
    assert "no record of this plan" in wrong

    done = people.run("apply", "customer", "web", "--digest", plan["digest"], "--decide", f"{number(double)}={number(carla)}",
                      "--reason", "the same telephone")  # fmt: skip
    assert done == {"links": 2, "decided": 1}
    assert people.web is not None
    assert people.web.call("POST", "/v1/flows/release", {"flow": "people/crm"})[1]["released"] == 3
    people.settle()

    names = sorted(item["displayName"] for item in people.web_shop.customers.values())
    assert names == ["Bob Norman", "Dirk New", "Karla Weiss", "Only There"], "three are the three of the old shop"
    assert people.web_shop.customers[double]["email"] == "carla@mail.example"
    assert people.run("plan", "customer", "web")["counts"] == {"linked": 3, "link": 0, "review": 0, "new": 1, "create": 0}


def test_what_waits_when_two_are_linked_goes_in_one_order_and_is_told_as_one(people: People) -> None:
    text = people.text().replace("from: old, to:", "from: old, cadence: on_demand, to:")  # nothing is written yet
    people.apply(text.replace("from: web}", "from: web, cadence: on_demand, to: [{connection: old}]}"))
    known = people.web_shop.add_customer("Robert Norman", "bob@mail.example")
    people.hear()  # what two shops say at once is heard in any order
    bob = people.old_shop.add_customer("Bob Norman", "BOB@mail.example")
    people.hear()
    (before,) = people.deliveries(connection_id="old")
    plan = people.run("plan", "customer", "web", code=2)
    people.run("apply", "customer", "web", "--digest", plan["digest"])
    time.sleep(1.1)  # the shop's clock shows seconds: a change within one of them is not seen as another
    people.web_shop.rename(known, "Rob Norman")
    people.hear()

    (row, later) = sorted(people.deliveries(connection_id="old"), key=lambda row: row["id"])
    assert (before["id"], before["subject"]) == (row["id"], f"customer/web:{number(known)}")
    assert (row["subject"], row["behind"]) == (f"customer/{number(bob)}", False), "it goes by the one that both are"
    assert (later["subject"], later["behind"]) == (row["subject"], True), "and what is said from now on comes after it"
    told = lineage(people.hub.ctx, people.tenant, f"customer/{number(bob)}")
    said = [(item["connection_id"], item["document"]["name"]) for item in told["messages"]]
    assert said == [("web", "Robert Norman"), ("old", "Bob Norman"), ("web", "Rob Norman")]
    assert lineage(people.hub.ctx, people.tenant, f"customer/web:{number(known)}")["subject"] == told["subject"]

    people.run("split", "customer", number(known), "--system", "web", "--reason", "two people")
    told = lineage(people.hub.ctx, people.tenant, f"customer/{number(bob)}")
    assert [item["connection_id"] for item in told["messages"]] == ["old", "web"], "what was said under it stays said"


def test_what_a_target_tells_of_what_we_wrote_is_about_the_same_one(people: People) -> None:
    dirk = people.old_shop.add_customer("Dirk New", "dirk@mail.example")
    people.hear()
    people.settle()
    (made,) = people.web_shop.customers
    people.web_shop.rename(made, "Dirk Renamed")
    people.hear()
    people.settle()

    assert number(dirk) == number(made), "two systems may have the same number; it says nothing"
    assert people.subjects(type="customer.v1") == {f"customer/{number(dirk)}"}
    told = lineage(people.hub.ctx, people.tenant, f"customer/{number(dirk)}")["messages"]
    assert [[link["external_id"] for link in item["links"]] for item in told] == [[number(made)]] * 2, "both lead to it"
    (row,) = people.run("history", "customer", number(dirk))["items"]
    assert (row["connection_id"], row["key"], row["rule"]) == ("web", number(made), "written")


def test_a_withdrawn_sku_is_booked_under_the_one_that_took_its_place_until_they_are_split(people: People) -> None:
    people.web_shop.add_product("Coffee", ["SKU-0001"], "9.50", 100)
    adjusted = EXAMPLES["stock.adjusted.v1"]

    def adjust(identity: str) -> Any:
        document = adjusted | {"id": identity, "sku": "SKU-OLD", "location": {"code": "HARBOUR-ST"}, "quantity": "1"}
        assert people.web is not None
        status, answer, _ = people.web.call("POST", "/v1/events", envelope(document, "stock.adjusted.v1"))
        assert status == 202, answer
        people.until(lambda: all(row["state"] in ("applied", "dead") for row in people.deliveries(connection_id="web")))
        (row,) = (row for row in people.deliveries(connection_id="web") if row["message_id"] == answer["message_id"])
        return row["state"], row["cause_code"]

    assert adjust("A-1") == ("dead", "unknown_sku")
    merged = people.run("merge", "product", "SKU-OLD", "SKU-0001", "--reason", "withdrawn")
    assert [(row["key"], row["canonical"], row["reason"]) for row in merged["items"]] == [("SKU-OLD", "SKU-0001", "withdrawn")]
    (dead,) = (row for row in people.deliveries(connection_id="web") if row["state"] == "dead")
    assert people.web is not None
    assert people.web.call("POST", f"/v1/dead-letters/{dead['id']}/replay", {"reason": "merged"})[0] == 202
    people.until(lambda: people.deliveries(connection_id="web")[0]["state"] == "applied")
    assert adjust("A-2") == ("applied", "")

    history = people.run("split", "product", "SKU-OLD", "--reason", "another blend after all")
    assert history["items"][0]["ended_at"]
    assert adjust("A-3") == ("dead", "unknown_sku")
    assert "SKU-OLD" in people.run("split", "product", "SKU-OLD", code=4)


def test_circles_are_refused(people: People) -> None:
    people.run("merge", "product", "B", "A")

    assert "split it first" in people.run("merge", "product", "A", "B", code=4)
    assert "split it first" in people.run("merge", "product", "C", "C", code=4)
    assert "name that one" in people.run("merge", "product", "C", "B", code=4)
    people.run("merge", "product", "A", "Z")  # what A was leads to Z now
    with people.hub.ctx.store.read() as uow:
        from hub.flow.names import Said, names

        (found,) = names(people.hub.ctx, uow, [Said("acme", "", "stock.adjusted.v1", {"sku": "B"})])
    assert found == {("product", "B"): "Z"}


def test_links_of_a_former_integration_are_taken_over(people: People, tmp_path: Path) -> None:
    known = people.web_shop.add_customer("Somebody Else Entirely", "other@mail.example")
    file = tmp_path / "links.json"
    rows = [{"connection_id": "web", "key": number(known), "canonical": "C-7"}]
    file.write_text(json.dumps(rows))
    assert people.run("import", "customer", str(file), "--reason", "former hub") == {"links": 1, "given": 1}
    assert people.run("import", "customer", str(file))["links"] == 0
    file.write_text(json.dumps([{"connection_id": "nobody", "key": "1", "canonical": "2"}]))
    assert "no such connection" in people.run("import", "customer", str(file), code=4)

    people.hear()
    assert people.subjects(type="customer.v1") == {"customer/C-7"}


def test_a_system_with_numbers_of_its_own_is_told_its_own(people: People, tmp_path: Path) -> None:
    people.web_shop.add_product("Coffee", ["KAFFEE-1"], "9.50", 100)
    file = tmp_path / "links.json"
    file.write_text(json.dumps([{"connection_id": "web", "key": "KAFFEE-1", "canonical": "SKU-0001"}]))
    people.run("import", "product", str(file))
    document = EXAMPLES["stock.adjusted.v1"] | {"sku": "SKU-0001", "location": {"code": "HARBOUR-ST"}, "quantity": "2"}
    assert people.web is not None
    people.web.call("POST", "/v1/events", envelope(document, "stock.adjusted.v1"))
    people.settle()

    assert [row["state"] for row in people.deliveries(connection_id="web")] == ["applied"]
    with people.hub.ctx.store.read() as uow:
        (message,) = uow.messages.page(people.tenant, None, 10, type="stock.adjusted.v1")
    assert "SKU-0001" in message["subject"]


def test_a_suppliers_other_code_is_the_same_supplier_wherever_it_is_named() -> None:
    world = World(
        '{integration: x, connections: {erp: {connector: rows, base_url: "http://a.test"}}, flows: [{name: f, on: supplier.v1, to: []}]}'
    )
    bought = EXAMPLES["purchase_order.v1"]
    theirs = str(bought["supplier"]["code"])
    alias = {"entity": "supplier", "connection_id": "erp", "key": theirs, "canonical": "S-1", "rule": "by hand", "actor": "anna",
             "reason": "one company"}  # fmt: skip

    def look(hub: Any) -> None:
        with hub.ctx.store.begin() as uow:
            uow.aliases.put(TENANT, [alias], world.now)
        said = [Said(TENANT, "erp", "purchase_order.v1", bought), Said(TENANT, "erp", "supplier.v1", {"code": theirs}),
                Said(TENANT, "pos", "purchase_order.v1", bought), Said(TENANT, "", "purchase_order.v1", {**bought, "supplier": {"code": "S-1"}}, "erp")]  # fmt: skip
        with hub.ctx.store.read() as uow:
            order, record, other, outward = names(hub.ctx, uow, said)
        assert canonical("purchase_order.v1", bought, order)["supplier"]["code"] == "S-1"
        assert canonical("supplier.v1", {"code": theirs}, record) == {"code": "S-1"}
        assert canonical("purchase_order.v1", bought, other) == bought, "another system's code is its own"
        assert canonical("purchase_order.v1", {**bought, "supplier": {"code": "S-1"}}, outward)["supplier"]["code"] == theirs

    world.live(look)


def test_items_show_what_the_api_says() -> None:
    item = Item("link", "a", "1", "email", 1.0, "Anna")

    assert item.shown() == {
        "verdict": "link", "key": "a", "canonical": "1", "rule": "email", "score": 1.0, "name": "Anna", "candidates": [],
    }  # fmt: skip
