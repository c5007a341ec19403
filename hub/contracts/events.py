"""The event contract: what an internal system that binds a queue to `hub.events` receives. AsyncAPI 3, from the registry."""

from typing import Any

from canonical.envelope import EnvelopeSchema
from canonical.examples import EXAMPLES
from canonical.json_schema import component_name, components
from canonical.registry import TYPES
from hub import __version__
from hub.broker import EVENTS
from hub.policies import redaction

_TENANT = {"description": "The tenant whose event it is; a queue bound to `acme.#` gets all of one tenant's."}


def async_api() -> dict[str, Any]:
    """The AsyncAPI document: one channel and one message per canonical type."""
    schemas: dict[str, Any] = {}
    components(EnvelopeSchema, schemas)
    envelope = schemas.pop(component_name(EnvelopeSchema))
    channels, operations, messages = {}, {}, {}
    for name, definition in TYPES.items():
        data = components(definition.schema_class, schemas)
        properties = {**envelope["properties"], "type": {"const": name}, "data": data, "messageid": _MESSAGE_ID}
        messages[name] = {
            "name": name, "title": name, "summary": schemas[component_name(definition.schema_class)]["description"],
            "contentType": "application/json",
            "payload": {"type": "object", "properties": properties,
                        "required": [*envelope["required"], "subject", "tenantid", "messageid"]},
            "examples": [{"payload": example(name)}],
        }  # fmt: skip
        channels[name] = {
            "address": "{tenant}." + name, "parameters": {"tenant": _TENANT},
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
            "bindings": {"amqp": {"is": "routingKey", "bindingVersion": "0.3.0",
                                  "exchange": {"name": EVENTS, "type": "topic", "durable": True, "autoDelete": False}}},
        }  # fmt: skip
        operations[f"announce.{name}"] = {
            "action": "send", "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        }  # fmt: skip
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Crossdock events", "version": __version__,
            "description": "Every accepted message, once it is committed: a CloudEvents envelope with personal fields masked. "
                           "At least once: `messageid` is unique and the same in a repetition.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }  # fmt: skip


_MESSAGE_ID = {"type": "string", "format": "uuid", "description": "The hub's id of the message: dedupe by it."}


def example(name: str) -> dict[str, Any]:
    """What is announced of a type's example document."""
    document = EXAMPLES[name]
    time = document.get("occurred_at") or document.get("updated_at") or document.get("as_of") or "2026-11-21T12:00:00Z"
    return {
        "specversion": "1.0", "id": f"example-{name}", "source": "/till", "type": name, "time": time,
        "subject": TYPES[name].subject(document), "datacontenttype": "application/json",
        "dataschema": f"urn:crossdock:canonical:{name}", "tenantid": "acme",
        "messageid": "0192f4e2-7c1a-7b3e-9d55-3f1c2ab40001", "data": redaction.document(name, document),
    }  # fmt: skip
