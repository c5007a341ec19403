"""The command `hub`. Talks to a running hub by its API; only what must work without one opens the store itself.

Exit codes: 0 done · 1 it ran and the answer is no · 2 wrong usage · 3 the hub cannot be reached · 4 not found or refused.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import click

from hub.cli.catalogue import catalogue as catalogue_commands
from hub.cli.client import Api, api_options, fail, show
from hub.cli.conflicts import COMMANDS as CONFLICTS
from hub.cli.corrections import correct
from hub.cli.corrections import lines as correction_lines
from hub.cli.integrations import COMMANDS as INTEGRATIONS
from hub.cli.links import links
from hub.cli.plainly import PlainGroup
from hub.cli.sync import sync

_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


def _canonical() -> click.Command:
    from hub.cli.language import canonical

    return canonical


def _contracts() -> click.Command:
    from hub.cli.governance import contracts

    return contracts


def _plugin() -> click.Command:
    from hub.cli.market import COMMANDS
    from hub.cli.plugins import plugin

    for command in COMMANDS:
        plugin.add_command(command)
    return plugin


class _Main(PlainGroup):
    """The command; groups whose modules take long to import are imported when they are asked for."""

    #: Name → (what makes it, what `--help` says of it).
    later: ClassVar[dict[str, tuple[Callable[[], click.Command], str]]] = {
        "canonical": (_canonical, "The canonical language: types, examples, validation, casting between majors."),
        "contracts": (_contracts, "The governed contract: lint it, see who breaks, gate it in CI, release it."),
        "plugin": (_plugin, "Write a connector: judge what it does by the conformance kit."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *self.later})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.later and cmd_name not in self.commands:
            self.add_command(self.later[cmd_name][0]())
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does, without importing them."""
        width = formatter.width - 6 - max(map(len, self.list_commands(ctx)))
        told = {name: text for name, (_, text) in self.later.items() if name not in self.commands}
        rows = [
            (name, click.Command(name, help=told[name]).get_short_help_str(width) if name in told
             else self.commands[name].get_short_help_str(width))
            for name in self.list_commands(ctx)
        ]  # fmt: skip
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Crossdock: the hub between a retailer's tills, stock systems and ERPs.

    First steps: `hub tenant create acme`, `hub up`, `hub apply stores.yaml`. Settings are environment variables HUB_*.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


main.add_command(correct)
main.add_command(sync)
main.add_command(links)
main.add_command(catalogue_commands)
for command in (*INTEGRATIONS, *CONFLICTS):
    main.add_command(command)


@main.command(epilog="Example: hub up --data-dir ./data --port 8700")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the embedded engine (HUB_DATA_DIR).")
@click.option("--port", type=int, help="Port of the HTTP edge (HUB_PORT).")
def up(data_dir: Path | None, port: int | None) -> None:
    """Run the whole hub in one process (every role; embedded engine unless HUB_DATABASE_URL is set)."""
    from hub.cli.admin import run_hub

    run_hub(data_dir=data_dir, port=port)


@main.command(epilog="Example: hub serve --port 8700")
@click.option("--port", type=int, help="Port of the HTTP edge (HUB_PORT).")
def serve(port: int | None) -> None:
    """Run the HTTP edge: webhooks, API, console. Any number beside each other, on PostgreSQL and a broker."""
    from hub.cli.admin import run_hub

    run_hub(("serve",), port=port)


@main.command(epilog="Example: hub work --connector tryton --lane live")
@click.option("--connector", "connectors", multiple=True, help="Repeat; default: every installed connector.")
@click.option("--lane", "lanes", type=click.Choice(["live", "bulk"]), multiple=True, help="Repeat; default: both.")
def work(connectors: tuple[str, ...], lanes: tuple[str, ...]) -> None:
    """Run a worker: translates what arrived, delivers what is due. Any number beside each other.

    One for bulk work alone (a history that comes in) leaves the processor to the others: run it beside workers for live.
    """
    from hub.cli.admin import run_role

    run_role("work", connectors, lanes or ("live", "bulk"))


