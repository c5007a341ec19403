"""`hub plugin …`: for whoever writes a connector. Nothing here needs a running hub."""

import json
import sys
import time
import tomllib
from importlib import resources
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import click
import yaml

from hub.cli.client import fail, read_json, show
from hub.cli.trials import CAPABILITIES, KEY, repl, stage
from hub.sdk.declaration import KINDS
from hub.sdk.editor import manifest_schema
from hub.sdk.errors import ConnectorError, ManifestError
from hub.sdk.kit import RULES, TIERS, Report, Subject, System, judge
from hub.sdk.kit.unmapped import mapped, vars_of
from hub.sdk.manifest import parse_manifest
from hub.sdk.scaffold import scaffold
from hub.sdk.steps import Response

_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
_GROUP = "hub.kits"


@click.group()
def plugin() -> None:
    """Write a connector: judge what it does by the conformance kit."""


@plugin.command("new", epilog="Example: hub plugin new acme --kind pos")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What the system is.")
@click.option("--title", default="", help="Its name for people.")
@click.option("--from-openapi", "openapi", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="The vendor's OpenAPI file: connector.yaml is proposed from it.")  # fmt: skip
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Where; default: a folder of that name.")
@_JSON
def new(name: str, kind: str, title: str, openapi: Path | None, folder: Path | None, as_json: bool) -> None:
    """Write a complete plugin that the kit judges platinum, for an invented system: replace it by yours, file by file.

    With --from-openapi the manifest is proposed from the vendor's file, and UNDECIDED.md lists what it does not say.
    """
    try:
        document = None if openapi is None else _parsed(openapi)
        files = scaffold(name, kind, title, folder or Path(name), document)
    except ValueError as error:
        fail(2, str(error))
    following = f"next: pip install -e {folder or name}; hub plugin check {folder or name} --all"
    show([str(file) for file in files], as_json, lambda rows: "\n".join([*rows, following]))


@plugin.command("check", epilog="Example: hub plugin check acme --tier gold   or   hub plugin check ./acme")
@click.argument("name")
@click.option("--tier", "wanted", type=click.Choice(TIERS), default="bronze", show_default=True, help="Exit code 1 below it.")
@click.option("--all", "everything", is_flag=True, help="Show rules that hold, too.")
@_JSON
def check(name: str, wanted: str, everything: bool, as_json: bool) -> None:
    """Judge a connector, installed or in a folder, by every rule of the kit; its tier follows from them."""
    report = judge(_subject(name))
    result = {
        "connector": name, "tier": report.tier or None, "waivers": list(report.waivers),
        "rules": [{"rule": item.rule.id, "tier": item.rule.tier, "outcome": item.outcome, "lines": list(item.lines)}
                  for item in report.results],
    }  # fmt: skip
    show(result, as_json, lambda _: _text(name, report, everything))
    reached = report.tier
    raise SystemExit(0 if reached and TIERS.index(reached) >= TIERS.index(wanted) else 1)


@plugin.command("rules", epilog="Example: hub plugin rules")
@_JSON
def rules(as_json: bool) -> None:
    """List the rules of the kit."""
    found = [{"rule": rule.id, "tier": rule.tier, "title": rule.title, "needs": list(rule.needs)}
             for tier in TIERS for rule in RULES.values() if rule.tier == tier]  # fmt: skip
    show(found, as_json, lambda rows: "\n".join(f"{row['tier']:9} {row['rule']:22} {row['title']}" for row in rows))


@plugin.command("schema", epilog="Example: hub plugin schema > connector.schema.json")
def schema() -> None:
    """Print the JSON Schema of connector.yaml: an editor completes and checks with it."""
    click.echo(json.dumps(manifest_schema(), indent=2))


