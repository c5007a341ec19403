"""The console: read-only pages over the same functions as the API. A key in the form opens a tenant; it is kept in a
session cookie that scripts cannot read.
"""

from pathlib import Path
from typing import Any

import flask
from a2wsgi import WSGIMiddleware
from werkzeug.wrappers import Response

from hub.errors import HubError, NotFoundError
from hub.flow.context import Context
from hub.flow.lineage import lineage, public_delivery
from hub.flow.status import status
from hub.identity.api_keys import Client, authenticate
from hub.identity.authorization import LASTS, Authorization
from hub.marketplace.catalogue import catalogue, page

_CALLBACK, _BROWSER = "/console/authorized", "crossdock-authorization"


def create_console(ctx: Context) -> Any:
    """The console as an ASGI application."""
    app = flask.Flask("hub.console", root_path=str(Path(__file__).parent))
    app.secret_key = ctx.vault.derive("console sessions")  # the same in every process: the next request may meet another
    authorization = Authorization(ctx.store, ctx.sessions, ctx.vault, ctx.loop, f"{ctx.settings.base_url}{_CALLBACK}")
    app.config.update(SESSION_COOKIE_HTTPONLY=True, SESSION_COOKIE_SAMESITE="Strict", SESSION_COOKIE_NAME="crossdock")

    def client() -> Client | None:
        key = flask.session.get("key")
        found = authenticate(ctx.store, key) if key else None
        return found if found and "messages:read" in found.scopes else None

    @app.get("/")
    def root() -> Response:
        return flask.redirect("/console")

    @app.get("/console")
    def overview() -> str:
        who = client()
        if who is None:
            return flask.render_template("sign_in.html", wrong=False)
        with ctx.store.read() as uow:
            dead = uow.deliveries.page(who.tenant_id, None, 20, state="dead")
            recent = uow.messages.page(who.tenant_id, None, 20)
            quarantined = uow.raws.page(who.tenant_id, None, 20, state="quarantined")
            by_agreement = {
                row["connection_id"] for row in uow.connections.all(who.tenant_id) if _agreed(ctx, row["connector"])
            }
        return flask.render_template(
            "overview.html", who=who, status=status(ctx, who.tenant_id), recent=recent, quarantined=quarantined,
            dead=[public_delivery(row) for row in dead], by_agreement=by_agreement,
        )  # fmt: skip

    @app.post("/console/sign-in")
    def sign_in() -> Any:
        flask.session["key"] = flask.request.form.get("key", "").strip()
        if client() is None:
            flask.session.clear()
            return flask.render_template("sign_in.html", wrong=True), 401
        return flask.redirect("/console")

    @app.post("/console/sign-out")
    def sign_out() -> Response:
        flask.session.clear()
        return flask.redirect("/console")

    @app.get("/console/lineage")
    def show_lineage() -> Any:
        who = client()
        if who is None:
            return flask.render_template("sign_in.html", wrong=False)
        text = flask.request.args.get("of", "")
        try:
            history = lineage(ctx, who.tenant_id, text)
        except NotFoundError as error:
            return flask.render_template("lineage.html", who=who, text=text, history=None, error=error.detail), 404
        return flask.render_template("lineage.html", who=who, text=text, history=history, error="")

    @app.post("/console/connections/<connection_id>/authorize")
    def authorize(connection_id: str) -> Any:
        who = client()
        if who is None or "connections:write" not in who.scopes:
            return flask.render_template("sign_in.html", wrong=who is not None), 403
        try:
            begun = authorization.begin(who.tenant_id, connection_id, f"key/{who.name}", ctx.clock())
        except HubError as error:
            return flask.render_template("authorized.html", who=who, error=error.detail), 409
        answer = flask.redirect(begun.url)
        # Lax, unlike the session's: the vendor sends the browser back here.
        secure = ctx.settings.base_url.startswith("https:")
        answer.set_cookie(_BROWSER, begun.browser, int(LASTS.total_seconds()), path=_CALLBACK, httponly=True, samesite="Lax",
                          secure=secure)  # fmt: skip
        return answer

    @app.get(_CALLBACK)
    def authorized() -> Any:
        try:
            _, connection = authorization.end(flask.request.args, flask.request.cookies.get(_BROWSER, ""), ctx.clock())
        except HubError as error:
            return flask.render_template("authorized.html", who=None, error=error.detail), 400
        answer = flask.make_response(flask.render_template("authorized.html", who=None, connection=connection))
        answer.delete_cookie(_BROWSER, path=_CALLBACK)
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    @app.get("/console/connectors")
    def connectors() -> Any:
        who = client()
        if who is None:
            return flask.render_template("sign_in.html", wrong=False)
        with ctx.store.read() as uow:
            pages = [page(uow, ctx.plugins, who.tenant_id, item["connector"]) for item in catalogue(ctx.plugins)]
        return flask.render_template("connectors.html", who=who, pages=pages)

    return WSGIMiddleware(app)


def _agreed(ctx: Context, connector: str) -> bool:
    """Whether a person has to agree before the connector can be used."""
    known = ctx.plugins.connectors.get(connector)
    oauth2 = known.manifest.data["auth"]["oauth2"] if known else None
    return oauth2 is not None and oauth2["grant"] == "authorization_code"
