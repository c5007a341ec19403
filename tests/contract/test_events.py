"""The event contract (AsyncAPI): what it says is what is announced on `hub.events`."""

from typing import Any

import jsonschema_rs
import orjson
import pytest
import yaml

from canonical.examples import EXAMPLES
from canonical.registry import TYPES, shape_violations
from hub.broker import EVENTS
from hub.contracts.document import contract_folder
from hub.contracts.events import async_api, example
from hub.policies import redaction

CONTRACT = async_api()


def _resolves(reference: str) -> bool:
    value: Any = CONTRACT
    for step in reference.removeprefix("#/").split("/"):
        value = value[step]
    return bool(value)


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [item for key, item in value.items() if key == "$ref"] + [
            found for key, item in value.items() if key != "$ref" for found in _references(item)
        ]
    return [found for item in value for found in _references(item)] if isinstance(value, list) else []


def test_every_type_has_a_channel_on_the_exchange_and_every_reference_resolves() -> None:
    assert set(CONTRACT["channels"]) == set(TYPES) == set(CONTRACT["components"]["messages"])
    for name, channel in CONTRACT["channels"].items():
        assert channel["address"] == f"{{tenant}}.{name}"
        assert channel["bindings"]["amqp"]["exchange"]["name"] == EVENTS
    assert all(_resolves(reference) for reference in set(_references(CONTRACT)))


@pytest.mark.parametrize("name", sorted(TYPES))
def test_what_is_announced_fits_its_message_and_carries_no_personal_data(name: str) -> None:
    payload = CONTRACT["components"]["messages"][name]["payload"]
    validator = jsonschema_rs.validator_for({**payload, "components": CONTRACT["components"]})

    assert [error.message for error in validator.iter_errors(example(name))] == []
    masked = redaction.document(name, EXAMPLES[name])
    assert shape_violations(TYPES[name].schema, masked) == []
    said = str(masked)
    assert "Ada" not in said
    assert "ada@example.com" not in said


def test_no_canonical_component_hides_one_of_the_api() -> None:
    folder = contract_folder()
    written = yaml.safe_load((folder / "hub.yaml").read_text("utf-8"))["components"]["schemas"]
    generated = orjson.loads((folder / "schemas/canonical.json").read_bytes())["components"]["schemas"]

    assert set(written) & set(generated) == set()
