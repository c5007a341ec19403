"""Integrations as code: what `hub plan` says is what then happens; shadows, rollback, promotion, overrides."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import INTEGRATION, Shop, Web, envelope

from canonical.examples import EXAMPLES
from hub.bootstrap import utc_now
from hub.cli import main
from hub.identity.api_keys import SCOPES, create_key
from hub.integrations.files import parse_integration
from hub.sdk.errors import ManifestError
from hub.sync.drift import Drift

OLD = """comment: "join(' ', ['Till receipt', number])\""""
#: Another text for what was taxed at 9 %; the rest as it was.
NEW = """comment: "lookup_or(lines[0].taxes[0].rate, `{\\"9\\": \\"reduced\\"}`, join(' ', ['Till receipt', number]))\""""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path).start()
    shop.stock_item("SKU-0001")
    shop.stock_item("SKU-0002")
    shop.serve()
    yield shop
    shop.close()


def text_of(shop: Shop) -> str:
    return INTEGRATION.format(**{name: server.url for name, server in shop.servers.items()})


def web(shop: Shop) -> Web:
    assert shop.web is not None
    return shop.web


def hub(shop: Shop, *arguments: str, code: int = 0, key: str = "") -> Any:
    url = f"http://127.0.0.1:{web(shop).port}"
    result = CliRunner().invoke(main, [*arguments, "--url", url, "--key", key or shop.key, "--json"])
    assert result.exit_code == code, (result.exit_code, result.output, result.exception)
    return json.loads(result.output)


def sell(shop: Shop, *rates: str) -> list[str]:
    """Sales taxed at these rates; their message ids."""
    ids = []
    for rate in rates:
        number = str(len(shop.deliveries()) + 1)
        sale = json.loads(json.dumps(EXAMPLES["sale.completed.v1"]).replace('"rate": "9"', f'"rate": "{rate}"'))
        sale |= {"id": f"S-{number}-{rate}", "number": number}
        status, answer, _ = web(shop).call("POST", "/v1/events", envelope(sale))
        assert status < 300, answer
        ids += [answer["message_id"]]
    return ids


def pause(shop: Shop, state: str) -> None:
    with shop.hub.ctx.store.begin() as uow:
        uow.connections.set_state(shop.tenant, "erp", state, "", utc_now())
    shop.hub.ctx.due.add(shop.tenant, "erp")


def given(shop: Shop) -> dict[str, tuple[str, int]]:
    """message → (digest of what the ERP's connector was given, revision of the map)."""
    found = {}
    for row in shop.deliveries(connection_id="erp"):
        attempts = web(shop).call("GET", f"/v1/deliveries/{row['id']}/attempts")[1]["items"]
        if attempts:
            found[row["message_id"]] = (attempts[-1]["document"], attempts[-1]["revision"])
    return found


