"""The linter's rules: each has a document that breaks it and one that keeps it; findings say where, in which line."""

from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from hub.cli import main
from hub.contracts.document import contract_folder
from hub.contracts.lint import Report, lint, lint_others, lint_text, ruleset
from hub.errors import HubError

GOOD = """\
openapi: 3.0.3
info:
  title: Stock
  version: 1.0.0
  description: Levels.
  contact: {name: Team}
  license: {name: Apache-2.0}
servers: [{url: https://hub.example.com}]
paths:
  /v1/levels:
    get:
      operationId: listLevels
      summary: List levels
      tags: [stock]
      security: [{ApiKey: []}]
      x-scope: stock:read
      parameters:
        - {name: cursor, in: query, description: Where to go on., schema: {type: string}}
      responses:
        '200': {description: A page., content: {application/json: {schema: {$ref: '#/components/schemas/Page'}}}}
        '404': {description: None., content: {application/problem+json: {schema: {type: object}}}}
    post:
      operationId: setLevel
      summary: Set a level
      tags: [stock]
      security: [{ApiKey: []}]
      x-scope: stock:write
      parameters:
        - {name: Idempotency-Key, in: header, description: For repeating., schema: {type: string}}
      requestBody:
        content:
          application/json:
            example: {sku: A-1}
            schema:
              type: object
              properties:
                sku: {type: string, maxLength: 64}
                lots: {type: array, maxItems: 10, items: {type: string, maxLength: 9}}
                amount: {type: string, pattern: '^[0-9]+$'}
                counted_at: {type: string, format: date-time}
      responses:
        '204': {description: Done.}
components:
  securitySchemes:
    ApiKey: {type: http, scheme: bearer}
  schemas:
    Page:
      type: object
      properties:
        items: {type: array, items: {type: object}}
"""


OTHERS = {
    "event": """\
title: stock.counted.v1
description: An article was counted.
type: object
additionalProperties: false
properties:
  counted_at: {type: string, format: date-time}
  value: {type: object, properties: {amount: {type: string}}}
""",
    "connector": """\
version: 1.0.0
hosts: [https://api.example.com]
writes: {sale.completed.v1: effect-once}
""",
}


def _broken(report: Report) -> set[str]:
    return {finding.rule for finding in report.findings}


def test_a_good_document_breaks_no_rule_and_scores_a_hundred() -> None:
    report = lint_text(GOOD)

    assert report.findings == []
    assert report.score == 100.0
    # Nothing is deprecated in it, so that rule has nothing to check.
    assert {rule.id for rule in ruleset() if rule.of == "openapi"} - set(report.checked) == {"deprecated-with-sunset"}
    for kind, document in OTHERS.items():
        report = lint(yaml.safe_load(document), of=kind)
        assert (report.findings, set(report.checked)) == ([], {rule.id for rule in ruleset() if rule.of == kind})


def _get(document: Any) -> Any:
    return document["paths"]["/v1/levels"]["get"]


def _body(document: Any) -> Any:
    return document["paths"]["/v1/levels"]["post"]["requestBody"]["content"]["application/json"]


