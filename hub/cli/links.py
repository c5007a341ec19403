"""`hub links …`: who is who among the systems' records, said before anything is written, decided, merged, split."""

import json
from pathlib import Path
from typing import Any

import click

from hub.cli.client import Api, api_options, fail, show

_REASON = click.option("--reason", default="", help="Kept in the audit record and the history.")
_SYSTEM = click.option("--system", default="", help="The connection whose key it is; default: anybody's.")
_ENTITY = click.argument("entity", type=click.Choice(["customer", "product", "location", "supplier"]))


@click.group()
def links() -> None:
    """Match systems' records: customers, products, locations."""


@links.command("plan", epilog="Example: hub links plan customer shop --verdict review")
@_ENTITY
@click.argument("system")
@click.option("--verdict", type=click.Choice(["link", "review", "new", "create"]), help="Only these.")
@click.option("--limit", default=50, show_default=True)
@api_options
def plan(entity: str, system: str, verdict: str | None, limit: int, url: str, key: str, as_json: bool) -> None:
    """Say what linking a system's records with the leading one's would do; exit code 2 if it would link or ask."""
    result = Api(url, key).call("GET", f"/v1/links/{entity}/plan", query={"system": system, "verdict": verdict, "limit": limit})

    def text(found: Any) -> str:
        counts = found["counts"]
        lines = [
            f"{entity} of {system} by {found['leads']}: linked {counts['linked']}, link {counts['link']}, review "
            f"{counts['review']}, new {counts['new']} (only in {system}), create {counts['create']} (not in {system})"
        ]
        for item in found["items"]:
            other = item["canonical"] or ", ".join(item["candidates"])
            how = f"{item['rule']} {item['score']:.2f}" if item["rule"] else ""
            lines.append(f"  {item['verdict']:7} {item['key'] or '-':20} {other or '-':30} {how:18} {item['name'][:40]}")
        return "\n".join([*lines, f"digest {found['digest']}"])

    show(result, as_json, text)
    raise SystemExit(2 if result["counts"]["link"] or result["counts"]["review"] else 0)


@links.command(
    "apply", epilog="Example: hub links apply customer shop --digest 9f86d08… --decide 1000001=C-17 --decide 1000002="
)
@_ENTITY
@click.argument("system")
@click.option("--digest", required=True, help="Of the plan that was looked at.")
@click.option("--decide", multiple=True, metavar="KEY=CANONICAL", help="For a review; nothing after =: it is one of its own.")
@click.option("--decisions", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The same as a JSON object.")
@_REASON
@api_options
def apply(
    entity: str, system: str, digest: str, decide: tuple[str, ...], decisions: Path | None, reason: str, url: str, key: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Remember what the plan found, and what you decided."""
    chosen: dict[str, str] = json.loads(decisions.read_text("utf-8")) if decisions else {}
    for item in decide:
        name, equals, target = item.partition("=")
        if not equals:
            fail(2, f"--decide {item}: KEY=CANONICAL, or KEY= for one of its own")
        chosen[name] = target
    body = {"system": system, "digest": digest, "decisions": chosen, "reason": reason}
    result = Api(url, key).call("POST", f"/v1/links/{entity}", body)
    show(result, as_json, lambda r: f"{r['links']} linked, {r['decided']} by decision")


@links.command("import", epilog="Example: hub links import customer old-links.json --reason 'from the former integration'")
@_ENTITY
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_REASON
@api_options
def import_(entity: str, file: Path, reason: str, url: str, key: str, as_json: bool) -> None:
    """Take over links from another integration: a JSON list of {connection_id, key, canonical}, a thousand at a time."""
    rows, new = json.loads(file.read_text("utf-8")), 0
    for start in range(0, len(rows), 1000):
        body = {"links": rows[start : start + 1000], "reason": reason}
        new += Api(url, key).call("POST", f"/v1/links/{entity}/import", body)["links"]
        click.echo(f"{min(start + 1000, len(rows))} of {len(rows)}", err=True)
    show({"links": new, "given": len(rows)}, as_json, lambda r: f"{r['links']} of {r['given']} are new")


@links.command("merge", epilog="Example: hub links merge product SKU-0001-OLD SKU-0001 --reason 'withdrawn'")
@_ENTITY
@click.argument("key_", metavar="KEY")
@click.argument("canonical")
@_SYSTEM
@_REASON
@api_options
def merge(entity: str, key_: str, canonical: str, system: str, reason: str, url: str, key: str, as_json: bool) -> None:
    """Let KEY be CANONICAL from now on: a double, or an SKU that another one has taken the place of."""
    body = {"key": key_, "canonical": canonical, "system": system, "reason": reason}
    show(Api(url, key).call("POST", f"/v1/links/{entity}/merge", body), as_json, _history)


@links.command("split", epilog="Example: hub links split product SKU-0001-OLD --reason 'it was another one'")
@_ENTITY
@click.argument("key_", metavar="KEY")
@_SYSTEM
@_REASON
@api_options
def split(entity: str, key_: str, system: str, reason: str, url: str, key: str, as_json: bool) -> None:
    """Let KEY be itself again."""
    body = {"key": key_, "system": system, "reason": reason}
    show(Api(url, key).call("POST", f"/v1/links/{entity}/split", body), as_json, _history)


@links.command("history", epilog="Example: hub links history product SKU-0001")
@_ENTITY
@click.argument("key_", metavar="KEY")
@api_options
def history(entity: str, key_: str, url: str, key: str, as_json: bool) -> None:
    """Whom KEY was linked with, since when, by whom and why; newest first."""
    show(Api(url, key).call("GET", f"/v1/links/{entity}/aliases", query={"key": key_, "limit": 200}), as_json, _history)


def _history(page: Any) -> str:
    lines = [
        f"{item['since'][:19]} {('until ' + item['ended_at'][:19]) if item['ended_at'] else 'until now':25} {item['key']} "
        f"{('of ' + item['connection_id'] + ' ') if item['connection_id'] else ''}is {item['canonical']}  {item['rule']}, "
        f"{item['actor']} {item['reason']}"
        for item in page["items"]
    ]
    return "\n".join(lines) or "nobody else"