@main.command(epilog="Example: hub schedule")
def schedule() -> None:
    """Run a scheduler: sweeps, retries, recovery, polls. Any number beside each other; one leads, the next takes over."""
    from hub.cli.admin import run_role

    run_role("schedule")


@main.command(epilog="Example: hub demo --exit")
@click.option("--exit", "leave", is_flag=True, help="End after the closing table.")
@click.option("--erp", type=click.Choice(["simulator", "tryton"]), default="simulator", show_default=True,
              help="tryton: a real Tryton server, installed on first use.")  # fmt: skip
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path(".demo"), show_default=True)
def demo(leave: bool, erp: str, folder: Path) -> None:
    """A trading day in a minute and a quarter: sales reach the ERP and the stock system, with trouble on the way."""
    from hub.demo import run

    raise SystemExit(run(folder, real_erp=erp == "tryton", leave=leave))


@main.group()
def db() -> None:
    """The database schema."""


@db.command("upgrade", epilog="Example: HUB_DATABASE_URL=postgresql+psycopg://… hub db upgrade")
@_JSON
def db_upgrade(as_json: bool) -> None:
    """Bring the schema to the newest migration."""
    from hub.cli.admin import upgrade

    show(upgrade(), as_json, lambda result: f"schema {result['before'] or 'empty'} → {result['after']}")


@main.group()
def tenant() -> None:
    """Tenants and their API keys (opens the store itself)."""


@tenant.command("create", epilog="Example: hub tenant create acme --name 'Acme Stores'")
@click.argument("tenant_id")
@click.option("--name", default="", help="Name for people.")
@_JSON
def tenant_create(tenant_id: str, name: str, as_json: bool) -> None:
    """Create a tenant and an API key with every scope."""
    from hub.cli.admin import create_tenant

    result = create_tenant(tenant_id, name or tenant_id)
    show(result, as_json, lambda r: f"tenant {r['tenant_id']}\nkey    {r['key']}   (shown once)")


