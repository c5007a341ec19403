"""`hub contracts …`: lint, compare, gate and release contracts, without a running hub."""

from pathlib import Path
from typing import Any

import click
import orjson
import yaml

from hub.cli.client import Api, api_options, fail, show
from hub.contracts.changes import ERR, SEVERITIES, Change, all_rules
from hub.contracts.diff import compare
from hub.contracts.document import contract_folder, document
from hub.contracts.impact import impact
from hub.contracts.lifecycle import endings, icalendar
from hub.contracts.lint import lint_others, lint_text, ruleset
from hub.contracts.releases import Approval, approvals, load, release, since, tampered, unapproved, versions, working
from hub.errors import HubError

_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
_FOLDER = click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Instead of this project's openapi/.")


@click.group()
def contracts() -> None:
    """The governed contract: lint it, see who breaks, gate it in CI, release it."""


@contracts.command("lint", epilog="Example: hub contracts lint openapi/hub.yaml")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--least", type=float, default=0.0, help="Exit code 1 below this score too.")
@_JSON
def lint(files: tuple[Path, ...], least: float, as_json: bool) -> None:
    """Lint OpenAPI documents (default: this project's, with its event types and connectors).

    Exit code 1 if a rule of severity error is broken.
    """
    found, bad = [], False
    reports = [(str(file), _told(lint_text, file.read_text("utf-8"))) for file in files or (contract_folder() / "hub.yaml",)]
    if not files:
        mine = _working()
        reports.append(("events and connectors", lint_others(mine.events, mine.connectors)))
    for name, report in reports:
        bad = bad or report.score < least or any(item.severity == "error" for item in report.findings)
        found.append({
            "file": name, "score": report.score, "findings": [vars(item) for item in report.findings],
            "rules": {name: {"checked": checked, "failed": report.failed[name]} for name, checked in report.checked.items()},
        })  # fmt: skip

    def text(results: Any) -> str:
        lines = []
        for result in results:
            for item in result["findings"]:
                where = f"{result['file']}:{item['line']}: {item['severity']} {item['rule']}"
                lines.append(f"{where}: {item['pointer'] or '/'} {item['message']}")
            lines.append(f"{result['file']}: score {result['score']}, {len(result['findings'])} findings")
        return "\n".join(lines)

    show(found, as_json, text)
    raise SystemExit(1 if bad else 0)


@contracts.command("diff", epilog="Example: hub contracts diff old.yaml new.yaml   or   hub contracts diff 0.1.0")
@click.argument("old")
@click.argument("new", required=False)
@click.option("--least", "lowest", type=click.Choice(SEVERITIES), default="INFO", help="Show nothing below this severity.")
@_FOLDER
@_JSON
def diff(old: str, new: str | None, lowest: str, folder: Path | None, as_json: bool) -> None:
    """Compare two OpenAPI files, or a release (its version) with the working contract or another release.

    Exit code 1 if something breaks a consumer.
    """
    if Path(old).is_file():
        if new is None or not Path(new).is_file():
            fail(2, "name two files, or one or two versions")
        changes = compare(_parsed(Path(old)), _parsed(Path(new)))
    else:
        changes = since(_told(load, old, folder), _told(load, new, folder) if new else _working())
    shown = [change for change in changes if SEVERITIES.index(change.severity) <= SEVERITIES.index(lowest)]
    show([change.as_dict() for change in shown], as_json, lambda _: _lines(shown) or "no differences")
    raise SystemExit(1 if any(change.severity == ERR for change in changes) else 0)


@contracts.command("impact", epilog="Example: hub contracts impact 0.1.0 --days 90")
@click.argument("version", required=False)
@click.option("--days", type=click.IntRange(1, 3660), default=30, show_default=True, help="Calls of so many days.")
@_FOLDER
@_JSON
def impact_command(version: str | None, days: int, folder: Path | None, as_json: bool) -> None:
    """Who breaks: each change since a release (default: the newest) with the clients that called its operations.

    Reads this hub's database (HUB_DATABASE_URL or HUB_DATA_DIR). Exit code 1 if a change that breaks somebody meets somebody.
    """
    from hub.cli.admin import callers

    known = versions(folder)
    if version is None and not known:
        fail(4, "nothing is released yet, so nothing can break")
    old = _told(load, version or known[-1], folder)
    usage, sampled = callers(days)
    found = impact(since(old, _working()), old.openapi, usage, old.events, sampled)

    def text(_: Any) -> str:
        lines = []
        for item in found:
            lines += [f"{item.change.severity:4} {item.change.fingerprint}  {item.change.text}"]
            lines += [f"     {who.tenant_id} / {who.client}: {who.operation}, {who.calls} calls, last on {who.last_day}"
                      + (f"; sends {', '.join(who.fields)}" if who.fields else "")
                      for who in item.callers]  # fmt: skip
        return "\n".join(lines) or "no differences"

    shown = [item.change.as_dict() | {"callers": [vars(who) for who in item.callers]} for item in found]
    show(shown, as_json, text)
    raise SystemExit(1 if any(item.callers and item.change.severity == ERR for item in found) else 0)


