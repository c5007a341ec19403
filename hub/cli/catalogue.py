"""`hub catalogue …`: for those who keep a catalogue of plugins, and those who decide what is in it. Needs no running hub."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import click

from hub.cli.client import fail, show

T = TypeVar("T")
_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
_FOLDER = click.argument("folder", type=click.Path(path_type=Path))
_KEYS = click.option("--keys", type=click.Path(path_type=Path), required=True, help="Folder of the owner's keys.")
_KEY = click.option("--key", "key_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True,
                    help="The reviewer's private key.")  # fmt: skip
_BY = click.option("--by", required=True, help="Who decides, by name.")
_REASON = click.option("--reason", required=True, help="Kept with the record, for everybody to read.")


def _decision(command: Any) -> Any:
    """The arguments of every command by which a reviewer decides about a version."""
    arguments = (_FOLDER, click.argument("connector"), click.argument("version"), _KEY, _KEYS, _BY, _REASON)
    for argument in reversed(arguments):
        command = argument(command)
    return command


def told(work: Callable[[], T]) -> T:
    """What ``work`` returns; ends with its reason when it refuses."""
    from hub.marketplace.keys import KeyFileError
    from hub.marketplace.repository import CatalogueError
    from hub.marketplace.wheel import WheelRefusedError

    try:
        return work()
    except (CatalogueError, KeyFileError, WheelRefusedError) as error:
        fail(4, str(error))


@click.group()
def catalogue() -> None:
    """Keep a catalogue of plugins: who may publish, who reviews, what is listed, yanked, revoked."""


@catalogue.command("init", epilog="Example: hub catalogue init ./catalogue --keys ./owner-keys")
@_FOLDER
@_KEYS
@_JSON
def init(folder: Path, keys: Path, as_json: bool) -> None:
    """Make an empty catalogue and its owner's keys; prints the fingerprint that hubs are told once."""
    from hashlib import sha256

    from hub.marketplace.repository import Repository

    told(lambda: Repository.create(folder, keys))
    result = {
        "folder": str(folder),
        "keys": str(keys),
        "fingerprint": sha256((folder / "metadata/1.root.json").read_bytes()).hexdigest(),
    }
    show(result, as_json, lambda r: f"catalogue    {r['folder']}\n"
         f"keys         {r['keys']}   (root.key and targets.key belong offline)\nfingerprint  {r['fingerprint']}")  # fmt: skip


