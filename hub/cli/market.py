"""`hub plugin key|publish|search|plan|install|…`: to and from a catalogue. Those of a hub work on its plugins folder; every
process of the hub takes up what changed there within seconds.
"""

import urllib.error
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from hub.cli.catalogue import described, submission_body, told
from hub.cli.client import fail, show
from hub.settings import Settings, from_environment

if TYPE_CHECKING:
    from hub.marketplace.client import Catalogue
    from hub.marketplace.installed import Installed
    from hub.runtime.plugins import Plugins

_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
_VERSION = click.option("--version", default="", help="Default: the newest that is listed and fits this hub.")


def open_plugins(settings: Settings | None = None) -> "Plugins":
    """What a hub with these settings would run; no plugin's code runs here but what may run in its process."""
    from hub.bootstrap import catalogue_of, isolation_of
    from hub.marketplace.installed import Installed
    from hub.runtime.plugins import load_plugins

    settings = settings or from_environment()
    plugins = load_plugins(isolation=isolation_of(settings))
    adopted, refused = Installed(settings.plugins_home).adopted(catalogue_of(settings))
    plugins.adopt(adopted)
    plugins.quarantined |= refused
    return plugins


def catalogue_here() -> "Catalogue":
    """The catalogue that the settings name; ends with a line if they name none."""
    from hub.bootstrap import catalogue_of

    found = catalogue_of(from_environment())
    if found is None:
        fail(2, "no catalogue: set HUB_CATALOGUE to its folder or URL")
    return found


def _installed() -> "Installed":
    from hub.marketplace.installed import Installed

    return Installed(from_environment().plugins_home)


@click.command("key", epilog="Example: hub plugin key acme.key")
@click.argument("file", type=click.Path(path_type=Path))
def key(file: Path) -> None:
    """Make a key pair: FILE stays with you, FILE.pub goes to the catalogue's owner."""
    from hub.marketplace.keys import make_key

    told(lambda: make_key(file))
    click.echo(f"{file}       private: keep it\n{file}.pub   public: hand it over")


@click.command("build", epilog="Example: hub plugin build ./acme --out dist")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path(), help="Folder for the wheel.")
def build(folder: Path, out: Path) -> None:
    """Build the wheel of a plugin: the same bytes from the same files, everywhere."""
    from hub.marketplace.wheel import build as build_wheel

    wheel = told(lambda: build_wheel(folder))
    out.mkdir(parents=True, exist_ok=True)
    (out / wheel.filename).write_bytes(wheel.content)
    click.echo(f"{out / wheel.filename}\nsha256 {wheel.sha256}")


@click.command("publish", epilog="Example: hub plugin publish ./acme --catalogue https://plugins.example.com "
               "--publisher acme-inc --key acme.key")  # fmt: skip
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--catalogue", "where", required=True, help="The catalogue's folder, or the URL it is served at.")
@click.option("--publisher", "publisher_name", required=True, help="The name the catalogue knows you by.")
@click.option("--key", "key_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True,
              help="Your private key.")  # fmt: skip
@_JSON
def publish(folder: Path, where: str, publisher_name: str, key_file: Path, as_json: bool) -> None:
    """Build the wheel, judge it by the kit behind the fence, compare it with the version before, sign it and submit it.

    Exit code 1, and nothing is submitted, if something stands against listing it.
    """
    from datetime import UTC, datetime, timedelta

    from hub.bootstrap import isolation_of
    from hub.marketplace.keys import read_key
    from hub.marketplace.repository import Repository, sign_release
    from hub.marketplace.review import assess, obstacles
    from hub.marketplace.wheel import build as build_wheel

    settings = from_environment()
    wheel = told(lambda: build_wheel(folder))
    served = where.startswith(("http://", "https://"))
    role, records = (
        _published(where, publisher_name) if served else told(lambda: Repository(Path(where)).published(publisher_name))
    )
    with TemporaryDirectory() as home:
        record = assess(wheel, publisher_name, records, Path(home), isolation_of(settings).guests.limits.fences)
    if against := obstacles(record):
        show({**record, "obstacles": against}, as_json, lambda _: described(record, against))
        raise SystemExit(1)
    metadata = told(lambda: sign_release(role, wheel, read_key(key_file), datetime.now(UTC) + timedelta(days=365)))
    if served:
        _post(where, submission_body(publisher_name, metadata, wheel))
    else:
        told(lambda: Repository(Path(where)).submit(publisher_name, metadata, wheel.content, wheel.filename))
    text = f"{described(record, [])}\nsha256       {wheel.sha256}\nsubmitted: it waits for review"
    show({**record, "state": "waits for review"}, as_json, lambda _: text)


