"""connector.yaml: what a connector declares. Read strictly; every problem is reported at once, with file and line.

The shape is defined once (`hub.sdk.declaration`), as marshmallow schemas; `docs/howto/write-a-connector.md` walks through it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from marshmallow import ValidationError

from canonical.registry import TYPES
from hub.sdk.declaration import IDEMPOTENCY, ManifestSchema
from hub.sdk.errors import ManifestError
from hub.sdk.mapping import check_template, compiled
from hub.sdk.source import Source, read_yaml
from hub.sdk.webhook import SignatureScheme


@dataclass(frozen=True)
class Manifest:
    """A checked connector.yaml. ``data`` is the loaded document; the properties are what the hub asks for."""

    data: Mapping[str, Any]
    source: Source = field(repr=False)

    @property
    def connector(self) -> str:
        return str(self.data["connector"])

    @property
    def limits(self) -> Mapping[str, Any]:
        limits: Mapping[str, Any] = self.data["limits"]
        return limits

    @property
    def objects(self) -> Mapping[str, Any]:
        objects: Mapping[str, Any] = self.data["objects"]
        return objects

    @property
    def writes(self) -> Mapping[str, Any]:
        writes: Mapping[str, Any] = self.data["writes"]
        return writes

    @property
    def signature(self) -> SignatureScheme | None:
        declared = self.data["webhooks"]
        if declared is None:
            return None
        return SignatureScheme(**{**declared["signature"], "over": tuple(declared["signature"]["over"])})

    def guarantee(self, type_name: str) -> str:
        """The stated guarantee level of writing that canonical type (DESIGN, "Ambiguous writes")."""
        return IDEMPOTENCY[self.writes[type_name]["idempotency"]]


def parse_manifest(text: str, name: str) -> Manifest:
    """A checked manifest; raises ManifestError listing every problem as `file:line: field: problem`."""
    source = read_yaml(text, name)
    try:
        data = ManifestSchema().load(source.data)
    except ValidationError as error:
        raise ManifestError("\n".join(source.error(p, m) for p, m in flatten(error.messages))) from None
    if problems := [source.error(pointer, problem) for pointer, problem in _consistency(data)]:
        raise ManifestError("\n".join(problems))
    return Manifest(data, source)


def load_manifest(package: str) -> Manifest:
    """The manifest of an installed plugin package: its ``connector.yaml``."""
    path = resources.files(package) / "connector.yaml"
    return parse_manifest(path.read_text("utf-8"), f"{package}/connector.yaml")


def flatten(messages: Any, pointer: str = "") -> list[tuple[str, str]]:
    """Marshmallow's nested messages as (pointer, message)."""
    if isinstance(messages, Mapping):
        found = []
        for key, inner in messages.items():
            # Dict fields report errors under "key"/"value"; the file has no such level.
            below = pointer if key in ("_schema", "key", "value") else f"{pointer}/{key}"
            found += flatten(inner, below)
        return found
    return [(pointer, str(message)) for message in (messages if isinstance(messages, list) else [messages])]


