"""What the hub relies on, and that both sides of this plugin speak Shopify's own language: every question that is asked and every
answer of the simulator keep the types of Shopify's published schema.
"""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hub_shopify import kit, queries
from hub_shopify.connector import Shopify
from hub_shopify.simulator import ShopifySimulator
from hub_shopify.simulator.graphql import GraphQLError, execute

from hub.sdk import AuthenticationError, RateLimitedError, Request
from hub.sdk.answers import classify
from hub.sdk.kit.subject import Trial
from hub.sdk.steps import Subscription
from hub.sdk.testing import SimRequest

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SCHEMA = Path(__file__).resolve().parents[4] / "shared/specs/shopify/admin_schema_2025-01.json.gz"
ASK = Request("POST", "/admin/api/2025-01/graphql.json", json={"query": "{ shop { currencyCode } }"}, effect=False)


def test_manifest_and_code_agree() -> None:
    assert Shopify.disagreements() == []


def test_shopifys_refusals_mean_what_they_should() -> None:
    simulator = ShopifySimulator()

    throttled = classify(Shopify.manifest, ASK, simulator.throttled(2), NOW)
    refused = classify(Shopify.manifest, ASK, simulator.handle(SimRequest.of(ASK, {})), NOW)

    assert isinstance(throttled, RateLimitedError)
    assert throttled.retry_after == 2
    assert isinstance(refused, AuthenticationError)


def test_a_subscription_is_made_listed_and_ended() -> None:
    trial = kit.subject().trial()
    url = "https://hub.example/webhooks/acme/other"

    trial.perform(trial.connector.subscribe("ORDERS_CREATE", url))
    ours = [item for item in trial.perform(trial.connector.subscriptions()) if item.url == url]
    for _ in range(2):  # one that is gone already is no error
        trial.perform(trial.connector.unsubscribe(ours[0].id))

    assert [(item.topic, item.active) for item in ours] == [("ORDERS_CREATE", True)]
    assert url not in {item.url for item in trial.perform(trial.connector.subscriptions())}
    assert isinstance(ours[0], Subscription)


@pytest.fixture(scope="module")
def schema() -> Any:
    graphql = pytest.importorskip("graphql", reason="Shopify's schema is read by graphql-core, which is not installed")
    if not SCHEMA.exists():
        pytest.skip("Shopify's published schema is not beside this checkout")
    loaded = json.loads(gzip.decompress(SCHEMA.read_bytes()))
    return graphql.build_client_schema(loaded.get("data") or loaded, assume_valid=True)


def _documents() -> Iterator[str]:
    yield from (text for name, text in vars(queries).items()
                if name.isupper() and not name.startswith("_") and isinstance(text, str))  # fmt: skip
    for declared in Shopify.manifest.objects.values():
        if declared["read"] and declared["read"]["request"]["json"]:
            yield declared["read"]["request"]["json"]["query"]


@pytest.mark.parametrize("text", list(_documents()), ids=lambda text: text.split("(")[0].split("{")[0].strip())
def test_what_is_asked_is_in_shopifys_schema(text: str, schema: Any) -> None:
    import graphql

    assert [error.message for error in graphql.validate(schema, graphql.parse(text))] == []


def test_what_the_simulator_answers_keeps_the_types_of_the_schema(schema: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import graphql

    asked: set[str] = set()
    wrong: list[str] = []
    handle = ShopifySimulator.handle

    def watched(self: ShopifySimulator, request: SimRequest) -> Any:
        response = handle(self, request)
        body, told = request.json(), json.loads(response.content)
        if "data" in told:
            document = graphql.parse(body["query"])
            result: Any = graphql.execute(schema, document, told["data"], variable_values=body.get("variables"))
            asked.add(body["query"].partition("(")[0].partition("{")[0])
            wrong.extend(f"{body['query'][:40]}: {error.message}" for error in result.errors or ())
            if not result.errors and result.data != told["data"]:
                wrong.append(f"{body['query'][:40]}: {told['data']} is {result.data}")
        return response

    monkeypatch.setattr(ShopifySimulator, "handle", watched)
    subject = kit.subject()
    for name, document in subject.writes():
        for _ in range(2):
            subject.trial().deliver(name, document, "XD0000000000000000000001")
    trial = subject.trial()
    for change in trial.system.changes:
        trial.perform(trial.connector.translate(change))
    _read_all(trial)
    trial.perform(trial.connector.describe())
    trial.perform(trial.connector.subscriptions())
    trial.perform(trial.connector.check())

    assert wrong == []
    assert len(asked) >= 17


def _read_all(trial: Trial) -> None:
    for name in trial.connector.manifest.objects:
        cursor: Any = {}
        for _ in range(20):
            page = trial.perform(trial.connector.read(name, cursor))
            cursor = page.cursor
            if not page.more:
                break


def test_the_simulators_graphql_refuses_what_is_not_there() -> None:
    roots = {"query": {"shop": {"name": "Harbour"}}, "mutation": {}}

    assert execute("query Q($x: ID) { s: shop { name } }", {}, roots) == {"s": {"name": "Harbour"}}
    for text in ("{ nothing }", "{ shop }", "{ shop { name { x } } }", "{ shop { name }", "query", "{ shop(a: ) }"):
        with pytest.raises(GraphQLError):
            execute(text, {}, roots)