@contracts.command("calendar", epilog="Example: hub contracts calendar --ics > sunsets.ics")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--ics", is_flag=True, help="As an iCalendar file.")
@_JSON
def calendar(file: Path | None, ics: bool, as_json: bool) -> None:
    """Deprecated operations and until when they work (default: this project's contract)."""
    found = endings(_parsed(file) if file else document())
    if ics:
        click.echo(icalendar(found), nl=False)
        return
    rows = [{"operation": f"{ending.method} {ending.path}", "deprecated_at": str(ending.deprecated_at),
             "sunset": str(ending.sunset), "successor": ending.successor or None} for ending in found]  # fmt: skip
    show(rows, as_json, lambda items: "\n".join(
        f"{row['sunset']}  {row['operation']}" + (f" → {row['successor']}" if row["successor"] else "") for row in items
    ) or "nothing is deprecated")  # fmt: skip


@contracts.command("check", epilog="Example: hub contracts check")
@click.option("--proposal", help="Agreements are those of this proposal in a running hub, instead of approvals.yaml.")
@_FOLDER
@api_options
def check(proposal: str | None, folder: Path | None, url: str, key: str, as_json: bool) -> None:
    """The gate for CI: releases untouched, no lint error, nothing that breaks a consumer without two people's agreement."""
    known = versions(folder)
    changes = since(_told(load, known[-1], folder), _working()) if known else []
    agreed = agreements(Api(url, key), proposal) if proposal else _told(approvals, folder)
    missing = unapproved(changes, agreed)
    report = _told(lint_text, ((folder or contract_folder()) / "hub.yaml").read_text("utf-8"))
    mine = _working()
    others = lint_others(mine.events, mine.connectors)
    errors = [item for item in [*report.findings, *others.findings] if item.severity == "error"]
    touched = tampered(folder)
    result = {
        "release": known[-1] if known else None, "touched": touched, "score": report.score,
        "lint_errors": [vars(item) for item in errors], "changes": len(changes),
        "unapproved": [item.as_dict() for item in missing],
    }  # fmt: skip

    def text(_: Any) -> str:
        lines = [f"a released file was changed: {name}; releases are for ever, restore it" for name in touched]
        lines += [f"{item.rule} line {item.line}: {item.pointer} {item.message}" for item in errors]
        if missing:
            advice = (
                "agree to them in openapi/approvals.yaml (fingerprint, by: two people, reason), or keep the old one working"
            )
            lines += ["", _lines(missing), "", f"{len(missing)} change(s) break a consumer: {advice}"]
        word = "ok" if not (touched or errors or missing) else "refused"
        last = f"since {known[-1]}: {len(changes)} changes" if known else "nothing released yet"
        return "\n".join([*lines, f"{word}: {last}, lint score {report.score}"])

    show(result, as_json, text)
    raise SystemExit(1 if touched or errors or missing else 0)


@contracts.command("release", epilog="Example: hub contracts release 0.2.0")
@click.argument("version")
@click.option(
    "--days", type=click.IntRange(1, 3660), default=30, show_default=True, help="An operation called since then stays."
)
@_FOLDER
@_JSON
def release_command(version: str, days: int, folder: Path | None, as_json: bool) -> None:
    """Write the working contract as a version, for ever, with its changelog.

    Refused while a breaking change is not agreed to, or while somebody still calls an operation that would go (by the calls
    this hub has counted).
    """
    from hub.cli.admin import callers

    changes = _told(release, version, _working(), folder, callers(days)[0])
    result = {"version": version, "changes": [change.as_dict() for change in changes]}
    show(result, as_json, lambda _: f"released {version}: {len(changes)} changes\n{_lines(changes)}".rstrip())


@contracts.command("rules", epilog="Example: hub contracts rules")
@_JSON
def rules(as_json: bool) -> None:
    """List the rules of the linter and of the comparison."""
    found = [{"rule": rule.id, "kind": "lint", "severity": rule.severity, "text": rule.why} for rule in ruleset()]
    found += [{"rule": name, "kind": "change", "severity": level, "text": text} for name, (level, text) in all_rules().items()]
    show(found, as_json, lambda rows: "\n".join(f"{r['kind']:7} {r['severity']:6} {r['rule']:44} {r['text']}" for r in rows))


def agreements(api: Api, proposal: str) -> dict[str, Approval]:
    """What people approved of in a running hub, by fingerprint; what somebody rejects is not agreed to."""
    found = {}
    for change in api.call("GET", f"/v1/contracts/proposals/{proposal}")["changes"]:
        verdicts = change["verdicts"]
        if change["approvals_missing"] == 0 and all(item["verdict"] == "approve" for item in verdicts):
            people = tuple(item["by"] for item in verdicts)
            found[change["fingerprint"]] = Approval(change["fingerprint"], people, "; ".join(v["reason"] for v in verdicts))
    return found


def _lines(changes: list[Change]) -> str:
    lines = []
    for change in changes:
        lines.append(f"{change.severity:4} {change.fingerprint}  {change.text}  [{change.rule}]")
        if change.operations:
            more = f" and {len(change.operations) - 3} more" if len(change.operations) > 3 else ""
            lines.append(f"     {change.pointer}   {', '.join(change.operations[:3])}{more}")
    return "\n".join(lines)


def _parsed(file: Path) -> Any:
    text = file.read_text("utf-8")
    try:
        if file.suffix == ".json":
            return orjson.loads(text)
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe loader
    except (yaml.YAMLError, orjson.JSONDecodeError) as error:
        fail(2, f"{file}: neither YAML nor JSON: {error}")


def _working() -> Any:
    from hub.cli.market import open_plugins

    return working(open_plugins().connectors)


def _told(call: Any, *arguments: Any) -> Any:
    """What ``call`` returns; ends with one line when it refuses."""
    try:
        return call(*arguments)
    except HubError as error:
        fail(4, str(error))
