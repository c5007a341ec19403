"""`hub plugin run` and `hub plugin console`: one capability after the other, each request and answer shown, secrets masked.

Against the kit's own system, a cassette that was recorded before, or a vendor's sandbox (then the hub's runtime sends).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from hub.cli.client import fail, read_json
from hub.sdk.errors import ConnectorError
from hub.sdk.kit import Subject, System, Trial
from hub.sdk.steps import Page, Request, Response, Webhook
from hub.sdk.testing import SimRequest
from hub.sdk.testing.cassette import Cassette

CAPABILITIES = ("check", "read", "write", "find", "receive")
KEY = "XD0123456789ABCDEF01234567"


class Stage:
    """A connector beside a system, for as many capabilities as one likes; what happens is shown, and recorded if asked."""

    def __init__(self, subject: Subject, system: System, cassette: Cassette | None) -> None:
        self._subject, self._trial, self._cassette = subject, Trial(subject.connector(system.settings), system), cassette
        self._cursors: dict[str, Mapping[str, Any]] = {}

    def run(self, capability: str, what: str, file: Path | None, key: str = KEY) -> bool:
        """Run one capability; whether it ended well. Raises click.UsageError for what cannot be run."""
        steps = self._steps(capability, what, file, key)
        try:
            result = self._trial.perform(steps, self._told)
        except ConnectorError as error:
            remedy = f"\nremedy: {error.remedy}" if error.remedy else ""
            self._say(f"{type(error).__name__} {error.code}: {error.message}{remedy}")
            return False
        if isinstance(result, Page):
            self._cursors[what] = result.cursor
        self._say(f"= {result!r}"[:2000])
        return True

    def _steps(self, capability: str, what: str, file: Path | None, key: str) -> Any:
        connector, manifest = self._trial.connector, self._trial.connector.manifest
        known = {"read": manifest.objects, "write": manifest.writes, "find": manifest.writes}.get(capability)
        if known is not None and what not in known:
            raise click.UsageError(f"{capability} what? one of {', '.join(known) or 'nothing'}")
        if capability == "check":
            return connector.check()
        if capability == "read":
            return connector.read(what, self._cursors.get(what, {}))
        if capability == "receive":
            if file is None and not what:
                raise click.UsageError("receive what? name a file with the webhook's body")
            return connector.interpret(Webhook((file or Path(what)).read_bytes()))
        if file is None and not self._subject.documents.get(what):
            raise click.UsageError(f"the kit has no sample of {what}; name a file")
        document = read_json(file) if file else next(iter(self._subject.documents[what]))
        return connector.write(what, document, key) if capability == "write" else connector.find(what, document, key)

    def _told(self, number: int, request: Request, answer: Callable[[], Response]) -> Response:
        params = "".join(f" {key}={value}" for key, value in request.params.items() if value is not None)
        response = answer()
        lines = [f"{number + 1}  {request.method} {request.path}{params}{'  [effect]' if request.mutates else ''}"]
        lines += [f"   > {_short(body)}" for body in (request.body(),) if body]
        lines += [f"   < {response.status} {_short(response.content)}"]
        self._say("\n".join(lines))
        if self._cassette is not None:
            self._cassette.record(SimRequest.of(request, {}), response)
        return response

    def _say(self, text: str) -> None:
        click.echo(masked(text, self._trial.system.secrets))


@contextmanager
def stage(
    subject: Subject, replay: Path | None, record: Path | None, url: str, credentials: Sequence[str], settings: Sequence[str]
) -> Iterator[Stage]:
    """The stage that the options ask for; a recording is written when it closes."""
    system = subject.system()
    if replay is not None:
        try:
            system = replace(system, handle=Cassette.load(replay, system.secrets).handle)
        except ValueError as error:
            fail(2, str(error))
        yield Stage(subject, system, None)
        return
    with _sandbox(subject, system, url, _pairs(credentials), _pairs(settings)) if url else _nothing(system) as used:
        cassette = Cassette(used.secrets) if record is not None else None
        yield Stage(subject, used, cassette)
        if cassette is not None and record is not None:
            cassette.save(record)
            click.echo(f"{len(cassette.exchanges)} exchanges in {record}")


@contextmanager
def _nothing(system: System) -> Iterator[System]:
    yield system


@contextmanager
def _sandbox(
    subject: Subject, system: System, url: str, credentials: dict[str, str], settings: dict[str, str]
) -> Iterator[System]:
    """A real system: the hub's runtime adds the credentials and sends; every status is an answer to look at."""
    from hub.runtime.egress import Egress
    from hub.runtime.loop import Loop
    from hub.runtime.performer import NoBoundary, Run
    from hub.runtime.session import Session
    from hub.sdk.manifest import Manifest
    from hub.settings import from_environment
    from hub.telemetry import Telemetry

    kind, manifest = subject.connector, subject.connector.manifest
    if unknown := sorted(set(credentials) - set(manifest.data["credentials"])):
        raise click.UsageError(f"unknown credential {', '.join(unknown)}; declared: {', '.join(manifest.data['credentials'])}")
    # Without the manifest's error rules, and every status expected: what an answer means is decided once, by the stage.
    plain = type(kind.__name__, (kind,), {"manifest": Manifest({**manifest.data, "errors": []}, manifest.source)})
    environments = manifest.data["environments"]
    base = environments[url]["base_url"] if url in environments else url
    loop = Loop(Egress(from_environment().egress_private_hosts), Telemetry())
    session = Session("sandbox", "sandbox", plain(settings), base, credentials, manifest.limits)

    def one(request: SimRequest) -> Any:
        headers = {name: value for name, value in request.headers.items() if name not in ("authorization", "cookie")}
        asked = Request(request.method, request.path, params=request.params, content=request.body or None, headers=headers,
                        expect=tuple(range(100, 600)))  # fmt: skip
        return (yield asked)

    def handle(request: SimRequest) -> Response:
        done: Response = loop.submit(loop.performer.perform(one(request), session, NoBoundary(), Run())).result(120)
        return done

    try:
        yield replace(system, handle=handle, headers={}, settings=settings, secrets=list(credentials.values()))
    finally:
        loop.close()


def repl(on: Stage) -> None:
    """Commands from standard input, one a line, until it ends or says quit; a read goes on from where the last one ended."""
    click.echo(f"{', '.join(CAPABILITIES)} [WHAT] [FILE]; quit")
    while True:
        try:
            line = click.prompt("", prompt_suffix="> ", default="", show_default=False)
        except (click.Abort, EOFError):
            return
        words = line.split()
        if words and words[0] in ("quit", "exit"):
            return
        if not words:
            continue
        if words[0] not in CAPABILITIES:
            click.echo(f"{words[0]}? one of {', '.join(CAPABILITIES)}, quit")
            continue
        try:
            on.run(words[0], words[1] if len(words) > 1 else "", Path(words[2]) if len(words) > 2 else None)
        except click.UsageError as error:
            click.echo(error.message)
        except (OSError, json.JSONDecodeError) as error:
            click.echo(f"{error}")


def masked(text: str, secrets: Sequence[str]) -> str:
    """Text without the secrets."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


def _pairs(items: Sequence[str]) -> dict[str, str]:
    found = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator:
            raise click.UsageError(f"{item!r} is not NAME=VALUE")
        found[name] = Path(value[1:]).read_text("utf-8").strip() if value.startswith("@") else value
    return found


def _short(content: bytes) -> str:
    text = content.decode("utf-8", "replace")
    return text if len(text) <= 500 else f"{text[:500]}… ({len(content)} bytes)"
