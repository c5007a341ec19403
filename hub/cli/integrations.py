"""`hub apply|plan|diff|revisions|rollback|promote|shadow`: integrations as code, from a file to what is in force."""

import difflib
import hashlib
import json
from pathlib import Path
from typing import Any

import click

from hub.cli.client import Api, api_options, fail, show

_FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_ENVIRONMENT = click.option("--environment", default="", help="One of the file's environments.")
_REASON = click.option("--reason", default="", help="Kept with the revision.")
_ACCEPT = click.option(
    "--accept",
    "accepted",
    multiple=True,
    help="moved-connection:NAME, shared-connection:NAME or same-target:NAME; repeat. Audited.",
)
_WINDOW = (
    click.option("--messages", default=500, show_default=True, help="How many of the newest messages."),
    click.option("--since", default=None, help="Received since then (RFC 3339)."),
    click.option("--until", default=None, help="Received before then."),
)


def _window_options(command: Any) -> Any:
    for option in reversed(_WINDOW):
        command = option(command)
    return command


def _accepting(accepted: tuple[str, ...]) -> dict[str, Any]:
    return {"accept": list(accepted)} if accepted else {}


def _body(file: Path, environment: str, **given: Any) -> dict[str, Any]:
    return {
        "source": file.read_text("utf-8"), "name": file.name, "environment": environment,
        **{name: value for name, value in given.items() if value is not None},
    }  # fmt: skip


@click.command(epilog="Example: hub apply stores.yaml --reason 'new store'")
@_FILE
@_REASON
@_ENVIRONMENT
@_ACCEPT
@api_options
def apply(file: Path, reason: str, environment: str, accepted: tuple[str, ...], url: str, key: str, as_json: bool) -> None:
    """Put an integration file in force; fields that it sets and an account does not have are named (exit code 1)."""
    api = Api(url, key)
    result = api.call("POST", "/v1/integrations", _body(file, environment, reason=reason, accept=list(accepted) or None))
    word = "in force" if result["changed"] else "unchanged, still"
    # An account that cannot be asked (no credentials yet, fields not told) is no reason to refuse: it is asked by `hub fields`.
    told = [api.request("GET", f"/v1/connections/{name}/fields") for name in result["connections"]]
    unknown = [item for status, found in told if status == 200 for item in found["unknown"]]
    lines = [f"NOT THERE  {item['field']}, which {item['flow']} sets" for item in unknown]
    show(result, as_json, lambda r: "\n".join([f"{r['integration']} revision {r['revision']} {word}", *lines]))
    raise SystemExit(1 if unknown else 0)


@click.command(epilog="Example: hub plan stores.yaml --messages 2000")
@_FILE
@_ENVIRONMENT
@_window_options
@api_options
def plan(
    file: Path, environment: str, messages: int, since: str | None, until: str | None, url: str, key: str, as_json: bool
) -> None:
    """Show what applying a file would change, and which writes of recent messages would differ. Nothing is changed or sent.

    Exit code 2 if something would change.
    """
    body = _body(file, environment, messages=messages, since=since, until=until)
    result = Api(url, key).call("POST", "/v1/integrations/plan", body)
    show(result, as_json, _plan)
    raise SystemExit(2 if result["changed"] else 0)


@click.command(epilog="Example: hub preview pos inventory_change --file stores.yaml --count 3")
@click.argument("connection")
@click.argument("object_name", metavar="OBJECT")
@click.option(
    "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="By this file, not what is in force."
)
@click.option("--count", type=click.IntRange(1, 50), default=5, show_default=True)
@_ENVIRONMENT
@api_options
def preview(
    connection: str, object_name: str, file: Path | None, count: int, environment: str, url: str, key: str, as_json: bool
) -> None:  # fmt: skip
    """Show real records side by side: as they are, in canonical words, and as each target would be given them.

    Nothing is stored or sent. Exit code 1 if one of them cannot become what it should.
    """
    body = {"object": object_name, "count": count, **(_body(file, environment) if file else {})}
    result = Api(url, key).call("POST", f"/v1/connections/{connection}/preview", body)
    show(result, as_json, lambda page: "\n\n".join(_previewed(item) for item in page["items"]) or "there are no records")
    told = [said for item in result["items"] for said in (item["problem"], *(target["problem"] for target in item["targets"]),
            *(wrong for document in item["documents"] for wrong in document.get("problems", ())))]  # fmt: skip
    raise SystemExit(1 if any(told) else 0)


