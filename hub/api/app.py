"""Connexion over Flask for one hub: the contract decides what exists, one wrapper applies scope, idempotency and usage."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import partial, wraps
from typing import Any

import connexion
import flask
import jsonschema_rs
import orjson
from connexion.exceptions import ProblemException
from connexion.jsonifier import Jsonifier
from connexion.lifecycle import ConnexionRequest, ConnexionResponse
from connexion.resolver import Resolution, Resolver
from connexion.validators import JSONRequestBodyValidator
from connexion.validators.json import JSONResponseBodyValidator
from starlette.exceptions import HTTPException as StarletteHTTPException
from werkzeug.exceptions import HTTPException

from hub.api.security import current_client
from hub.contracts.api_versions import downgrade, version_of
from hub.contracts.document import allowed, document, short_name
from hub.errors import PROBLEMS, HubError
from hub.flow.context import Context
from hub.identity.api_keys import Client
from hub.telemetry import trace_id_of

log = logging.getLogger(__name__)
_BY_STATUS = {400: "invalid_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
              406: "not_acceptable", 413: "body_too_large", 415: "unsupported_media_type", 503: "unavailable"}  # fmt: skip


def create_app(ctx: Context) -> connexion.FlaskApp:
    """The ASGI application of the API. The gateway stands in front of it and puts the context into the ASGI scope."""
    contract = dict(document())
    contract["paths"] = {
        path: item for path, item in contract["paths"].items() if not any("x-served-by" in op for op in item.values())
    }
    app = connexion.FlaskApp("crossdock", jsonifier=Jsonifier(_Json))
    app.add_api(
        contract, resolver=_HubResolver(ctx), strict_validation=True, validator_map=VALIDATORS,
        pythonic_params=True,
        swagger_ui_options=connexion.options.SwaggerUIOptions(swagger_ui_path="/docs"),
    )  # fmt: skip
    for kind, handler in ((HubError, _hub_error), (ProblemException, _framework_error), (HTTPException, _framework_error),
                          (StarletteHTTPException, _framework_error),
                          (Exception, _unexpected)):  # fmt: skip
        app.add_error_handler(kind, handler)
    return app


class _Json:
    """orjson behind the face Connexion expects."""

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_UTC_Z).decode()

    loads = staticmethod(orjson.loads)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(type(value).__name__)


class _RustBodyValidator(JSONRequestBodyValidator):  # type: ignore[misc]
    """Bodies against the contract by jsonschema-rs, compiled once per schema; one error entry per bad field."""

    _compiled: dict[int, tuple[Any, Any]] = {}  # noqa: RUF012 - by identity of the schema, which lives as long as the app

    async def _parse(self, stream: Any, scope: Any) -> Any:
        body = b"".join([part async for part in stream])
        if body.strip() == b"null" and not self._nullable:
            raise HubError("invalid_request", "the body is null; send an object, or nothing where it may be left out")
        return orjson.loads(body) if body else None

    def _validate(self, body: Any) -> None:
        if body is None:
            if self._required and not self._nullable:
                raise HubError("invalid_request", "a JSON body is required")
            return
        key = id(self._schema)
        if key not in self._compiled:
            self._compiled[key] = (self._schema, jsonschema_rs.validator_for(draft4(self._schema)))
        errors = [_entry(error) for error in list(self._compiled[key][1].iter_errors(body))[:50]]
        if errors:
            raise HubError("invalid_document", f"{len(errors)} thing(s) wrong with the body", errors)


VALIDATORS: dict[str, Any] = {
    "body": {"application/json": _RustBodyValidator},
    "response": {"application/json": JSONResponseBodyValidator},
}


def draft4(schema: Any) -> Any:
    """OpenAPI 3.0's `nullable` as a type jsonschema-rs understands."""
    if isinstance(schema, dict):
        converted = {key: draft4(value) for key, value in schema.items() if key not in ("example", "nullable")}
        if schema.get("nullable") and isinstance(schema.get("type"), str):
            converted["type"] = [schema["type"], "null"]
        return converted
    return [draft4(item) for item in schema] if isinstance(schema, list) else schema


def _entry(error: Any) -> dict[str, str]:
    kind = type(error.kind).__name__.rpartition("_")[2].lower()
    code = {"required": "missing_field", "additionalproperties": "unknown_field"}.get(kind, "invalid_field")
    pointer = "".join(f"/{part}" for part in error.instance_path)
    if code == "missing_field":
        pointer += f"/{error.kind.property}"
    return {"code": code, "field": pointer, "message": error.message[:300]}


class _HubResolver(Resolver):  # type: ignore[misc]
    """Finds handlers by operationId and wraps each with what every operation has in common."""

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        self._ctx = ctx

    def resolve(self, operation: Any) -> Resolution:
        version, handler = version_of(operation.operation_id)
        function = self.resolve_function_from_operation_id(handler)
        declared, name = operation._operation, short_name(operation.operation_id)
        answered = partial(downgrade, short_name(handler), version=version)
        wrapped = _operation(self._ctx, name, declared.get("x-scope"), operation.method, function, answered)
        return Resolution(wrapped, operation.operation_id)


