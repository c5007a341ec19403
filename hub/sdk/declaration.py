"""The shape of connector.yaml, as marshmallow schemas; `hub.sdk.manifest` reads it and says what the shape cannot."""

from marshmallow import RAISE, Schema, fields, validate

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
    token_url = fields.Str(required=True, validate=validate.Regexp(r"^(https?://|/)"))
    optional = fields.Bool(load_default=False)
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


class _ListedSchema(_Strict):
    request = fields.Nested(_RequestSchema, required=True)
    records = fields.Str(required=True)
    id = fields.Str(required=True)
    topic = fields.Str(required=True)
    url = fields.Str(required=True)
    active = fields.Str(load_default="")
    expires_at = fields.Str(load_default="")


class _SubscriptionsSchema(_Strict):
    list = fields.Nested(_ListedSchema, required=True)
    create = fields.Nested(_RequestSchema, required=True)
    delete = fields.Nested(_RequestSchema, required=True)


class _WebhooksSchema(_Strict):
    handshake = fields.Nested(_HandshakeSchema, load_default=None, allow_none=True)
    signature = fields.Nested(_SignatureSchema, required=True)
    secret = fields.Str(required=True)
    event_id = fields.Str(load_default="")
    event_id_header = fields.Str(load_default="")
    event_type = fields.Str(load_default="")
    event_type_header = fields.Str(load_default="")
    topics = fields.List(fields.Str(), load_default=list)
    subscriptions = fields.Nested(_SubscriptionsSchema, load_default=None, allow_none=True)


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
    total = fields.Str(load_default="")
    limit = fields.Int(load_default=100, validate=validate.Range(min=1))


class _ReadSchema(_Strict):
    request = fields.Nested(_RequestSchema, required=True)
    records = fields.Str(required=True)
    left_out_when_empty = fields.List(fields.Str(), load_default=None, allow_none=True)
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
