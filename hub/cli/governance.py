"""`hub contracts propose|show|approve|…`: the review of a contract in a running hub, step by step."""

from pathlib import Path
from typing import Any

import click
import orjson

from hub.cli.client import Api, api_options, fail, show
from hub.cli.contracts import contracts
from hub.contracts.document import contract_folder
from hub.contracts.releases import Contract, load, since, versions, working, write

__all__ = ["contracts"]

_PATH = "/v1/contracts/proposals"
_REASON = click.option("--reason", required=True, help="Why; kept for ever.")


@contracts.command("propose", epilog="Example: hub contracts propose 0.2.0 --reason 'nobody sends it since May'")
@click.argument("version")
@_REASON
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="An OpenAPI document, whole; "
              "default: this tree's contract, with its event types and connectors.")  # fmt: skip
@api_options
def propose(version: str, reason: str, file: Path | None, url: str, key: str, as_json: bool) -> None:
    """Propose a version to the hub: it is linted, compared with the newest release, and kept for review."""
    body: dict[str, Any] = {"version": version, "reason": reason}
    if file is None:
        from hub.cli.market import open_plugins

        mine = working(open_plugins().connectors)
        body |= {"openapi": orjson.dumps(mine.openapi).decode(), "events": mine.events, "connectors": mine.connectors}
    else:
        body["openapi"] = file.read_text("utf-8")
    show(Api(url, key).call("POST", _PATH, body), as_json, _text)


@contracts.command("proposals", epilog="Example: hub contracts proposals")
@api_options
def proposals(url: str, key: str, as_json: bool) -> None:
    """List proposals, newest first."""
    found = Api(url, key).call("GET", _PATH)["items"]
    show(found, as_json, lambda rows: "\n".join(_head(row) for row in rows) or "none")


@contracts.command("show", epilog="Example: hub contracts show 0192f4e2-7c1a-7b3e-9d55-3f1c2ab40001 --days 90")
@click.argument("proposal")
@click.option("--days", type=click.IntRange(1, 3660), default=30, show_default=True, help="Calls of so many days.")
@api_options
def show_proposal(proposal: str, days: int, url: str, key: str, as_json: bool) -> None:
    """A proposal: changes with their callers, verdicts, and what keeps it from being released (exit code 1)."""
    found = Api(url, key).call("GET", f"{_PATH}/{proposal}", query={"days": days})
    show(found, as_json, _text)
    raise SystemExit(1 if found["obstacles"] else 0)


def _decide(verdict: str) -> Any:
    def command(
        proposal: str, fingerprints: tuple[str, ...], everything: bool, reason: str, url: str, key: str, as_json: bool
    ) -> None:  # fmt: skip
        api = Api(url, key)
        wanted = list(fingerprints)
        if everything:
            found = api.call("GET", f"{_PATH}/{proposal}")["changes"]
            wanted = [change["fingerprint"] for change in found if change["severity"] == "ERR"]
        if not wanted:
            fail(2, "name the fingerprints, or --all for every change that breaks somebody")
        body = {"fingerprints": wanted, "verdict": verdict, "reason": reason}
        show(api.call("POST", f"{_PATH}/{proposal}/decisions", body), as_json, _text)

    command.__doc__ = f"{verdict.capitalize()} {'of ' if verdict == 'approve' else ''}changes, by fingerprint."
    command = click.option("--all", "everything", is_flag=True, help="Every change that breaks somebody.")(_REASON(command))
    command = click.argument("fingerprints", nargs=-1)(click.argument("proposal")(api_options(command)))
    example = f"Example: hub contracts {verdict} 0192f4e2-7c1a-7b3e-9d55-3f1c2ab40001 3f2a9c01b7de --reason 'both have moved'"
    return contracts.command(verdict, epilog=example)(command)


approve, reject = _decide("approve"), _decide("reject")