BREAKERS: dict[str, Any] = {
    "info-described": lambda d: d["info"].pop("description"),
    "info-contact": lambda d: d["info"].pop("contact"),
    "info-license": lambda d: d["info"].pop("license"),
    "servers-named": lambda d: d.update(servers=[]),
    "path-casing": lambda d: d["paths"].update({"/v1/stockLevels/": {}}),
    "path-versioned": lambda d: d["paths"].update({"/levels": {}}),
    "path-without-query": lambda d: d["paths"].update({"/v1/levels?sku=1": {}}),
    "operation-id": lambda d: _get(d).pop("operationId"),
    "operation-id-unique": lambda d: _get(d).update(operationId="setLevel"),
    "operation-summary": lambda d: _get(d).pop("summary"),
    "operation-tagged": lambda d: _get(d).update(tags=[]),
    "operation-secured": lambda d: _get(d).pop("security"),
    "operation-scoped": lambda d: _get(d).pop("x-scope"),
    "operation-succeeds": lambda d: _get(d)["responses"].pop("200"),
    "errors-are-problems": lambda d: _get(d)["responses"]["404"].update(content={"text/html": {}}),
    "get-without-body": lambda d: _get(d).update(requestBody={"content": {}}),
    "write-idempotent": lambda d: d["paths"]["/v1/levels"]["post"].pop("parameters"),
    "list-paged": lambda d: _get(d)["parameters"].clear(),
    "deprecated-with-sunset": lambda d: _get(d).update(deprecated=True),
    "media-type-example": lambda d: _body(d).pop("example"),
    "parameter-described": lambda d: _get(d)["parameters"][0].pop("description"),
    "parameter-schema": lambda d: _get(d)["parameters"][0].pop("schema"),
    "property-casing": lambda d: _body(d)["schema"]["properties"].update(businessDate={"type": "integer"}),
    "money-is-no-number": lambda d: _body(d)["schema"]["properties"]["amount"].update(type="number"),
    "time-has-format": lambda d: _body(d)["schema"]["properties"]["counted_at"].update(format="x", maxLength=9) or
    _body(d)["schema"]["properties"]["counted_at"].pop("format"),
    "array-bounded": lambda d: _body(d)["schema"]["properties"]["lots"].pop("maxItems"),
    "string-bounded": lambda d: _body(d)["schema"]["properties"]["sku"].pop("maxLength"),
    "no-basic-credentials": lambda d: d["components"]["securitySchemes"].update(Old={"type": "http", "scheme": "basic"}),
    "reference-resolves": lambda d: d["components"]["schemas"]["Page"]["properties"].update(x={"$ref": "#/components/schemas/No"}),
    "reference-alone": lambda d: d["components"]["schemas"]["Page"]["properties"].update(
        x={"$ref": "#/components/schemas/Page", "description": "x"}),
    "event-type-name": lambda d: d.update(title="StockCounted"),
    "event-described": lambda d: d.pop("description"),
    "event-closed": lambda d: d.pop("additionalProperties"),
    "event-time-has-format": lambda d: d["properties"]["counted_at"].pop("format"),
    "event-money-is-no-number": lambda d: d["properties"]["value"]["properties"]["amount"].update(type="number"),
    "connector-version": lambda d: d.update(version="v1"),
    "connector-host-https": lambda d: d["hosts"].append("http://api.example.com"),
    "connector-guarantee": lambda d: d["writes"].update({"product.v1": "at-least-once"}),
}  # fmt: skip


@pytest.mark.parametrize("rule", [rule.id for rule in ruleset()])
def test_each_rule_is_broken_by_exactly_one_change(rule: str) -> None:
    of = next(item.of for item in ruleset() if item.id == rule)
    document = yaml.safe_load(GOOD if of == "openapi" else OTHERS[of])
    BREAKERS[rule](document)

    report = lint(document, of=of)

    assert _broken(report) == {rule}
    assert report.score < 100.0
    assert report.failed[rule] >= 1


def test_a_finding_names_its_pointer_and_its_line() -> None:
    (found,) = lint_text(GOOD.replace("      summary: List levels\n", "")).findings

    assert (found.rule, found.pointer) == ("operation-summary", "/paths/~1v1~1levels/get")
    assert GOOD.splitlines()[found.line - 1].strip() == "get:"
    (found,) = lint_text(GOOD.replace("operationId: setLevel", "operationId: listLevels")).findings
    assert "operationId" in GOOD.splitlines()[found.line - 1]
    assert "listLevels" in found.message


def test_a_text_that_is_neither_yaml_nor_json_is_told_so() -> None:
    with pytest.raises(HubError, match="neither YAML nor JSON"):
        lint_text("a: [")


def test_our_own_contract_breaks_no_rule_of_severity_error_on_the_command_line() -> None:
    done = CliRunner().invoke(main, ["contracts", "lint", str(contract_folder() / "hub.yaml")])

    assert done.exit_code == 0, done.output
    assert "score" in done.output.splitlines()[-1]


def test_every_rule_says_why_and_shows_both_sides() -> None:
    assert len(ruleset()) >= 25
    assert len({rule.id for rule in ruleset()}) == len(ruleset())
    for rule in ruleset():
        assert rule.severity in ("error", "warn", "hint")
        assert len(rule.why) > 10
        assert rule.good != rule.bad


def test_events_and_connectors_are_linted_with_the_pointers_of_changes() -> None:
    events = {"stock.counted.v1": yaml.safe_load(OTHERS["event"]) | {"additionalProperties": True}}
    connectors = {"acme": yaml.safe_load(OTHERS["connector"]) | {"version": "one"}}

    report = lint_others(events, connectors)

    assert {(item.rule, item.pointer) for item in report.findings} == {
        ("event-closed", "events#/stock.counted.v1/additionalProperties"), ("connector-version", "connectors#/acme/version"),
    }  # fmt: skip
    assert 0 < report.score < 100