def _consistency(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the schemas cannot say: expressions compile, names that are referred to exist."""
    problems: list[tuple[str, str]] = []

    def expression(pointer: str, text: str) -> None:
        if text:
            try:
                compiled(text)
            except ValueError as error:
                problems.append((pointer, str(error)))

    if not data["self_hosted"] and not data["environments"]:
        problems.append(("/environments", "name at least one environment, or say self_hosted: true"))
    webhooks = data["webhooks"]
    if webhooks:
        if webhooks["secret"] not in data["credentials"]:
            problems.append(("/webhooks/secret", f"{webhooks['secret']!r} is not among the credentials"))
        expression("/webhooks/event_id", webhooks["event_id"])
        expression("/webhooks/event_type", webhooks["event_type"])
        problems += _webhook_problems(webhooks)
    for index, rule in enumerate(data["errors"]):
        for key in ("when", "message", "field", "retry_after"):
            expression(f"/errors/{index}/{key}", rule[key])
    for name, declared in data["objects"].items():
        here = f"/objects/{name}"
        if declared["read"]:
            for key in ("records", "ref", "incremental"):
                expression(f"{here}/read/{key}", declared["read"][key])
            paging = declared["read"]["paging"]
            expression(f"{here}/read/paging/token", paging["token"])
            expression(f"{here}/read/paging/more", paging["more"])
            expression(f"{here}/read/paging/total", paging["total"])
            if paging["total"] and paging["type"] != "offset":
                problems.append((f"{here}/read/paging/total", "is compared with the offset: leave it out for other types"))
            if paging["type"] in ("cursor", "next_url", "version") and not paging["token"]:
                problems.append((f"{here}/read/paging/token", "where in the answer is what the next page is asked by?"))
            problems += check_template(declared["read"]["request"], f"{here}/read/request")
        if declared["fetch"]:
            problems += check_template(declared["fetch"], f"{here}/fetch")
        expression(f"{here}/record", declared["record"])
        if declared["map"]:
            problems += check_template(declared["map"], f"{here}/map")
            if declared["map"]["type"] not in TYPES:
                problems.append((f"{here}/map/type", f"unknown type; one of {', '.join(sorted(TYPES))}"))
    for name, declared in data["writes"].items():
        here = f"/writes/{name}"
        if name not in TYPES:
            problems.append((here, f"unknown type; one of {', '.join(sorted(TYPES))}"))
        elif TYPES[name].major > data["canonical"]:
            problems.append(
                (here, f"major {TYPES[name].major} with `canonical: {data['canonical']}`: declare the newest major")
            )
        problems += check_template(declared["request"], f"{here}/request")
        if declared["find"]:
            problems += check_template(declared["find"]["request"], f"{here}/find/request")
            expression(f"{here}/find/external_id", declared["find"]["external_id"])
        if declared["request"] and not declared["external_id"]:
            problems.append((f"{here}/external_id", "say where the answer carries the new record's id"))
        expression(f"{here}/external_id", declared["external_id"])
    if describe := data["describe"]:
        problems += check_template(describe["request"], "/describe/request")
        expression("/describe/records", describe["records"])
        for key in ("object", "name", "type", "label", "required", "custom"):
            problems += check_template(describe[key], f"/describe/{key}")
    return problems + list(_authentication(data["auth"], data["credentials"]))


def _webhook_problems(webhooks: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    signature, handshake, kept = webhooks["signature"], webhooks["handshake"], webhooks["subscriptions"]
    if bool(webhooks["event_id"]) == bool(webhooks["event_id_header"]):
        yield "/webhooks/event_id", "an expression over the body, or event_id_header: one of them"
    if kept is not None:
        for name, where in (("list", kept["list"]["request"]), ("create", kept["create"]), ("delete", kept["delete"])):
            yield from check_template(where, f"/webhooks/subscriptions/{name}")
        for name in ("records", "id", "topic", "url", "active", "expires_at"):
            yield from check_template(f"= {kept['list'][name] or '@'}", f"/webhooks/subscriptions/list/{name}")
    here = "/webhooks/signature"
    if "timestamp" in signature["over"] and signature["format"] != "pairs" and not signature["timestamp_header"]:
        yield f"{here}/timestamp_header", "which header carries the timestamp?"
    if "id" in signature["over"] and not signature["id_header"]:
        yield f"{here}/id_header", "which header carries the id?"
    if signature["type"] == "static" and signature["over"] != ["body"]:
        yield f"{here}/over", "a static header covers nothing; leave it out"
    if handshake is not None and bool(handshake["query"]) == bool(handshake["body"]):
        yield "/webhooks/handshake", "query (a parameter) or body (an expression) whose value is answered: one of them"
    if handshake is not None and handshake["body"]:
        yield from check_template(f"= {handshake['body']}", "/webhooks/handshake/body")


def _authentication(auth: Mapping[str, Any], credentials: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """At most one way to authenticate, and every credential that it names is declared."""
    ways = [name for name in ("login", "oauth2", "oauth1") if auth[name]]
    if len(ways) > 1:
        yield "/auth", f"{' and '.join(ways)}: one of them"
    if login := auth["login"]:
        yield from check_template(login["request"], "/auth/login/request")
        for name, text in {
            "value": login["value"],
            **{f"headers/{key}": value for key, value in login["headers"].items()},
        }.items():
            yield from check_template(text, f"/auth/login/{name}")
        if login["expired"]:
            yield from check_template(f"= {login['expired']}", "/auth/login/expired")
        if bool(login["header"]) != bool(login["value"]) or not (login["header"] or login["headers"]):
            yield "/auth/login", "say what each request carries: headers, or header and value"
    named: dict[str, str] = {}
    if oauth2 := auth["oauth2"]:
        if oauth2["client_auth"] in ("basic", "post"):
            named |= {"oauth2/client_id": oauth2["client_id"], "oauth2/client_secret": oauth2["client_secret"]}
        if oauth2["assertion"]:
            named["oauth2/assertion/private_key"] = oauth2["assertion"]["private_key"]
        elif oauth2["grant"] == "jwt_bearer" or oauth2["client_auth"] == "jwt":
            yield "/auth/oauth2/assertion", "say what is signed: private_key and claims"
        if oauth2["grant"] in ("refresh_token", "authorization_code"):
            named["oauth2/grant"] = "refresh_token"
        if oauth2["optional"] and (oauth2["grant"] == "authorization_code" or not auth["headers"]):
            yield "/auth/oauth2/optional", "needs headers that do without it, and a grant that needs no person"
        if oauth2["grant"] == "authorization_code" and not oauth2["authorize_url"]:
            yield "/auth/oauth2/authorize_url", "where does a person agree?"
    if oauth1 := auth["oauth1"]:
        named |= {f"oauth1/{name}": oauth1[name] for name in ("consumer_key", "consumer_secret", "token", "token_secret")}
    for place, name in named.items():
        if name not in credentials:
            yield f"/auth/{place}", f"{name!r} is not among the credentials"