@contracts.command(
    "withdraw", epilog="Example: hub contracts withdraw 0192f4e2-7c1a-7b3e-9d55-3f1c2ab40001 --reason 'it stays'"
)
@click.argument("proposal")
@_REASON
@api_options
def withdraw(proposal: str, reason: str, url: str, key: str, as_json: bool) -> None:
    """End a proposal without a release."""
    show(Api(url, key).call("POST", f"{_PATH}/{proposal}/withdraw", {"reason": reason}), as_json, _text)


@contracts.command("publish", epilog="Example: hub contracts publish 0192f4e2-7c1a-7b3e-9d55-3f1c2ab40001")
@click.argument("proposal")
@api_options
def publish(proposal: str, url: str, key: str, as_json: bool) -> None:
    """Release a proposal in the hub; clients that its changes concern get a notice. Refused while an obstacle is left."""
    show(Api(url, key).call("POST", f"{_PATH}/{proposal}/release"), as_json, _text)


@contracts.command("pull", epilog="Example: hub contracts pull 0.2.0")
@click.argument("version")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Instead of this project's openapi/.")
@api_options
def pull(version: str, folder: Path | None, url: str, key: str, as_json: bool) -> None:
    """Write a version that the hub has released to openapi/releases, with its changelog."""
    root, known = folder or contract_folder(), versions(folder)
    if version in known:
        fail(4, f"{version} is there already")
    found = Api(url, key).call("GET", f"/v1/contracts/releases/{version}")
    contract = Contract(found["openapi"], found["events"], found["connectors"])
    changes = since(load(known[-1], root), contract) if known else []
    write(version, contract, changes, root)
    result = {"version": version, "changes": len(changes)}
    show(result, as_json, lambda _: f"wrote {root / 'releases' / version}: {len(changes)} changes")


@contracts.command("evidence", epilog="Example: hub contracts evidence 0192f4e2-7c1a-7b3e-9d55-3f1c2ab40001 > evidence.json")
@click.argument("proposal")
@api_options
def evidence(proposal: str, url: str, key: str, as_json: bool) -> None:
    """Everything about a decision in one JSON document: who proposed what, whom it broke, who agreed, the audit records."""
    show(Api(url, key).call("GET", f"{_PATH}/{proposal}/evidence"), True, str)


@contracts.command("notices", epilog="Example: hub contracts notices")
@api_options
def notices(url: str, key: str, as_json: bool) -> None:
    """What released versions mean for this tenant's clients."""
    found = Api(url, key).call("GET", "/v1/contracts/notices")["items"]
    show(found, as_json, lambda rows: "\n".join(
        f"{row['client']}  {row['version']}  {change['severity']:4} {change['operation']}: {change['text']}"
        for row in rows for change in row["changes"]
    ) or "none")  # fmt: skip


def _head(row: Any) -> str:
    return f"{row['id']}  {row['version']:10} {row['state']:10} score {row['score']}  {row['owner']}: {row['reason']}"


def _text(found: Any) -> str:
    lines = [_head(found)]
    for change in found["changes"]:
        lines.append(f"{change['severity']:4} {change['fingerprint']}  {change['text']}  [{change['rule']}]")
        for who in change["callers"]:
            sends = f"; sends {', '.join(who['fields'])}" if who["fields"] else ""
            calls = f"{who['operation']}, {who['calls']} calls, last on {who['last_day']}"
            lines.append(f"     {who['tenant_id']} / {who['client']}: {calls}{sends}")
        lines += [f"     {item['verdict']}: {item['by']}: {item['reason']}" for item in change["verdicts"]]
    lines += [
        f"touches {item['kind']} {item['tenant_id']}{'/' if item['tenant_id'] else ''}{item['name']} ({item['fingerprint']})"
        + (", its expressions name the field" if item["mentions"] else "")
        + (f", {item['dead_letters']} dead letters" if item["dead_letters"] else "")
        for item in found["touches"]
    ]
    lines += [f"{item['code']}: {item['message']}" for item in found["obstacles"]]
    if found["state"] == "open":
        lines.append("not ready" if found["obstacles"] else f"ready: hub contracts publish {found['id']}")
    return "\n".join(lines)