@plugin.command("map", epilog="Example: hub plugin map ./acme article record.json --watch")
@click.argument("name")
@click.argument("object_name", metavar="OBJECT")
@click.argument("record", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--watch", is_flag=True, help="Again whenever connector.yaml or the record is saved, until Ctrl-C.")
@_JSON
def map_command(name: str, object_name: str, record: Path, watch: bool, as_json: bool) -> None:
    """Show what a record becomes: the canonical documents, what is wrong with them, and every field left unmapped.

    Exit code 1 if a document breaks the rules of its type.
    """
    subject = _subject(name)
    package = subject.connector.__module__.partition(".")[0]
    manifest = Path(str(resources.files(package) / "connector.yaml"))
    seen: tuple[float, ...] = ()
    while True:
        now = tuple(path.stat().st_mtime for path in (manifest, record))
        if now != seen:
            seen, code = now, _show_map(subject, manifest, object_name, record, as_json)
        if not watch:
            raise SystemExit(code)
        time.sleep(0.3)


def _stage_options(command: Any) -> Any:
    options = (
        click.option("--record", type=click.Path(dir_okay=False, path_type=Path), help="Write each exchange to this cassette."),
        click.option("--replay", type=click.Path(exists=True, dir_okay=False, path_type=Path),
                     help="Answer from this cassette; exit code 1 if the connector asks for something else."),
        click.option("--sandbox", default="", help="A real system: an environment of the manifest, or a base URL."),
        click.option("--credential", "credentials", multiple=True, help="Of the sandbox: NAME=VALUE or NAME=@FILE; repeat."),
        click.option("--setting", "settings", multiple=True, help="Of the sandbox: NAME=VALUE; repeat."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@plugin.command("run", epilog="Example: hub plugin run ./acme write sale.completed.v1 --record tests/cassettes/sale.json")
@click.argument("name")
@click.argument("capability", type=click.Choice(CAPABILITIES))
@click.argument("what", default="")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", default=KEY, show_default=True, help="Of a write: the hub's reference.")
@_stage_options
def run(
    name: str, capability: str, what: str, file: Path | None, key: str, record: Path | None, replay: Path | None, sandbox: str,
    credentials: tuple[str, ...], settings: tuple[str, ...],
) -> None:  # fmt: skip
    """Run one capability against the kit's fresh system, a cassette or a sandbox; print every exchange, secrets masked.

    WHAT is the object that is read, or the type that is written; FILE a document (default: the kit's own sample), or a
    webhook's body. Exit code 1 if it ends with an error.
    """
    with stage(_subject(name), replay, record, sandbox, credentials, settings) as on:
        well = on.run(capability, what, file, key)
    raise SystemExit(0 if well else 1)


@plugin.command("console", epilog="Example: hub plugin console ./acme")
@click.argument("name")
@_stage_options
def console(
    name: str, record: Path | None, replay: Path | None, sandbox: str, credentials: tuple[str, ...], settings: tuple[str, ...]
) -> None:
    """Run one capability after the other against the same system: write, find what was written, read on."""
    with stage(_subject(name), replay, record, sandbox, credentials, settings) as on:
        repl(on)


@plugin.command("simulate", epilog="Example: hub plugin simulate ./acme --port 8791")
@click.argument("name")
@click.option("--port", default=0, help="Default: any free one.")
def simulate(name: str, port: int) -> None:
    """Serve the kit's system on a port of this machine, for a hub to talk to, until Ctrl-C; what it holds is gone then."""
    from hub.sdk.testing import SimulatorServer

    system = _subject(name).system()
    with SimulatorServer(_Served(system), port) as server:
        click.echo("\n".join([server.url, *(f"{header}: {value}" for header, value in system.headers.items())]))
        while True:
            time.sleep(3600)


class _Served:
    """A kit's system as something to serve."""

    def __init__(self, system: System) -> None:
        self.handle = system.handle

    def throttled(self, seconds: int) -> Response:
        return Response(429, {"retry-after": str(seconds)})


def _show_map(subject: Subject, manifest: Path, object_name: str, record: Path, as_json: bool) -> int:
    try:
        declared = parse_manifest(manifest.read_text("utf-8"), str(manifest))
        if object_name not in declared.objects:
            raise ManifestError(f"{manifest}: no object {object_name!r}; there is {', '.join(declared.objects) or 'none'}")
        live = type(subject.connector.__name__, (subject.connector,), {"manifest": declared})
        found = mapped(live(subject.system().settings), object_name, read_json(record))
    except (ManifestError, ConnectorError) as error:
        click.echo(str(error), err=True)
        return 1
    documents = [vars_of(document) for document in found.documents]
    result = {"documents": documents, "problems": found.problems, "unmapped": found.unmapped}
    lines = [json.dumps(document, indent=2, default=str, ensure_ascii=False) for document in documents]
    lines += [f"wrong     {problem}" for problem in found.problems]
    lines += [f"unmapped  {pointer}" for pointer in found.unmapped] or ["every field is mapped"]
    show(result, as_json, lambda _: "\n".join(lines))
    return 1 if found.problems else 0


def _subject(name: str) -> Subject:
    points = _folder_points(Path(name)) if Path(name).is_dir() else {p.name: p for p in entry_points(group=_GROUP)}
    if Path(name).is_dir() and len(points) == 1:
        (name,) = points
    if name not in points:
        known = ", ".join(sorted(points)) or "none"
        fail(4, f"no installed plugin names a kit for {name!r} (entry point group {_GROUP}); there is {known}")
    found: Any = points[name].load()
    subject = found() if callable(found) else found
    if not isinstance(subject, Subject):
        fail(4, f"{points[name].value} is no hub.sdk.kit.Subject")
    return subject


def _parsed(file: Path) -> Any:
    text = file.read_text("utf-8")
    if file.suffix == ".json":
        return read_json(file)
    try:
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        fail(2, f"{file}: not YAML: {error}")


def _folder_points(folder: Path) -> dict[str, EntryPoint]:
    """The kits that a plugin's pyproject.toml names, importable from its folder."""
    file = folder / "pyproject.toml"
    if not file.is_file():
        fail(4, f"{folder}: no pyproject.toml")
    named = tomllib.loads(file.read_text("utf-8")).get("project", {}).get("entry-points", {}).get(_GROUP, {})
    sys.path.insert(0, str(folder.resolve()))
    return {name: EntryPoint(name, value, _GROUP) for name, value in named.items()}


def _text(name: str, report: Report, everything: bool) -> str:
    lines = []
    for item in report.results:
        if everything or item.outcome not in ("passed", "not applicable"):
            lines.append(f"{item.outcome:14} {item.rule.tier:9} {item.rule.id}: {item.rule.title}")
            lines += [f"                 {line}" for line in item.lines]
    lines += list(report.waivers)
    counted = ", ".join(
        f"{sum(item.outcome == outcome for item in report.results)} {outcome}"
        for outcome in ("passed", "failed", "not judged", "not applicable", "waived")
        if any(item.outcome == outcome for item in report.results)
    )
    return "\n".join([*lines, f"{name}: {report.tier or 'no tier'} ({counted})"])
