"""The console: read-only pages over the same functions as the API. A key in the form opens a tenant; it is kept in a
session cookie that scripts cannot read.
"""

import secrets
from pathlib import Path
from typing import Any

import flask
from a2wsgi import WSGIMiddleware
from werkzeug.wrappers import Response

from hub.errors import NotFoundError
from hub.flow.context import Context
from hub.flow.lineage import lineage, public_delivery
from hub.flow.status import status
from hub.identity.api_keys import Client, authenticate
from hub.marketplace.catalogue import catalogue, page


def create_console(ctx: Context) -> Any:
    """The console as an ASGI application."""
    app = flask.Flask("hub.console", root_path=str(Path(__file__).parent))
    app.secret_key = secrets.token_bytes(32)
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
        return flask.render_template(
            "overview.html", who=who, status=status(ctx, who.tenant_id), recent=recent, quarantined=quarantined,
            dead=[public_delivery(row) for row in dead],
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

    @app.get("/console/connectors")
    def connectors() -> Any:
        who = client()
        if who is None:
            return flask.render_template("sign_in.html", wrong=False)
        with ctx.store.read() as uow:
            pages = [page(uow, ctx.plugins, who.tenant_id, item["connector"]) for item in catalogue(ctx.plugins)]
        return flask.render_template("connectors.html", who=who, pages=pages)

    return WSGIMiddleware(app)