@catalogue.command(
    "publisher", epilog="Example: hub catalogue publisher ./catalogue acme-inc acme.key.pub acme --keys ./owner-keys"
)
@_FOLDER
@click.argument("name")
@click.argument("public_key", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("connectors", nargs=-1, required=True)
@click.option("--despite-likeness", is_flag=True, help="The connector's name may look like another's.")
@_KEYS
@_JSON
def publisher(
    folder: Path, name: str, public_key: Path, connectors: tuple[str, ...], despite_likeness: bool, keys: Path, as_json: bool
) -> None:  # fmt: skip
    """Let a publisher's key sign the wheels of these connectors, and of no others."""
    from hub.marketplace.keys import read_public
    from hub.marketplace.repository import Repository

    repository = Repository(folder, keys)
    told(lambda: repository.add_publisher(name, read_public(public_key), list(connectors), despite_likeness))
    show(
        {name: repository.publishers()[name]}, as_json, lambda _: f"{name} publishes {', '.join(repository.publishers()[name])}"
    )


@catalogue.command("reviewer", epilog="Example: hub catalogue reviewer ./catalogue grace.key.pub --keys ./owner-keys")
@_FOLDER
@click.argument("public_key", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_KEYS
def reviewer(folder: Path, public_key: Path, keys: Path) -> None:
    """Let a key decide about what is submitted."""
    from hub.marketplace.keys import read_public
    from hub.marketplace.repository import Repository

    told(lambda: Repository(folder, keys).add_reviewer(read_public(public_key)))
    click.echo("done")


@catalogue.command("queue", epilog="Example: hub catalogue queue ./catalogue")
@_FOLDER
@_JSON
def queue(folder: Path, as_json: bool) -> None:
    """List what waits for review, oldest first."""
    from hub.marketplace.repository import Repository

    def text(rows: Any) -> str:
        lines = [f"{row['connector']:16} {row['version']:10} {row['publisher']:16} {row['at'][:19]}" for row in rows]
        return "\n".join(lines) or "nothing waits"

    show(Repository(folder).queue(), as_json, text)


@catalogue.command("show", epilog="Example: hub catalogue show ./catalogue acme 1.1.0")
@_FOLDER
@click.argument("connector")
@click.argument("version")
@_JSON
def show_submission(folder: Path, connector: str, version: str, as_json: bool) -> None:
    """Run the kit behind the fence and show what a reviewer decides on: tier, guarantees, hosts, and what differs from before.

    Exit code 1 if something stands against listing it.
    """
    record = _assessed(folder, connector, version)
    from hub.marketplace.review import obstacles

    against = obstacles(record)
    show({**record, "obstacles": against}, as_json, lambda _: described(record, against))
    raise SystemExit(1 if against else 0)


@catalogue.command("approve", epilog="Example: hub catalogue approve ./catalogue acme 1.1.0 --key grace.key --keys ./keys "
                   "--by grace --reason 'hosts and scopes are what the vendor documents'")  # fmt: skip
@_decision
def approve(folder: Path, connector: str, version: str, key_file: Path, keys: Path, by: str, reason: str) -> None:
    """List a version: from now on hubs may install it. Refused while something stands against it."""
    _decide(folder, keys, connector, version, "listed", key_file, by, reason)


@catalogue.command("reject", epilog="Example: hub catalogue reject ./catalogue acme 1.1.0 --key grace.key --keys ./owner-keys "
                   "--by grace --reason 'asks for a scope that it does not use'")  # fmt: skip
@_decision
def reject(folder: Path, connector: str, version: str, key_file: Path, keys: Path, by: str, reason: str) -> None:
    """Refuse a version, with the reason for its publisher."""
    _decide(folder, keys, connector, version, "rejected", key_file, by, reason)


@catalogue.command("yank", epilog="Example: hub catalogue yank ./catalogue acme 1.1.0 --key grace.key --keys ./owner-keys "
                   "--by grace --reason 'loses tips; 1.1.1 mends it'")  # fmt: skip
@_decision
def yank(folder: Path, connector: str, version: str, key_file: Path, keys: Path, by: str, reason: str) -> None:
    """No new installations of a version; where it runs it goes on."""
    _mark(folder, keys, connector, version, "yanked", key_file, by, reason)


@catalogue.command("revoke", epilog="Example: hub catalogue revoke ./catalogue acme 1.1.0 --key grace.key --keys ./owner-keys "
                   "--by grace --reason 'sends card numbers in clear'")  # fmt: skip
@_decision
def revoke(folder: Path, connector: str, version: str, key_file: Path, keys: Path, by: str, reason: str) -> None:
    """Disable a version in every hub at its next look (HUB_CATALOGUE_SECONDS); what is for it waits there."""
    _mark(folder, keys, connector, version, "revoked", key_file, by, reason)


@catalogue.command("renew", epilog="Example: hub catalogue renew ./catalogue --keys ./owner-keys")
@_FOLDER
@_KEYS
def renew(folder: Path, keys: Path) -> None:
    """Sign snapshot and timestamp anew; they are good for a day, so a catalogue that is not served by `serve` does it daily."""
    from hub.marketplace.repository import Repository

    told(lambda: Repository(folder, keys).renew())
    click.echo("renewed")


@catalogue.command("serve", epilog="Example: hub catalogue serve ./catalogue --keys ./online-keys --port 8790")
@_FOLDER
@_KEYS
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8790, show_default=True)
def serve(folder: Path, keys: Path, host: str, port: int) -> None:
    """Serve a catalogue over HTTP, take submissions (POST /submissions), renew its signatures hourly.

    The folder of keys needs only online.key.
    """
    import uvicorn

    from hub.marketplace.serve import create_catalogue

    if not (folder / "metadata").is_dir():
        fail(2, f"{folder} is no catalogue; make one with `hub catalogue init {folder}`")
    uvicorn.run(create_catalogue(folder, keys), host=host, port=port, log_level="warning")


@catalogue.command("trust", epilog="Example: HUB_CATALOGUE=https://plugins.example.com hub catalogue trust --fingerprint 3f5a…")
@click.option("--fingerprint", required=True, help="SHA-256 of the first root, as its owner told it.")
def trust(fingerprint: str) -> None:
    """Begin to trust the catalogue that HUB_CATALOGUE names; once per hub."""
    from hub.cli.market import catalogue_here

    found = catalogue_here()
    told(lambda: found.trust(fingerprint))
    click.echo(f"{found.url} is trusted")


def described(record: dict[str, Any], against: list[str]) -> str:
    """A record for people: what matters first."""
    contract = record["contract"]
    lines = [f"{record['connector']} {record['version']} by {record['publisher']}: {record['summary']}",
             f"tier         {record['tier'] or 'none'}", f"maintainers  {', '.join(record['maintainers']) or 'nobody named'}",
             f"hosts        {', '.join(contract['hosts']) or 'the retailer names it (self-hosted)'}",
             f"credentials  {', '.join(contract['credentials']) or 'none'}",
             f"reads        {', '.join(contract['reads']) or 'nothing'}"]  # fmt: skip
    lines += [f"writes       {name}: {level}" for name, level in contract["writes"].items()] or ["writes       nothing"]
    lines += [f"waived       {rule}: {reason}" for rule, reason in record["waivers"].items()]
    lines += [f"failed       {item[0]}: {'; '.join(item[1])}" for item in record["failed"]]
    if record["since"]:
        lines.append(f"since {record['since']}: a {record['bump']} version, {record['needed']} or later")
        lines += [f"  {item['severity']:4} {item['rule']}: {item['place']}" for item in record["changes"]] or [
            "  nothing differs"
        ]
    lines += [f"AGAINST IT   {line}" for line in against]
    return "\n".join(lines)


def _assessed(folder: Path, connector: str, version: str) -> dict[str, Any]:
    from hub.bootstrap import isolation_of
    from hub.marketplace.repository import Repository
    from hub.marketplace.review import assess
    from hub.settings import from_environment

    repository, settings = Repository(folder), from_environment()
    submission, wheel = told(lambda: repository.submitted(connector, version))
    fences = isolation_of(settings).guests.limits.fences
    with TemporaryDirectory() as home:
        return assess(wheel, submission["publisher"], repository.records(), Path(home), fences)


def _decide(folder: Path, keys: Path, connector: str, version: str, verdict: str, key_file: Path, by: str, reason: str) -> None:
    from hub.marketplace.keys import read_key
    from hub.marketplace.repository import Repository
    from hub.marketplace.review import decided

    record = _assessed(folder, connector, version)
    told(lambda: Repository(folder, keys).decide(decided(record, verdict, reason, by, datetime.now(UTC)), read_key(key_file)))
    click.echo(f"{connector} {version} is {verdict}{' (' + record['tier'] + ')' if verdict == 'listed' else ''}")


def _mark(folder: Path, keys: Path, connector: str, version: str, state: str, key_file: Path, by: str, reason: str) -> None:
    from hub.marketplace.keys import read_key
    from hub.marketplace.repository import Repository

    told(lambda: Repository(folder, keys).mark(connector, version, state, reason, by, read_key(key_file)))
    click.echo(f"{connector} {version} is {state}")


def submission_body(publisher_name: str, metadata: bytes, wheel: Any) -> bytes:
    """What is posted to a catalogue that is served."""
    body = {"publisher": publisher_name, "filename": wheel.filename, "metadata": base64.b64encode(metadata).decode(),
            "wheel": base64.b64encode(wheel.content).decode()}  # fmt: skip
    return json.dumps(body).encode()
