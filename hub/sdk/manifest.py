"""connector.yaml: what a connector declares. Read strictly; every problem is reported at once, with file and line.

The shape is defined once, as marshmallow schemas; `docs/howto/write-a-connector.md` walks through it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from canonical.registry import TYPES
from hub.sdk.errors import ManifestError
from hub.sdk.mapping import check_template, compiled
from hub.sdk.source import Source, read_yaml
from hub.sdk.webhook import SignatureScheme

KINDS = ("pos", "stock", "erp", "shop", "payments", "crm", "other")
IDEMPOTENCY = {
    "native_key": "effect-once",
    "upsert": "effect-once",
    "find": "effect-once with look-up",
    "none": "at-least-once",
}
ERROR_ACTIONS = ("retry", "rate_limited", "rejected", "authentication", "ambiguous", "accept")


class _Strict(Schema):
    class Meta:
        unknown = RAISE


class _EnvironmentSchema(_Strict):
    base_url = fields.Str(required=True)


class _DeclaredValueSchema(_Strict):
    description = fields.Str(required=True)
    required = fields.Bool(load_default=True)
    default = fields.Raw(load_default=None)


class _RequestSchema(_Strict):
    method = fields.Str(load_default="GET", validate=validate.OneOf(("GET", "POST", "PUT", "PATCH", "DELETE")))
    path = fields.Str(required=True)
    params = fields.Dict(keys=fields.Str(), load_default=dict)
    json = fields.Raw(load_default=None)
    headers = fields.Dict(keys=fields.Str(), values=fields.Str(), load_default=dict)
    effect = fields.Bool(load_default=None, allow_none=True)
    expect = fields.List(fields.Int(), load_default=list)


class _LoginSchema(_Strict):
    request = fields.Nested(_RequestSchema, required=True)
    header = fields.Str(load_default="")
    value = fields.Str(load_default="")
    headers = fields.Dict(keys=fields.Str(), values=fields.Str(), load_default=dict)
    expired = fields.Str(load_default="")


class _AssertionSchema(_Strict):
    private_key = fields.Str(required=True)
    algorithm = fields.Str(load_default="RS256", validate=validate.OneOf(("RS256", "PS256", "ES256")))
    claims = fields.Dict(keys=fields.Str(), values=fields.Str(), required=True)
    header = fields.Dict(keys=fields.Str(), values=fields.Str(), load_default=dict)


class _OAuth2Schema(_Strict):
    grant = fields.Str(
        required=True, validate=validate.OneOf(("client_credentials", "refresh_token", "jwt_bearer", "authorization_code"))
    )
    token_url = fields.Str(required=True, validate=validate.Regexp(r"^https?://"))
    authorize_url = fields.Str(load_default="")
    client_auth = fields.Str(load_default="basic", validate=validate.OneOf(("basic", "post", "jwt", "none")))
    client_id = fields.Str(load_default="client_id")
    client_secret = fields.Str(load_default="client_secret")
    scopes = fields.List(fields.Str(), load_default=list)
    params = fields.Dict(keys=fields.Str(), values=fields.Str(), load_default=dict)
    assertion = fields.Nested(_AssertionSchema, load_default=None, allow_none=True)
    header = fields.Str(load_default="Authorization")
    scheme = fields.Str(load_default="Bearer")


class _OAuth1Schema(_Strict):
    consumer_key = fields.Str(load_default="consumer_key")
    consumer_secret = fields.Str(load_default="consumer_secret")
    token = fields.Str(load_default="token")
    token_secret = fields.Str(load_default="token_secret")
    algorithm = fields.Str(load_default="sha256", validate=validate.OneOf(("sha256", "sha1")))
    realm = fields.Str(load_default="")


class _AuthSchema(_Strict):
    headers = fields.Dict(keys=fields.Str(), values=fields.Str(), load_default=dict)
    login = fields.Nested(_LoginSchema, load_default=None)
    oauth2 = fields.Nested(_OAuth2Schema, load_default=None, allow_none=True)
    oauth1 = fields.Nested(_OAuth1Schema, load_default=None, allow_none=True)


class _RateSchema(_Strict):
    requests = fields.Int(required=True, validate=validate.Range(min=1))
    seconds = fields.Float(required=True, validate=validate.Range(min=1))


class _ErrorBudgetSchema(_Strict):
    errors = fields.Int(required=True, validate=validate.Range(min=2))
    seconds = fields.Float(required=True, validate=validate.Range(min=1))


class _LimitsSchema(_Strict):
    concurrency = fields.Int(load_default=4, validate=validate.Range(min=1, max=1000))
    requests_per_second = fields.Float(load_default=None, allow_none=True, validate=validate.Range(min=0.001))
    burst = fields.Int(load_default=10, validate=validate.Range(min=1))
    rates = fields.List(fields.Nested(_RateSchema), load_default=list)
    error_budget = fields.Nested(_ErrorBudgetSchema, load_default=None, allow_none=True)
    breaker_failures = fields.Int(load_default=5, validate=validate.Range(min=1))
    breaker_seconds = fields.Float(load_default=30.0, validate=validate.Range(min=0.1))
    timeout_seconds = fields.Float(load_default=30.0, validate=validate.Range(min=0.1, max=300))
    max_response_bytes = fields.Int(load_default=10 * 1024 * 1024)


class ConnectionLimitsSchema(_Strict):
    """What a connection may tighten or loosen against its connector's manifest."""

    concurrency = fields.Float(validate=validate.Range(min=1, max=1000))
    requests_per_second = fields.Float(validate=validate.Range(min=0.001))
    burst = fields.Float(validate=validate.Range(min=1))
    rates = fields.List(fields.Nested(_RateSchema))
    error_budget = fields.Nested(_ErrorBudgetSchema)
    breaker_failures = fields.Float(validate=validate.Range(min=1))
    breaker_seconds = fields.Float(validate=validate.Range(min=0.1))
    timeout_seconds = fields.Float(validate=validate.Range(min=0.01, max=300))
    max_in_flight_seconds = fields.Float(validate=validate.Range(min=0.01, max=3600))