def test_a_plan_lists_exactly_the_writes_that_differ_and_they_are_what_is_sent(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "stores.yaml"
    file.write_text(text_of(shop))
    assert not hub(shop, "plan", str(file))["changed"], "what is in force changes nothing: exit code 0"
    before = sell(shop, "9", "7")
    shop.settle()
    pause(shop, "paused")
    waiting = sell(shop, "9", "7", "9")
    file.write_text(text_of(shop).replace(OLD, NEW))

    plan = hub(shop, "plan", str(file), code=2)

    predicted = {write["message_id"]: write["digest"] for write in plan["forecast"]["writes"]}
    assert predicted.keys() == {before[0], waiting[0], waiting[2]}, "what was taxed at 9 %, and nothing else"
    assert plan["forecast"]["counts"] == {"same": 7, "added": 0, "removed": 0, "changed": 3, "failing": 0}
    assert [change["name"] for change in plan["changes"]] == ["transactions"]
    (field,) = plan["forecast"]["writes"][0]["fields"]
    assert (field["field"], field["then"]) == ("/extensions/target/comment", "reduced")
    assert given(shop).keys() == set(before), "a plan sends nothing"

    assert hub(shop, "apply", str(file), "--reason", "9 % is reduced")["revision"] == 2
    pause(shop, "active")
    shop.settle()
    sent = given(shop)
    assert {sent[identity][0] for identity in (waiting[0], waiting[2])} == {predicted[waiting[0]], predicted[waiting[2]]}
    assert sent[waiting[1]][0] not in predicted.values()
    assert [sent[identity][1] for identity in (*before, *waiting)] == [1, 1, 2, 2, 2], "each names the map's revision"
    comments = [invoice["comment"] for invoice in shop.tryton.invoices()]
    assert sorted(comments) == ["Till receipt 1", "Till receipt 3", "Till receipt 7", "reduced", "reduced"]


def test_a_second_target_is_compared_with_the_one_whose_place_it_takes(shop: Shop, tmp_path: Path) -> None:
    sell(shop, "9", "7")
    shop.settle()
    file = tmp_path / "stores.yaml"
    other = text_of(shop).replace("  erp:\n", "  newerp:\n").replace("connection: erp", "connection: newerp")
    file.write_text(other)
    hub(shop, "shadow", "start", str(file))
    since = ("--since", "2020-01-01T00:00:00Z")

    apart = hub(shop, "shadow", "report", "stores", *since, code=1)["report"]["forecast"]["counts"]
    assert (apart["added"], apart["removed"]) == (2, 2), "nobody said that one stands for the other"
    assert (
        hub(shop, "shadow", "report", "stores", *since, "--instead", "newerp:erp")["report"]["forecast"]["counts"]["same"] == 4
    )

    file.write_text(other.replace(OLD, NEW))
    hub(shop, "shadow", "start", str(file))
    found = hub(shop, "shadow", "report", "stores", *since, "--instead", "newerp:erp", code=1)["report"]["forecast"]
    assert (found["counts"]["same"], found["counts"]["changed"], found["counts"]["removed"]) == (3, 1, 0)
    (write,) = found["writes"]
    assert (write["connection_id"], write["fields"][0]["field"]) == ("newerp", "/extensions/target/comment")

    narrower = other.replace(
        "      - connection: newerp\n", "      - connection: newerp\n        where: \"lines[0].taxes[0].rate == '9'\"\n"
    )
    erp = text_of(shop).partition("  erp:\n")[2].partition("  stock:\n")[0]
    beside = narrower.replace("  stock:\n", f"  erp:\n{erp}  stock:\n", 1)
    beside = beside.replace("      - connection: newerp\n", "      - connection: erp\n      - connection: newerp\n", 1)
    for text in (narrower, beside):  # instead of the old one, or beside it
        file.write_text(text)
        hub(shop, "shadow", "start", str(file))
        found = hub(shop, "shadow", "report", "stores", *since, "--instead", "newerp:erp", code=1)["report"]["forecast"]
        removed = [write for write in found["writes"] if write["change"] == "removed"]
        assert [write["connection_id"] for write in removed] == ["newerp"], "what the second target would lack is no equality"
    for wrong in ("newrp:erp", "newerp:epr"):
        url = f"/v1/integrations/stores/shadow?instead={wrong}"
        status, answer, _ = web(shop).call("GET", url)
        assert (status, answer["errors"][0]["field"]) == (400, "/instead"), answer


def test_a_plan_tells_flows_that_come_and_go_and_maps_that_fail(shop: Shop, tmp_path: Path) -> None:
    sell(shop, "9")
    shop.settle()
    file = tmp_path / "stores.yaml"
    text = text_of(shop).replace("      - connection: stock\n  - name", "  - name")
    text = text.replace(OLD, 'comment: "lookup(till.number, `{\\"7\\": \\"x\\"}`)"')
    file.write_text(text)

    found = hub(shop, "plan", str(file), code=2)["forecast"]

    assert found["counts"] == {"same": 0, "added": 0, "removed": 1, "changed": 0, "failing": 1}
    by_change = {write["change"]: write for write in found["writes"]}
    assert by_change["removed"]["connection_id"] == "stock"
    assert "'1' is not in the table (7)" in by_change["failing"]["problem"]

    # One delivery per connection: the flow whose name sorts first takes the place of `transactions` at the ERP.
    file.write_text(text + "  - name: again\n    on: sale.completed.v1\n    to: [{connection: erp}]\n")
    found = hub(shop, "plan", str(file), code=2)["forecast"]
    assert found["counts"] == {"same": 0, "added": 1, "removed": 2, "changed": 0, "failing": 0}
    assert next(write for write in found["writes"] if write["change"] == "added")["flow"] == "stores/again"


def test_a_revision_can_be_returned_to_compared_and_promoted(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "stores.yaml"
    file.write_text(text_of(shop).replace(OLD, NEW))
    second = hub(shop, "apply", str(file), "--reason", "new map")
    lines = hub(shop, "diff", "stores", code=1)["diff"]
    assert sum(line.startswith(("+ ", "- ")) for line in lines) == 2
    assert hub(shop, "diff", "stores", "2", "2")["diff"] == []

    back = hub(shop, "rollback", "stores", "--reason", "wrong")

    rows = hub(shop, "revisions", "stores")["items"]
    assert [(row["revision"], row["in_force"], row["reason"]) for row in rows] == [
        (1, False, ""), (2, False, "new map"), (3, True, "back to revision 1: wrong")]  # fmt: skip
    assert (back["revision"], rows[2]["digest"], rows[1]["author"]) == (3, rows[0]["digest"], "key/ops")
    with shop.hub.ctx.store.begin() as uow:
        uow.tenants.add("other", "Other", utc_now())
        other = create_key(uow, "other", "ops", SCOPES, utc_now())
    there = hub(shop, "promote", "stores", "--digest", second["digest"][:12], "--to-key", other)
    assert (there["digest"], there["revision"]) == (second["digest"], 1)
    refused = {"source": file.read_text(), "expect_digest": rows[0]["digest"]}
    status, answer, _ = web(shop).call("POST", "/v1/integrations", refused)
    assert (status, answer["errors"][0]["field"]) == (422, "/expect_digest")
    status, answer, _ = web(shop).call("POST", "/v1/integrations/stores/rollback", {"revision": 9})
    assert (status, answer["errors"][0]["message"]) == (422, "stores has the revisions 1 to 3")


def test_a_shadow_sends_nothing_and_says_what_it_would_have(shop: Shop, tmp_path: Path) -> None:
    sell(shop, "9")
    file = tmp_path / "stores.yaml"
    file.write_text(text_of(shop).replace(OLD, NEW))
    hub(shop, "shadow", "start", str(file))
    sales = sell(shop, "9", "7")
    shop.settle()

    report = hub(shop, "shadow", "report", "stores", code=1)["report"]["forecast"]

    assert [write["message_id"] for write in report["writes"]] == [sales[0]], "what came before the shadow is not compared"
    assert report["counts"] == {"same": 3, "added": 0, "removed": 0, "changed": 1, "failing": 0}
    assert not any("reduced" in str(invoice) for invoice in shop.tryton.invoices())
    assert hub(shop, "shadow", "cutover", "stores")["revision"] == 2
    later = sell(shop, "9")
    shop.settle()
    assert given(shop)[later[0]][1] == 2
    assert web(shop).call("GET", "/v1/integrations/stores/shadow")[0] == 404
    hub(shop, "rollback", "stores")
    hub(shop, "shadow", "start", str(file))
    hub(shop, "shadow", "stop", "stores")
    assert web(shop).call("GET", "/v1/integrations/stores/shadow")[0] == 404


OVERRIDES = """
environments:
  sandbox:
    connections: {erp: {settings: {database: sandbox}}}
tenants:
  acme:
    flows: {transactions: {where: "number != '0'", to: {erp: {map: {comment: "'Acme'"}}}}}
  north:
    connections: {stock: {base_url: "https://north.example.com", settings: {locations: {NORTH: 7}}}}
    flows: {transactions: {to: {erp: {map: {comment: null, reference: number}}}}}
"""


def test_one_definition_is_otherwise_for_a_tenant_and_an_environment(shop: Shop) -> None:
    plugins, text = shop.hub.ctx.plugins, text_of(shop) + OVERRIDES
    plain, north = parse_integration(text, "x.yaml", plugins), parse_integration(text, "x.yaml", plugins, "north", "sandbox")

    assert dict(plain.flows[0].targets[0].map) == {"comment": "join(' ', ['Till receipt', number])"}
    assert dict(north.flows[0].targets[0].map) == {"reference": "number"}
    assert north.connections["stock"]["base_url"] == "https://north.example.com"
    assert north.connections["stock"]["settings"]["locations"] == {"NORTH": 7}
    assert (plain.connections["erp"]["settings"]["database"], north.connections["erp"]["settings"]["database"]) == (
        "tryton",
        "sandbox",
    )
    assert north.connections["erp"]["settings"]["accounts"] == plain.connections["erp"]["settings"]["accounts"]

    web(shop).call("POST", "/v1/integrations", {"source": text})
    sell(shop, "9")
    shop.settle()
    assert [invoice["comment"] for invoice in shop.tryton.invoices()] == ["Acme"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [("north:", "north: {}\n  south:\n    flows: {no: {}}\n  west:", "tenants.south.flows.no: is not a flow here"),
     ("{stock: {base_url", "{shelf: {base_url", "tenants.north.connections.shelf: is not a connection here"),
     ("reference: number", "reference: number(", "is not JMESPath"),
     ("to: {erp: {map: {comment: null", "to: {pos: {map: {comment: null", "pos: is no target of this flow; known: erp, stock")],
)  # fmt: skip
def test_an_override_of_what_is_not_there_is_named(shop: Shop, old: str, new: str, problem: str) -> None:
    text = text_of(shop) + OVERRIDES
    assert old in text
    with pytest.raises(ManifestError, match=problem.replace("(", r"\(")):
        parse_integration(text.replace(old, new), "x.yaml", shop.hub.ctx.plugins)


def test_an_environment_that_is_not_declared_is_named(shop: Shop) -> None:
    with pytest.raises(ManifestError, match="'staging' is not declared; known: sandbox"):
        parse_integration(text_of(shop) + OVERRIDES, "x.yaml", shop.hub.ctx.plugins, "acme", "staging")


def test_the_schema_for_editors_takes_what_the_hub_takes_and_refuses_what_it_refuses(shop: Shop) -> None:
    import jsonschema_rs

    from hub.sdk.source import read_yaml

    schema = json.loads(CliRunner().invoke(main, ["schema"]).output)
    data = read_yaml(text_of(shop) + OVERRIDES, "x.yaml").data
    validator = jsonschema_rs.validator_for(schema)

    assert validator.is_valid(data)
    assert not validator.is_valid({**data, "flows": []})
    assert not validator.is_valid({**data, "flow": []})
    assert not validator.is_valid({**data, "flows": [{**data["flows"][0], "lane": "fast"}]})


#: One system's tax codes for another's: two lead to one, and what is not named waits for a person.
VALUES = 'values: {tax_codes: {map: {"9": S9, "9.0": S9, "7": S7}}}\n'
BY_VALUES = 'comment: "mapped(lines[0].taxes[0].rate, values.tax_codes)"'


def test_a_value_map_translates_and_what_it_does_not_know_waits_for_a_person(shop: Shop) -> None:
    text = VALUES + text_of(shop).replace(OLD, BY_VALUES)
    assert BY_VALUES in text
    shop.apply(text)

    sell(shop, "9", "7", "5")
    shop.settle()
    books = [row for row in shop.deliveries() if row["connection_id"] == "erp" and row["subject"].startswith("sale/")]
    dead = [row for row in books if row["state"] == "dead"]

    assert sorted(row["state"] for row in books) == ["applied", "applied", "dead"]
    assert "values.tax_codes says nothing of '5'" in dead[0]["cause"]
    assert "replay" in dead[0]["remedy"]

    shop.apply(text.replace('"7": S7}', '"7": S7}, default: S0'))
    web(shop).call("POST", f"/v1/dead-letters/{dead[0]['id']}/replay", {"reason": "a default"})
    shop.settle()

    comments = sorted(document["comment"] for document in shop.tryton.invoices())
    assert comments == ["S0", "S7", "S9"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ("", "values.tax_codes is not declared; known: none"),
        ("values: {others: {map: {a: b}}}\n", "values.tax_codes is not declared; known: others"),
        ("values: {tax_codes: {map: {}}}\n", "values.tax_codes.map: Shorter"),
        ("values: {tax_codes: {map: {a: [b]}}}\n", "a text, a number, true or false"),
        (VALUES + "tenants: {north: {values: {units: {default: x}}}}\n", "is no value map here; known: tax_codes"),
    ],
)
def test_a_value_map_that_is_wrong_is_told_by_line(shop: Shop, values: str, problem: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_integration(values + text_of(shop).replace(OLD, BY_VALUES), "stores.yaml")

    assert problem in str(caught.value)


def test_a_tenant_may_have_other_words(shop: Shop) -> None:
    override = 'tenants: {north: {values: {tax_codes: {map: {"7": N7}, default: N0}}}}\n'
    parsed = parse_integration(VALUES + override + text_of(shop).replace(OLD, BY_VALUES), "stores.yaml", None, "north")
    target = next(target for flow in parsed.flows for target in flow.targets if target.map)

    found = [target.fields({"lines": [{"taxes": [{"rate": rate}]}]}) for rate in ("9", "7", "1")]

    assert [item["comment"] for item in found] == ["S9", "N7", "N0"]


def test_owners_of_an_entity_are_declared_in_one_file(shop: Shop) -> None:
    owners = "ownership: {product: {name: till}}\n"
    file = "integration: {name}\nconnections: {{till: {{connector: square, base_url: {url}, settings: {{timezone: UTC}}}}}}\n" \
           "flows: [{{name: f, on: product.v2, to: []}}]\n"  # fmt: skip
    texts = [file.format(name=name, url=shop.servers["square"].url) + owners for name in ("one", "two")]

    status, first, _ = web(shop).call("POST", "/v1/integrations", {"source": texts[0]})
    assert status == 200, first
    status, refused, _ = web(shop).call("POST", "/v1/integrations", {"source": texts[1]})
    assert (status, refused["code"]) == (422, "invalid_integration")
    assert [(item["code"], item["field"]) for item in refused["errors"]] == [("owned_elsewhere", "/ownership/product")]
    assert "'one'" in refused["detail"]
    status, again, _ = web(shop).call("POST", "/v1/integrations", {"source": texts[0] + "# again\n"})
    assert (status, again["revision"]) == (200, 2), "its own file may say it anew"


def test_real_records_are_shown_side_by_side(shop: Shop, tmp_path: Path) -> None:
    shop.square.count(shop.items["SKU-0001"], 7, announce=False)
    shop.square.adjust(shop.items["SKU-0002"], 1, "IN_STOCK", "SOLD")
    file = tmp_path / "stores.yaml"
    file.write_text(
        text_of(shop).replace("to: [{connection: stock}]", "to: [{connection: stock, map: {batch: quantity, bad: number}}]")
    )
    shop.until(lambda: len(shop.raws()) == 2)  # the till's own poll has been there

    counted, sold = hub(shop, "preview", "pos", "inventory_change", "--file", str(file))["items"][-2:]

    (document,) = counted["documents"]
    assert (document["type"], document["data"]["quantity"], document["problems"]) == ("stock.counted.v1", "7", [])
    (target,) = counted["targets"]
    assert (target["connection_id"], target["document"]["extensions"]["target"]) == ("stock", {"batch": "7"})
    assert "/type" in counted["unmapped"]
    assert "/physical_count/quantity" not in counted["unmapped"]
    assert sold["documents"] == [{"ignored": "IN_STOCK to SOLD is part of a sale and comes with its order"}]
    assert (
        hub(shop, "preview", "pos", "inventory_change", "--count", "1")["items"][0]["targets"][0]["document"].get("extensions")
        is None
    )
    assert len(shop.raws()) == 2, "nothing is stored"
    result = CliRunner().invoke(
        main, ["preview", "pos", "inventory_count", "--url", f"http://127.0.0.1:{web(shop).port}", "--key", shop.key]
    )
    assert result.exit_code == 4
    assert "'inventory_count' cannot be read; inventory_change, item_variation, order can" in result.output


def test_a_field_that_an_account_loses_is_told_if_a_map_sets_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from hub_tryton.simulator import TrytonSimulator

    whole = TrytonSimulator._fields_get
    drift = Drift(shop.hub.ctx)

    def told() -> list[tuple[str, Any]]:
        with shop.hub.ctx.store.begin() as uow:
            row = uow.cursors.get(shop.tenant, "erp", "#fields")
            if row:
                uow.cursors.put({**row, "next_run_at": utc_now()})
        drift.run_due()
        with shop.hub.ctx.store.read() as uow:
            rows = uow.audit.page(shop.tenant, None, 200, "connection/erp")
        return [
            (row["action"], row["detail"]["unknown"])
            for row in rows
            if row["action"] in ("connection.drifted", "connection.agrees")
        ]

    def without(*lost: str) -> None:
        def fields(self: TrytonSimulator, model: str, names: list[str] | None) -> Any:
            return {name: item for name, item in whole(self, model, names).items() if name not in lost}

        monkeypatch.setattr(TrytonSimulator, "_fields_get", fields)

    assert told() == [], "what the map sets is there"
    without("description")
    assert told() == [], "nobody sets it"
    without("comment")
    assert told() == told() == [("connection.drifted", ["stores/transactions: comment"])], "told once"
    without()
    assert told()[0] == ("connection.agrees", [])

    def broken(self: Any) -> Any:
        raise TypeError("a bug")
        yield

    monkeypatch.setattr("hub_tryton.connector.Tryton.describe", broken)
    assert told()[0] == ("connection.agrees", []), "what cannot be asked has lost nothing, and stops nobody"