def _previewed(item: Any) -> str:
    lines = [f"record    {json.dumps(item['record'], ensure_ascii=False)}"]
    for found in item["documents"]:
        said = f"ignored: {found['ignored']}" if "ignored" in found else json.dumps(found["data"], ensure_ascii=False)
        lines += [f"canonical {found.get('type', '')} {said}", *(f"  problem {wrong}" for wrong in found.get("problems", ()))]
    for target in item["targets"]:
        said = target["problem"] or json.dumps(target["document"].get("extensions", {}).get("target", {}), ensure_ascii=False)
        lines.append(f"target    {target['connection_id']} ({target['flow']}) {said}")
    lines += [f"unmapped  {', '.join(item['unmapped'])}"] if item["unmapped"] else []
    return "\n".join([*lines, *([f"problem   {item['problem']}"] if item["problem"] else [])])


def _plan(report: Any) -> str:
    signs = {"added": "+", "removed": "-", "changed": "~", "failing": "!"}
    head = f"{report['integration']} {report['digest'][:12]}: " + (
        f"would be revision {report['revision']}" if report["changed"] else f"is revision {report['revision']}, in force"
    )
    lines = [head]
    for change in report["changes"]:
        lines.append(f"  {signs[change['change']]} {change['kind']} {change['name']}")
        lines += [f"      {_difference(item)}" for item in change["fields"]]
    lines += [f"  ! {item['field']} {item['message']}" for item in report.get("consequences", ())]
    found = report["forecast"]
    counted = ", ".join(f"{count} {name}" for name, count in found["counts"].items() if count)
    lines.append(f"writes of the newest {found['examined']} messages: {counted or 'none'}")
    for write in found["writes"]:
        lines.append(
            f"  {signs[write['change']]} {write['connection_id']:10} {write['flow']:24} {write['type']:22} {write['subject']}"
        )
        lines += [f"      {_difference(item)}" for item in write["fields"]]
        lines += [f"      {write['problem']}"] if write["problem"] else []
    listed = len(found["writes"])
    rest = sum(count for name, count in found["counts"].items() if name != "same") - listed
    return "\n".join(lines + ([f"  … and {rest} more"] if rest else []))


def _difference(item: Any) -> str:
    return f"{item['field']}: {_short(item['now'])} → {_short(item['then'])}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


@click.command(epilog="Example: hub revisions stores")
@click.argument("integration")
@api_options
def revisions(integration: str, url: str, key: str, as_json: bool) -> None:
    """List the revisions of an integration: who put what in force, and why."""
    result = Api(url, key).call("GET", f"/v1/integrations/{integration}/revisions")
    show(result, as_json, lambda page: "\n".join(_revision(row) for row in page["items"]))


def _revision(row: Any) -> str:
    here = " in force" if row["in_force"] else ""
    known = f"{row['revision']:4}  {row['digest'][:12]}  {row['created_at'][:19]}  {row['environment'] or '-':12}"
    return f"{known} {row['author']:14} {row['reason']}{here}"


@click.command(epilog="Example: hub diff stores   or   hub diff stores 3 5   or   hub diff stores --file stores.yaml")
@click.argument("integration")
@click.argument("old", type=int, required=False)
@click.argument("new", type=int, required=False)
@click.option(
    "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Compare what is in force with a file."
)
@api_options
def diff(integration: str, old: int | None, new: int | None, file: Path | None, url: str, key: str, as_json: bool) -> None:
    """Compare two revisions line by line (default: the last two); exit code 1 if they differ."""
    rows = Api(url, key).call("GET", f"/v1/integrations/{integration}/revisions")["items"]
    known = {row["revision"]: row for row in rows}
    if file is not None:
        current = next(row["revision"] for row in rows if row["in_force"])
        sides = [(f"revision {old or current}", _source(known, old or current)), (file.name, file.read_text("utf-8"))]
    else:
        last = rows[-1]["revision"]
        sides = [(f"revision {n}", _source(known, n)) for n in (old or max(1, last - 1), new or last)]
    (from_name, before), (to_name, after) = sides
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), from_name, to_name, lineterm=""))
    show({"from": from_name, "to": to_name, "diff": lines}, as_json, lambda r: "\n".join(r["diff"]) or "no difference")
    raise SystemExit(1 if lines else 0)