class _SignatureSchema(_Strict):
    header = fields.Str(required=True)
    type = fields.Str(load_default="hmac", validate=validate.OneOf(("hmac", "static")))
    algorithm = fields.Str(load_default="sha256", validate=validate.OneOf(("sha256", "sha1", "sha512")))
    encoding = fields.Str(load_default="base64", validate=validate.OneOf(("base64", "hex")))
    over = fields.List(fields.Str(validate=validate.OneOf(("url", "body", "timestamp", "id"))), load_default=lambda: ["body"])
    separator = fields.Str(load_default="")
    format = fields.Str(load_default="plain", validate=validate.OneOf(("plain", "pairs", "list")))
    prefix = fields.Str(load_default="")
    key_encoding = fields.Str(load_default="text", validate=validate.OneOf(("text", "base64")))
    timestamp_header = fields.Str(load_default="")
    id_header = fields.Str(load_default="")
    tolerance_seconds = fields.Int(load_default=300)


class _HandshakeSchema(_Strict):
    query = fields.Str(load_default="")
    body = fields.Str(load_default="")


class _WebhooksSchema(_Strict):
    handshake = fields.Nested(_HandshakeSchema, load_default=None, allow_none=True)
    signature = fields.Nested(_SignatureSchema, required=True)
    secret = fields.Str(required=True)
    event_id = fields.Str(required=True)
    event_type = fields.Str(load_default="")


class _ErrorRuleSchema(_Strict):
    when = fields.Str(required=True)
    then = fields.Str(required=True, validate=validate.OneOf(ERROR_ACTIONS))
    code = fields.Str(load_default="")
    message = fields.Str(load_default="")
    field = fields.Str(load_default="")
    remedy = fields.Str(load_default="")
    retry_after = fields.Str(load_default="")


PAGING = ("cursor", "offset", "page", "link", "next_url", "last", "version", "none")


class _PagingSchema(_Strict):
    type = fields.Str(required=True, validate=validate.OneOf(PAGING))
    token = fields.Str(load_default="")
    more = fields.Str(load_default="")
    limit = fields.Int(load_default=100, validate=validate.Range(min=1))