@tenant.command("key", epilog="Example: hub tenant key acme shop-backend --scope events:write")
@click.argument("tenant_id")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, help="Repeat; default: all but those that govern the contract.")
@_JSON
def tenant_key(tenant_id: str, name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Make an API key."""
    from hub.cli.admin import make_key

    show(make_key(tenant_id, name, scopes), as_json, lambda r: f"key {r['key']}   (shown once)")


@tenant.command("revoke", epilog="Example: hub tenant revoke acme xdk_No_FcPvI")
@click.argument("tenant_id")
@click.argument("prefix")
@_JSON
def tenant_revoke(tenant_id: str, prefix: str, as_json: bool) -> None:
    """End an API key, named by its first 12 characters (or the whole key)."""
    from hub.cli.admin import revoke_key

    show(revoke_key(tenant_id, prefix[:12]), as_json, lambda r: f"revoked {r['prefix']}")


@main.command(epilog="Example: hub connect erp username=hub password=@secret.txt")
@click.argument("connection")
@click.argument("credentials", nargs=-1, required=True)
@click.option("--untried", is_flag=True, help="Store them without asking the system, as for a set-up without network.")
@click.option("--former-hours", type=click.FloatRange(0, 720), default=24.0, show_default=True,
              help="So long a replaced webhook secret is accepted too; 0 ends it at once.")  # fmt: skip
@api_options
def connect(
    connection: str, credentials: tuple[str, ...], untried: bool, former_hours: float, url: str, key: str, as_json: bool
) -> None:  # fmt: skip
    """Set a connection's credentials, NAME=VALUE or NAME=@FILE, after the system took them; a paused connection resumes.

    Credentials that the system refuses are not stored, and those of before stay in force (exit code 1).
    """
    values = {}
    for item in credentials:
        name, separator, value = item.partition("=")
        if not separator:
            fail(2, f"{item!r} is not NAME=VALUE")
        try:
            values[name] = Path(value[1:]).read_text("utf-8").strip() if value.startswith("@") else value
        except (OSError, UnicodeDecodeError) as error:
            fail(2, f"{name}: cannot read the file {value[1:]}: {getattr(error, 'strerror', '') or 'it is no UTF-8 text'}")
    api = Api(url, key)
    path = f"/v1/connections/{connection}/credentials"
    query: dict[str, Any] = {"former_hours": former_hours}
    if untried:
        api.call("PUT", path, values, query)
        show({"ok": True, "detail": "not tried"}, as_json, lambda r: f"{connection}: stored, {r['detail']}")
        return
    query["try_first"] = "true"
    status, said = api.request("PUT", path, values, query)
    if status == 409 and said.get("code") == "wrong_state":
        fail(1, f"{connection}: {said['detail']}; --untried stores them anyway")
    if not 200 <= status < 300:
        api.refuse(status, said)
    if said["state_reason"].startswith("credentials missing"):
        show({"ok": True, "detail": said["state_reason"]}, as_json, lambda r: f"{connection}: stored, not tried: {r['detail']}")
        return
    result = api.call("POST", f"/v1/connections/{connection}/check")
    show(result, as_json, lambda r: f"{connection}: {'works' if r['ok'] else 'refused'}: {r['detail']}")
    raise SystemExit(0 if result["ok"] else 1)


@main.command(epilog="Example: hub fields erp")
@click.argument("connection")
@api_options
def fields(connection: str, url: str, key: str, as_json: bool) -> None:
    """List the fields of a connection's account, custom ones too; exit code 1 if a flow sets one that is not there."""
    result = Api(url, key).call("GET", f"/v1/connections/{connection}/fields")

    def text(found: Any) -> str:
        lines = []
        for field in found["items"]:
            notes = [word for word in ("custom", "required") if field[word]]
            lines.append(
                " ".join([f"{field['object']:24} {field['name']:28} {field['type']:12}", *notes, field["label"]]).rstrip()
            )
        lines += [f"NOT THERE  {item['field']}, which {item['flow']} sets" for item in found["unknown"]]
        return "\n".join(lines) or "no fields"

    show(result, as_json, text)
    raise SystemExit(1 if result["unknown"] else 0)


@main.command(epilog="Example: hub send sale.json   or   hub send --example sale.completed.v1")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option("--example", "type_name", help="Send the type's example document instead of a file.")
@api_options
def send(file: Path | None, type_name: str | None, url: str, key: str, as_json: bool) -> None:
    """Publish one canonical event (a CloudEvents envelope)."""
    from hub.cli.client import example_event, read_json

    if (file is None) == (type_name is None):
        fail(2, "give a file or --example TYPE")
    event = read_json(file) if file else example_event(str(type_name))
    result = Api(url, key).call("POST", "/v1/events", event)
    show(result, as_json, lambda r: f"{r['status']} {r['message_id']} → {len(r['deliveries'])} deliveries")


@main.command(epilog="Example: hub messages --type sale.completed.v1 --limit 5")
@click.option("--type", "type_name", help="Canonical type.")
@click.option("--limit", default=20, show_default=True)
@api_options
def messages(type_name: str | None, limit: int, url: str, key: str, as_json: bool) -> None:
    """List the newest messages."""
    result = Api(url, key).call("GET", "/v1/messages", query={"type": type_name, "limit": limit})

    def table(page: Any) -> str:
        rows = [f"{m['received_at'][:19]}  {m['state']:9} {m['type']:22} {m['subject']:44} {m['id']}" for m in page["items"]]
        return "\n".join(rows) or "no messages"

    show(result, as_json, table)


@main.command(epilog="Example: hub lineage CAISENgvlJ6jLWAzERDzjyHVybY")
@click.argument("reference")
@api_options
def lineage(reference: str, url: str, key: str, as_json: bool) -> None:
    """Every step of one sale with times: message id, source id, subject or webhook event id."""
    result = Api(url, key).call("GET", "/v1/lineage", query={"of": reference})

    def text(history: Any) -> str:
        lines = [history["subject"], *(f"trace {trace}" for trace in history["trace_ids"]), ""]
        lines += [f"{step['at'][11:23]:12}  {step['step']:10} {step['text']}" for step in history["steps"]]
        raws = {message["raw"]["id"]: message["raw"] for message in history["messages"] if message["raw"]}
        for corrected in (*raws.values(), *history["messages"]):
            lines += correction_lines(corrected.get("corrections", ()))
        return "\n".join(lines)

    show(result, as_json, text)


@main.command("dead-letters", epilog="Example: hub dead-letters --json | jq '.items[].cause_code'")
@click.option("--limit", default=50, show_default=True)
@api_options
def dead_letters(limit: int, url: str, key: str, as_json: bool) -> None:
    """List dead letters with cause and remedy; exit code 1 if there are any."""
    result = Api(url, key).call("GET", "/v1/dead-letters", query={"limit": limit})

    def text(page: Any) -> str:
        rows = [
            f"{d['id']}  {d['connection_id']:8} {d['subject']}\n    cause   {d['cause_code']}: {d['cause'].splitlines()[0]}\n"
            f"    remedy  {d['remedy']}"
            for d in page["items"]
        ]
        return "\n".join(rows) or "no dead letters"

    show(result, as_json, text)
    raise SystemExit(1 if result["items"] else 0)


@main.command(epilog="Example: hub replay 0192f4e2-7c1a-7b3e-9d55-3f1c2ab40001   or   hub replay --all --cause unknown_sku")
@click.argument("delivery_id", required=False)
@click.option("--all", "everything", is_flag=True, help="Every dead letter; narrowed by the options below.")
@click.option("--connection", help="With --all: of this connection.")
@click.option("--type", "type_name", help="With --all: of this canonical type.")
@click.option("--cause", help="With --all: that died of this cause code.")
@click.option("--reason", default="", help="Kept in the audit record.")
@api_options
def replay(
    delivery_id: str | None, everything: bool, connection: str | None, type_name: str | None, cause: str | None, reason: str,
    url: str, key: str, as_json: bool,
) -> None:  # fmt: skip
    """Try a dead letter again, or all of a kind; what may have been applied is probed first."""
    narrowed = {"connection_id": connection, "type": type_name, "cause_code": cause}
    if (delivery_id is None) != everything or (delivery_id and any(narrowed.values())):
        fail(2, "give a delivery id, or --all with --connection, --type, --cause")
    api = Api(url, key)
    if delivery_id:
        result = api.call("POST", f"/v1/dead-letters/{delivery_id}/replay", {"reason": reason})
        show(result, as_json, lambda d: f"{d['id']} is {d['state']} again")
        return
    body = {"reason": reason, **{name: value for name, value in narrowed.items() if value}}
    replayed, more = 0, True
    while more:
        found = api.call("POST", "/v1/dead-letters/replay", body)
        replayed, more, body["before"] = replayed + found["replayed"], found["more"], found["before"]
        if more:
            click.echo(f"{replayed} so far", err=True)
    show({"replayed": replayed}, as_json, lambda r: f"{r['replayed']} dead letters try again")


@main.command(epilog="Example: hub connectors --json")
@_JSON
def connectors(as_json: bool) -> None:
    """List installed connectors with what each write guarantees; exit code 1 if one is quarantined."""
    from hub.cli.market import open_plugins
    from hub.marketplace.catalogue import catalogue

    items = catalogue(open_plugins())

    def text(entries: Any) -> str:
        lines = []
        for entry in entries:
            lines.append(
                f"{entry['connector']:12} {entry['version']:8} {entry['state']:12} {entry['summary'] or entry['reason']}"
            )
            lines += [f"             writes {w['type']:24} {w['guarantee']}" for w in entry["writes"]]
        return "\n".join(lines) or "no connectors installed"

    show(items, as_json, text)
    raise SystemExit(1 if any(entry["state"] == "quarantined" for entry in items) else 0)


@main.command(epilog="Example: hub doctor")
@_JSON
def doctor(as_json: bool) -> None:
    """Check settings, schema, vault, plugins, broker and audit chain; exit code 1 if something is wrong."""
    from hub.cli.admin import examine

    checks = examine()

    def text(found: Any) -> str:
        return "\n".join(f"{'ok  ' if c['ok'] else 'FAIL'}  {c['check']:12} {c['detail']}" for c in found)

    show(checks, as_json, text)
    raise SystemExit(0 if all(check["ok"] for check in checks) else 1)