def _source(known: dict[int, Any], number: int) -> str:
    if number not in known:
        fail(4, f"no revision {number}; known: {', '.join(map(str, known))}")
    return str(known[number]["source"])


@click.command(epilog="Example: hub rollback stores --to 3 --reason 'wrong accounts'")
@click.argument("integration")
@click.option("--to", "number", type=int, help="Revision; default: the one before.")
@_REASON
@_ACCEPT
@api_options
def rollback(
    integration: str, number: int | None, reason: str, accepted: tuple[str, ...], url: str, key: str, as_json: bool
) -> None:
    """Put an earlier revision in force again, as a new one."""
    api = Api(url, key)
    if number is None:
        rows = api.call("GET", f"/v1/integrations/{integration}/revisions")["items"]
        if len(rows) < 2:
            fail(4, f"{integration} has no revision before this one")
        number = int(rows[-2]["revision"])
    result = api.call(
        "POST", f"/v1/integrations/{integration}/rollback", {"revision": number, "reason": reason, **_accepting(accepted)}
    )
    word = f"in force: what revision {number} was" if result["changed"] else "in force already"
    show(result, as_json, lambda r: f"{r['integration']} revision {r['revision']} {word}")


@click.command(epilog="Example: hub promote stores --to-key $PRODUCTION_KEY --environment production")
@click.argument("integration")
@click.option("--digest", default="", help="Of the revision (its first characters do); default: what is in force here.")
@click.option("--to-url", default="", help="The other hub; default: this one.")
@click.option("--to-key", required=True, envvar="CROSSDOCK_TO_KEY", help="API key of the tenant that gets it.")
@_ENVIRONMENT
@_REASON
@_ACCEPT
@api_options
def promote(
    integration: str, digest: str, to_url: str, to_key: str, environment: str, reason: str, accepted: tuple[str, ...],
    url: str, key: str, as_json: bool,
) -> None:  # fmt: skip
    """Put the same file in force for another tenant, or in another hub: byte for byte, known by its hash."""
    rows = Api(url, key).call("GET", f"/v1/integrations/{integration}/revisions")["items"]
    found = [row for row in rows if (row["digest"].startswith(digest) if digest else row["in_force"])]
    if len({row["digest"] for row in found}) != 1:
        fail(4, f"{len(found)} revisions have the digest {digest!r}; see `hub revisions {integration}`")
    source = found[-1]["source"]
    body = {
        "source": source, "name": f"{integration}.yaml", "environment": environment,
        "expect_digest": hashlib.sha256(source.encode()).hexdigest(),
        "reason": reason or f"promoted: revision {found[-1]['revision']}, {found[-1]['digest'][:12]}",
        **_accepting(accepted),
    }  # fmt: skip
    result = Api(to_url or url, to_key).call("POST", "/v1/integrations", body)
    if result["digest"] != found[-1]["digest"]:
        fail(4, f"in force is {result['digest']}, promoted was {found[-1]['digest']}")
    show(result, as_json, lambda r: f"{r['integration']} {r['digest'][:12]} in force there as revision {r['revision']}")


@click.group()
def shadow() -> None:
    """Run a revision beside what is in force, without sending; compare; cut over."""


@shadow.command("start", epilog="Example: hub shadow start stores.yaml")
@_FILE
@_ENVIRONMENT
@_REASON
@api_options
def shadow_start(file: Path, environment: str, reason: str, url: str, key: str, as_json: bool) -> None:
    """Begin; another shadow of the integration ends."""
    from hub.sdk.source import read_yaml

    body = _body(file, environment, reason=reason)
    name = str(read_yaml(body["source"], file.name).data.get("integration", ""))
    result = Api(url, key).call("PUT", f"/v1/integrations/{name}/shadow", body)
    show(result, as_json, lambda r: f"{r['integration']} {r['digest'][:12]} runs in the shadow since {r['created_at'][:19]}")