class _ReadSchema(_Strict):
    request = fields.Nested(_RequestSchema, required=True)
    records = fields.Str(required=True)
    ref = fields.Str(required=True)
    paging = fields.Nested(_PagingSchema, required=True)
    incremental = fields.Str(load_default="")
    since = fields.Str(load_default="1970-01-01T00:00:00Z")
    overlap_seconds = fields.Float(load_default=0.0, validate=validate.Range(min=0, max=604800))


class _MapSchema(_Strict):
    type = fields.Str(required=True)
    source_id = fields.Str(required=True)
    data = fields.Dict(required=True)


class _ObjectSchema(_Strict):
    description = fields.Str(load_default="")
    read = fields.Nested(_ReadSchema, load_default=None)
    fetch = fields.Nested(_RequestSchema, load_default=None)
    record = fields.Str(load_default="@")
    map = fields.Nested(_MapSchema, load_default=None)


class _FindSchema(_Strict):
    request = fields.Nested(_RequestSchema, required=True)
    external_id = fields.Str(required=True)


class _WriteSchema(_Strict):
    object = fields.Str(required=True)
    idempotency = fields.Str(required=True, validate=validate.OneOf(tuple(IDEMPOTENCY)))
    max_in_flight_seconds = fields.Float(required=True, validate=validate.Range(min=0, max=3600))
    request = fields.Nested(_RequestSchema, load_default=None)
    external_id = fields.Str(load_default="")
    find = fields.Nested(_FindSchema, load_default=None)
    batch = fields.Int(load_default=1, validate=validate.Range(min=1, max=1000))
    in_part = fields.Bool(data_key="partial", load_default=False)


class _CheckSchema(_Strict):
    request = fields.Nested(_RequestSchema, required=True)


class _DescribeSchema(_Strict):
    request = fields.Nested(_RequestSchema, required=True)
    records = fields.Str(required=True)
    object = fields.Str(required=True)
    name = fields.Str(required=True)
    type = fields.Str(load_default="")
    label = fields.Str(load_default="")
    required = fields.Str(load_default="")
    custom = fields.Str(load_default="")


class ManifestSchema(_Strict):
    """The document as a whole."""

    connector = fields.Str(required=True, validate=validate.Regexp(r"^[a-z][a-z0-9_]{1,39}$"))
    name = fields.Str(required=True)
    version = fields.Str(required=True, validate=validate.Regexp(r"^\d+\.\d+\.\d+$"))
    kind = fields.Str(required=True, validate=validate.OneOf(KINDS))
    summary = fields.Str(required=True)
    canonical = fields.Int(required=True)
    environments = fields.Dict(keys=fields.Str(), values=fields.Nested(_EnvironmentSchema), load_default=dict)
    self_hosted = fields.Bool(load_default=False)
    settings = fields.Dict(keys=fields.Str(), values=fields.Nested(_DeclaredValueSchema), load_default=dict)
    credentials = fields.Dict(keys=fields.Str(), values=fields.Nested(_DeclaredValueSchema), load_default=dict)
    auth = fields.Nested(_AuthSchema, load_default=lambda: _AuthSchema().load({}))
    limits = fields.Nested(_LimitsSchema, load_default=lambda: _LimitsSchema().load({}))
    webhooks = fields.Nested(_WebhooksSchema, load_default=None)
    errors = fields.List(fields.Nested(_ErrorRuleSchema), load_default=list)
    objects = fields.Dict(keys=fields.Str(), values=fields.Nested(_ObjectSchema), load_default=dict)
    writes = fields.Dict(keys=fields.Str(), values=fields.Nested(_WriteSchema), load_default=dict)
    check = fields.Nested(_CheckSchema, load_default=None)
    describe = fields.Nested(_DescribeSchema, load_default=None, allow_none=True)


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
    signature, handshake = webhooks["signature"], webhooks["handshake"]
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
        if oauth2["grant"] == "authorization_code" and not oauth2["authorize_url"]:
            yield "/auth/oauth2/authorize_url", "where does a person agree?"
    if oauth1 := auth["oauth1"]:
        named |= {f"oauth1/{name}": oauth1[name] for name in ("consumer_key", "consumer_secret", "token", "token_secret")}
    for place, name in named.items():
        if name not in credentials:
            yield f"/auth/{place}", f"{name!r} is not among the credentials"