@click.command("search", epilog="Example: hub plugin search till")
@click.argument("text", default="")
@_JSON
def search(text: str, as_json: bool) -> None:
    """List the connectors of the catalogue that have TEXT in name, kind, summary, types or maintainers."""
    from hub.marketplace.client import unfit

    rows = []
    for record in told(catalogue_here().refresh):
        words = [record[name] for name in ("connector", "name", "kind", "summary", "publisher")]
        words += [*record["contract"]["writes"], *record["contract"]["types"], *record["maintainers"]]
        if record["state"] != "rejected" and text.lower() in " ".join(words).lower():
            rows.append({**record, "fits": not unfit(record)})

    def lines(found: Any) -> str:
        shown = []
        for row in found:
            note = "" if row["fits"] else "(not for this hub) "
            what = f"{row['connector']:14} {row['version']:9} {row['state']:8} {row['tier']:9} {row['kind']:9}"
            shown.append(f"{what} {note}{row['summary']}")
        return "\n".join(shown) or "nothing found"

    show(rows, as_json, lines)


@click.command("info", epilog="Example: hub plugin info acme")
@click.argument("connector")
@_VERSION
@_JSON
def info(connector: str, version: str, as_json: bool) -> None:
    """Show a version: tier, guarantees, hosts, maintainers, what differs from the one before, and whether it fits this hub."""
    from hub.marketplace.client import chosen, unfit

    records = told(catalogue_here().refresh)
    named = [item for item in records if (item["connector"], item["version"]) == (connector, version)]
    record = named[-1] if named else told(lambda: chosen(records, connector, version))
    against = unfit(record)
    show({**record, "obstacles": against}, as_json, lambda _: described(record, against))


@click.command("compare", epilog="Example: hub plugin compare acme globex")
@click.argument("one")
@click.argument("other")
@_JSON
def compare(one: str, other: str, as_json: bool) -> None:
    """Show two connectors side by side: tier, what they read and write with which guarantee, what they ask for."""
    from hub.marketplace.client import chosen

    records = told(catalogue_here().refresh)
    pair = [told(lambda: chosen(records, one)), told(lambda: chosen(records, other))]
    rows = [{"what": what, one: value(pair[0]), other: value(pair[1])} for what, value in _compared(pair)]
    show(rows, as_json, lambda found: "\n".join(f"{row['what']:24} {row[one]:28} {row[other]}" for row in found))