@shadow.command(
    "report", epilog="Example: hub shadow report stores --messages 10000   or   hub shadow report stores --instead newerp:erp"
)
@click.argument("integration")
@click.option(
    "--instead", multiple=True, metavar="NEW:OLD", help="Repeat; compare a second target with the one that it shall replace."
)
@_window_options
@api_options
def shadow_report(
    integration: str, instead: tuple[str, ...], messages: int, since: str | None, until: str | None, url: str, key: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Compare, field by field, what connectors were given with what the shadow would have given; exit code 1 if it differs."""
    query = {"limit": messages, "since": since, "until": until, "instead": ",".join(instead) or None}
    result = Api(url, key).call("GET", f"/v1/integrations/{integration}/shadow", query=query)
    show(result, as_json, lambda found: _plan(found["report"]))
    raise SystemExit(1 if any(n for name, n in result["report"]["forecast"]["counts"].items() if name != "same") else 0)


@shadow.command("connector", epilog="Example: hub shadow connector erp --deliveries 50")
@click.argument("connection")
@click.option("--deliveries", default=20, show_default=True, help="How many of the newest (at most 100).")
@click.option("--since", default=None, help="Accepted since then (RFC 3339).")
@click.option("--until", default=None, help="Accepted before then.")
@api_options
def shadow_connector(
    connection: str, deliveries: int, since: str | None, until: str | None, url: str, key: str, as_json: bool
) -> None:  # fmt: skip
    """Compare two installed versions of a connector (a canary and the one in use): what they would send for the newest
    deliveries, and make of the newest input; exit code 1 if it differs.

    Deliveries since the canary came are compared whole, with the answers that were had; others by the first request that
    changes something. Both ask the system what they have to know; nothing that would change it leaves.
    """
    query = {"limit": deliveries, "since": since, "until": until}
    result = Api(url, key).call("GET", f"/v1/connections/{connection}/versions", query=query)
    show(result, as_json, _versions)
    raise SystemExit(1 if result["items"] or result["inputs"]["items"] else 0)


def _counted(found: Any) -> str:
    return ", ".join(f"{number} {word}" for word, number in found["counts"].items())


def _versions(found: Any) -> str:
    inputs = found["inputs"]
    lines = [f"{found['connector']} {found['version']} and {found['other_version']}: {found['examined']} deliveries "
             f"({found['whole']} of them whole, the others by their first effect), {_counted(found)}; "
             f"{inputs['examined']} inputs, {_counted(inputs)}"]  # fmt: skip
    for item in [*found["items"], *inputs["items"]]:
        what = (
            f"{item['type']:24} {item['subject']}" if "type" in item else f"{item['object'] or 'input':24} raw {item['raw_id']}"
        )
        lines.append(f"{item['change']:8} {what}  {item['problem']}".rstrip())
        lines += [f"    {_difference(one)}" for one in item["fields"]]
    return "\n".join(lines)


@shadow.command("cutover", epilog="Example: hub shadow cutover stores --reason 'equal for a week'")
@click.argument("integration")
@_REASON
@_ACCEPT
@api_options
def shadow_cutover(
    integration: str, reason: str, accepted: tuple[str, ...], url: str, key: str, as_json: bool
) -> None:  # fmt: skip
    """Put the shadow in force; `hub rollback` returns to what was."""
    body = {"reason": reason, **_accepting(accepted)}
    result = Api(url, key).call("POST", f"/v1/integrations/{integration}/shadow/cutover", body)
    show(result, as_json, lambda r: f"{r['integration']} revision {r['revision']} in force")


@shadow.command("stop", epilog="Example: hub shadow stop stores")
@click.argument("integration")
@api_options
def shadow_stop(integration: str, url: str, key: str, as_json: bool) -> None:
    """Forget the shadow."""
    result = Api(url, key).call("DELETE", f"/v1/integrations/{integration}/shadow")
    show(result, as_json, lambda r: f"{r['integration']} {r['digest'][:12]} no longer runs in the shadow")


@click.command(epilog="Example: hub schema > integration.schema.json")
def schema() -> None:
    """Print the JSON Schema of integration files: an editor completes and checks with it."""
    from hub.integrations.shape import FileSchema
    from hub.sdk.editor import schema_of

    click.echo(json.dumps(schema_of(FileSchema(), "integration"), indent=2))


COMMANDS = (apply, plan, preview, diff, revisions, rollback, promote, shadow, schema)
