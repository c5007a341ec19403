"""`hub correct`, and corrections as text."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from hub.cli.client import Api, api_options, fail, read_json, show


@click.command(epilog="Example: hub correct 0192f4e2-7c1a-7b3e-9d55-3f1c2ab40001 sale.json --reason 'SKU mistyped at the till'")
@click.argument("delivery_id")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--reason", required=True, help="Why; kept with the correction and in the audit record.")
@api_options
def correct(delivery_id: str, file: Path, reason: str, url: str, key: str, as_json: bool) -> None:
    """Correct a dead letter's document and try it again; FILE has the whole document.

    The message's other open deliveries take the corrected document, too; what was applied stays as it is.
    """
    if not reason.strip():
        fail(2, "--reason is empty; say why the document is corrected")
    body = {"document": read_json(file), "reason": reason}
    result = Api(url, key).call("POST", f"/v1/dead-letters/{delivery_id}/correct", body)

    def text(delivery: Any) -> str:
        return "\n".join([f"{delivery['id']} is {delivery['state']} again", *lines(delivery["corrections"][-1:])])

    show(result, as_json, text)


def lines(corrections: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Each correction with all its changes."""
    for item in corrections:
        of = item["type"] or "raw input"
        yield f"correction {item['number']} of {of}, {item['at'][:19]} by {item['actor']}, reason: {item['reason']}"
        for change in item["changes"]:
            before, after = (_value(change, name) for name in ("before", "after"))
            yield f"    {change['pointer'] or '/'}  {before} → {after}"


def _value(change: Mapping[str, Any], name: str) -> str:
    return json.dumps(change[name], ensure_ascii=False) if name in change else "(nothing)"
