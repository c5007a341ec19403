"""A catalogue over HTTP: its files as they are, a door for submissions, and signatures that stay fresh."""

import base64
import binascii
import threading
from pathlib import Path
from typing import Any

import flask
from a2wsgi import WSGIMiddleware
from werkzeug.exceptions import HTTPException

from hub.marketplace.repository import CatalogueError, Repository
from hub.marketplace.wheel import MAX_BYTES, WheelRefusedError

_RENEW_SECONDS = 3600.0


def create_catalogue(folder: Path, keys: Path) -> Any:
    """The ASGI application; renews the catalogue's signatures while it lives."""
    repository = Repository(folder, keys)
    app = flask.Flask("hub.marketplace", root_path=str(Path(__file__).parent), static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 3 * MAX_BYTES
    threading.Thread(target=_renew, args=(repository,), name="renew", daemon=True).start()

    @app.get("/<any(metadata, targets):kind>/<path:name>")
    def file(kind: str, name: str) -> Any:
        return flask.send_from_directory((folder / kind).resolve(), name)

    @app.post("/submissions")
    def submit() -> Any:
        body = flask.request.get_json(silent=True)
        texts = ("publisher", "filename", "metadata", "wheel")
        if not isinstance(body, dict) or not all(isinstance(body.get(name), str) for name in texts):
            return _problem(400, f"a JSON object with the texts {', '.join(texts)}")
        try:
            metadata, wheel = (base64.b64decode(body[name], validate=True) for name in ("metadata", "wheel"))
            taken = repository.submit(body["publisher"], metadata, wheel, body["filename"])
        except binascii.Error as error:
            return _problem(400, f"metadata and wheel are base64: {error}")
        except (CatalogueError, WheelRefusedError) as error:
            return _problem(422, str(error))
        return {"connector": taken.connector, "version": taken.version, "state": "waits for review"}, 202

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Any:
        return _problem(error.code or 500, str(error.description))

    return WSGIMiddleware(app)


def _problem(status: int, detail: str) -> Any:
    answer = flask.jsonify(status=status, title="The catalogue does not take it", detail=detail)
    answer.content_type = "application/problem+json"
    return answer, status


def _renew(repository: Repository) -> None:
    pause = threading.Event()
    while True:
        repository.renew()
        pause.wait(_RENEW_SECONDS)