def _operation(
    ctx: Context, name: str, scope: str | None, method: str, handler: Callable[..., Any], answered: Callable[[Any], Any]
) -> Callable[..., Any]:
    def shown(result: Any) -> Any:
        """A result as the operation's version shows it."""
        if isinstance(result, flask.Response):
            return result
        return (answered(result[0]), result[1]) if isinstance(result, tuple) else answered(result)

    @wraps(handler)
    def run(*arguments: Any, **parameters: Any) -> Any:
        for extra in ("user", "token_info", "context_"):  # what Connexion adds for handlers that take anything
            parameters.pop(extra, None)
        if scope is None:
            return _json(shown(handler(ctx, **parameters)))
        client = current_client()
        if scope not in client.scopes:
            raise HubError("forbidden", f"this key lacks the scope {scope}")
        with ctx.store.begin() as uow:
            ctx.used(uow, client, name, parameters.get("body"))
        key = flask.request.headers.get("Idempotency-Key")
        if key is None or method == "get":
            return _json(shown(handler(ctx, client, **parameters)))
        return _once(ctx, client, name, key, lambda: shown(handler(ctx, client, **parameters)))

    return run


def _once(ctx: Context, client: Client, name: str, key: str, work: Callable[[], Any]) -> Any:
    """Run ``work`` once per (tenant, operation, key); the same request again gets the first answer, byte for byte."""
    body = flask.request.get_data()
    fingerprint = request_fingerprint(flask.request.path, body)
    with ctx.store.begin() as uow:
        known = uow.idempotency.open(client.tenant_id, name, key, fingerprint, ctx.clock())
    if known is not None:
        if known["fingerprint"] != fingerprint:
            raise HubError("idempotency_mismatch", f"Idempotency-Key {key!r} was used with another request")
        if known["status"] is None:
            raise HubError("idempotency_conflict", f"the first request with {key!r} has not been answered yet")
        headers = {"Content-Type": "application/json", "Idempotency-Replayed": "true"}
        return flask.Response(known["answer"], known["status"], headers)
    try:
        result = work()
    except BaseException:
        with ctx.store.begin() as uow:
            uow.idempotency.forget(client.tenant_id, name, key)
        raise
    response = _json(result)
    with ctx.store.begin() as uow:
        uow.idempotency.close(client.tenant_id, name, key, response.status_code, response.get_data())
    return response


def request_fingerprint(path: str, body: bytes) -> str:
    """What makes a request the same as an earlier one with its Idempotency-Key."""
    return hashlib.sha256(path.encode() + b"\0" + body).hexdigest()


def _json(result: Any) -> flask.Response:
    """A handler's result (content, or content and status) as a response."""
    if isinstance(result, flask.Response):
        return result
    content, status = result if isinstance(result, tuple) else (result, 200)
    return flask.Response(_Json.dumps(content), status, {"Content-Type": "application/json"})


def problem(error: HubError, traceparent: str = "", path: str = "") -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of an error, the same wherever it is answered."""
    headers = {"Content-Type": "application/problem+json"}
    if error.code == "unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    if error.code == "method_not_allowed":
        headers["Allow"] = allowed(path)
    if error.problem.status in (429, 503):
        headers["Retry-After"] = "5"
    return error.problem.status, headers, orjson.dumps(error.document(trace_id_of(traceparent)))


def _answer(error: HubError, request: ConnexionRequest) -> ConnexionResponse:
    status, headers, body = problem(error, request.headers.get("traceparent", ""), request.scope["path"])
    kind = headers.pop("Content-Type")
    return ConnexionResponse(status, content_type=kind, headers=headers, body=body.decode())


def _hub_error(request: ConnexionRequest, error: Exception) -> ConnexionResponse:
    assert isinstance(error, HubError)
    return _answer(error, request)


def _framework_error(request: ConnexionRequest, error: Exception) -> ConnexionResponse:
    status = int(getattr(error, "status_code", None) or getattr(error, "status", None) or getattr(error, "code", None) or 500)
    detail = str(getattr(error, "detail", None) or getattr(error, "description", None) or "").split("\n")[0]
    code = _BY_STATUS.get(status, "internal")
    entries: list[Mapping[str, str]] = []
    if code == "invalid_request":
        entries = [{"code": "invalid_field", "field": "", "message": detail[:300]}]
    return _answer(HubError(code, detail[:500] or PROBLEMS[code].hint, [dict(item) for item in entries]), request)


def _unexpected(request: ConnexionRequest, error: Exception) -> ConnexionResponse:
    log.exception("unexpected error in the API", exc_info=error)
    return _answer(HubError("internal"), request)