def _compared(pair: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    writes = sorted({name for item in pair for name in item["contract"]["writes"]})
    return [
        ("version", lambda item: item["version"]), ("tier", lambda item: item["tier"]), ("kind", lambda item: item["kind"]),
        ("publisher", lambda item: item["publisher"]),
        ("reads", lambda item: ", ".join(item["contract"]["types"]) or "nothing"),
        *((f"writes {name}", lambda item, name=name: item["contract"]["writes"].get(name, "no")) for name in writes),
        ("credentials", lambda item: ", ".join(item["contract"]["credentials"]) or "none"),
        ("hosts", lambda item: ", ".join(item["contract"]["hosts"]) or "self-hosted"),
    ]  # fmt: skip


@click.command("plan", epilog="Example: hub plugin plan acme")
@click.argument("connector")
@_VERSION
@_JSON
def plan(connector: str, version: str, as_json: bool) -> None:
    """Show what installing (or upgrading to) a version would change here; nothing is done."""
    records = told(catalogue_here().refresh)
    found = told(lambda: _installed().plan(records, connector, version))
    show(found, as_json, _planned)


def _planned(found: Any) -> str:
    record = found["record"]
    before = found["before"] or "not installed"
    head = f"{record['connector']} {before} → {record['version']} ({record['tier']})"
    if found["before"] is None:
        return f"{head}\n{described({**record, 'since': None}, [])}"
    changes = [f"  {item['severity']:4} {item['rule']}: {item['place']}" for item in found["changes"]] or ["  nothing differs"]
    return "\n".join([head, f"a {found['bump']} version:", *changes])


@click.command(
    "install", epilog="Example: hub plugin install acme --tenant acme-stores   or   hub plugin install acme --canary shop-7"
)
@click.argument("connector")
@_VERSION
@click.option("--tenant", "tenants", multiple=True, help="Repeat; who may use a connector that is new here. Default: everyone.")
@click.option("--canary", multiple=True, help="Repeat; only these tenants get this version, the others keep theirs.")
@_JSON
def install(connector: str, version: str, tenants: tuple[str, ...], canary: tuple[str, ...], as_json: bool) -> None:
    """Install a version, or upgrade to it: verified, unpacked, locked by its hash. The one before is kept for `rollback`."""
    source, installed = catalogue_here(), _installed()
    records = told(source.refresh)
    found = told(lambda: installed.plan(records, connector, version))
    held = told(lambda: installed.install(source, found["record"], list(tenants) or None, list(canary) or None))
    show({**found, "installed": held}, as_json, lambda _: f"{_planned(found)}\ninstalled{' as canary' if canary else ''}")


@click.command("rollback", epilog="Example: hub plugin rollback acme --reason 'tips are lost'")
@click.argument("connector")
@click.option("--reason", default="by hand", show_default=True)
def rollback(connector: str, reason: str) -> None:
    """Back to the version before; of a canary: end it."""
    click.echo(f"{connector} {told(lambda: _installed().rollback(connector, reason))} is in use")


@click.command("promote", epilog="Example: hub plugin promote acme")
@click.argument("connector")
def promote(connector: str) -> None:
    """Give the canary's version to every tenant."""
    click.echo(f"{connector} {told(lambda: _installed().promote(connector))} is in use")


@click.command("pin", epilog="Example: hub plugin pin acme   or   hub plugin pin acme --off")
@click.argument("connector")
@click.option("--off", is_flag=True, help="Upgrade again.")
def pin(connector: str, off: bool) -> None:
    """Keep the version that is in use."""
    told(lambda: _installed().pin(connector, not off))
    click.echo(f"{connector} is {'not pinned' if off else 'pinned'}")


@click.command("enable", epilog="Example: hub plugin enable acme shop-7")
@click.argument("connector")
@click.argument("tenant")
def enable(connector: str, tenant: str) -> None:
    """Let a tenant use a connector (TENANT `*`: every tenant)."""
    click.echo(f"{connector}: {', '.join(told(lambda: _installed().enable(connector, tenant, True)))}")


@click.command("disable", epilog="Example: hub plugin disable acme shop-7")
@click.argument("connector")
@click.argument("tenant")
def disable(connector: str, tenant: str) -> None:
    """Take a connector from a tenant (TENANT `*`: from all); what is for it waits."""
    click.echo(f"{connector}: {', '.join(told(lambda: _installed().enable(connector, tenant, False))) or 'nobody'}")


@click.command("remove", epilog="Example: hub plugin remove acme")
@click.argument("connector")
def remove(connector: str) -> None:
    """Uninstall a connector; what is for it waits."""
    told(lambda: _installed().remove(connector))
    click.echo(f"{connector} is removed")


@click.command("list", epilog="Example: hub plugin list")
@_JSON
def list_command(as_json: bool) -> None:
    """List what is installed from the catalogue: versions, canaries, pins, tenants, what was revoked or rolled back."""

    def text(found: Any) -> str:
        lines = []
        for name, held in found.items():
            notes = [f"canary {held['canary']['version']} for {', '.join(held['canary']['tenants'])}"] if held["canary"] else []
            notes += ["pinned"] if held["pinned"] else []
            notes += [f"before: {held['previous']['version']}"] if held["previous"] else []
            notes += (
                [f"{held['rolled_back']['version']} was rolled back: {held['rolled_back']['reason']}"]
                if "rolled_back" in held
                else []
            )
            lines.append(f"{name:14} {held['current']['version']:9} {held['state']:10} {', '.join(held['tenants']):16} "
                         f"{'; '.join([*notes, *filter(None, [held['reason']])])}".rstrip())  # fmt: skip
        return "\n".join(lines) or "nothing is installed from a catalogue"

    show(_installed().read(), as_json, text)


def _published(url: str, publisher_name: str) -> Any:
    """A publisher's role and the records, as a served catalogue shows them. What is signed here is verified there."""
    from hub.marketplace.repository import published_at

    def get(path: str) -> bytes:
        try:
            with urllib.request.urlopen(f"{url.rstrip('/')}/{path}", timeout=30) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            fail(4, f"{url}/{path} answered {error.code}")
        except OSError as error:
            fail(3, f"cannot reach {url}: {error}")

    return told(lambda: published_at(get, publisher_name))


def _post(url: str, body: bytes) -> None:
    request = urllib.request.Request(f"{url.rstrip('/')}/submissions", body, {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=60).close()
    except urllib.error.HTTPError as error:
        fail(4, error.read().decode("utf-8", "replace")[:2000])
    except OSError as error:
        fail(3, f"cannot reach {url}: {error}")


COMMANDS = (
    key,
    build,
    publish,
    search,
    info,
    compare,
    plan,
    install,
    rollback,
    promote,
    pin,
    enable,
    disable,
    remove,
    list_command,
)
