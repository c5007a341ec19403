"""`hub conflicts` and `hub entity`: what was said in vain, and what a person decides."""

import json
from typing import Any

import click

from hub.cli.client import Api, api_options, show


@click.command(epilog="Example: hub conflicts --state open")
@click.option("--state", type=click.Choice(["open", "settled", "resolved"]), help="Only these.")
@click.option("--subject", default=None, help="Of this entity, for example product/SKU-1.")
@click.option("--limit", default=50, show_default=True)
@api_options
def conflicts(state: str | None, subject: str | None, limit: int, url: str, key: str, as_json: bool) -> None:
    """List what systems said in vain about fields with owners; exit code 1 if a person has to decide one."""
    query = {"state": state, "subject": subject, "limit": limit}
    result = Api(url, key).call("GET", "/v1/conflicts", query=query)

    def text(page: Any) -> str:
        rows = [
            f"{item['id']}  {item['state']:8} {item['subject']} {item['field']}\n"
            f"    {item['origin']} wanted {_short(item['wanted'])}, kept {_short(item['kept'])}: {item['why']}"
            for item in page["items"]
        ]
        return "\n".join(rows) or "no conflicts"

    show(result, as_json, text)
    raise SystemExit(1 if any(item["state"] == "open" for item in result["items"]) else 0)


@click.command(epilog="Example: hub resolve 0192f4e2-7c1a-7b3e-9d55-3f1c2ab40001 --keep wanted --reason 'asked the shop'")
@click.argument("conflict_id")
@click.option("--keep", type=click.Choice(["kept", "wanted"]), required=True, help="Which of the two values counts.")
@click.option("--reason", default="", help="Kept in the audit record.")
@api_options
def resolve(conflict_id: str, keep: str, reason: str, url: str, key: str, as_json: bool) -> None:
    """Decide an open conflict; every system gets what counts."""
    body = {"keep": keep, "reason": reason}
    result = Api(url, key).call("POST", f"/v1/conflicts/{conflict_id}/resolve", body)
    show(result, as_json, lambda item: f"{item['subject']} {item['field']}: {_short(item[keep])} counts")


@click.command(epilog="Example: hub entity product/SKU-0001")
@click.argument("subject")
@api_options
def entity(subject: str, url: str, key: str, as_json: bool) -> None:
    """Show what counts of an entity, who said it, and which systems have something else."""
    found = Api(url, key).call("GET", "/v1/entities", query={"subject": subject})

    def text(item: Any) -> str:
        lines = [f"{item['subject']} {item['type']} version {item['version']} {item['stopped']}".rstrip()]
        for field, held in sorted(item["fields"].items()):
            others = [
                f"{name} has {_short(said[field])}" for name, said in sorted(item["systems"].items())
                if field in said and said[field] != held["value"]
            ]  # fmt: skip
            who = f"{held['origin'] or 'a person'} {held['at'][:19]}"
            lines.append(f"  {field:16} {_short(held['value']):40} {who}  {', '.join(others)}".rstrip())
        return "\n".join(lines)

    show(found, as_json, text)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


COMMANDS = (conflicts, resolve, entity)
