"""`hub canonical …`: the language on the command line, without a hub."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from canonical.examples import EXAMPLES
from canonical.registry import TYPES, violations
from canonical.versions import cast
from hub.cli.client import example_event, fail, read_json, show


@click.group()
def canonical() -> None:
    """The canonical language: types, examples, validation, casting between majors."""


def _known(type_name: str) -> str:
    if type_name not in TYPES:
        fail(2, f"unknown type {type_name!r}; one of {', '.join(sorted(TYPES))}")
    return type_name


@canonical.command("types", epilog="Example: hub canonical types")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def types(as_json: bool) -> None:
    """List the types with what each is."""
    found = [{"type": name, "summary": (definition.schema_class.__doc__ or "").strip().split("\n")[0]}
             for name, definition in TYPES.items()]  # fmt: skip
    show(found, as_json, lambda rows: "\n".join(f"{row['type']:26} {row['summary']}" for row in rows))


@canonical.command("example", epilog="Example: hub canonical example sale.completed.v1 > sale.json")
@click.argument("type_name", metavar="TYPE")
@click.option("--envelope", is_flag=True, help="In its CloudEvents envelope, as `hub send` and the API take it.")
def example(type_name: str, envelope: bool) -> None:
    """Print a valid document of a type."""
    document = example_event(_known(type_name)) if envelope else EXAMPLES[_known(type_name)]
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


@canonical.command("validate", epilog="Example: hub canonical validate --type sale.completed.v1 sale.json")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--type", "type_name", help="Type of the document; an envelope says it itself.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def validate(files: tuple[Path, ...], type_name: str | None, as_json: bool) -> None:
    """Check documents or envelopes against their type and its rules; `-` reads standard input. Exit code 1 if one is wrong."""
    found = []
    for file in files:
        name, document = _read(file, type_name)
        found.append({"file": str(file), "type": name, "violations": [item.as_dict() for item in violations(name, document)]})

    def text(results: Any) -> str:
        lines = []
        for result in results:
            lines += [f"{result['file']}: {item['field'] or '/'}: {item['message']} ({item['code']})"
                      for item in result["violations"]]  # fmt: skip
            if not result["violations"]:
                lines.append(f"{result['file']}: a valid {result['type']}")
        return "\n".join(lines)

    show(found, as_json, text)
    raise SystemExit(1 if any(result["violations"] for result in found) else 0)


@canonical.command("cast", epilog="Example: hub canonical cast --type product.v1 --to 2 product.json")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--type", "type_name", help="Type of the document; an envelope says it itself.")
@click.option("--to", "major", type=int, required=True, help="The major to cast it to.")
def cast_command(file: Path, type_name: str | None, major: int) -> None:
    """Print a document in another major of its type. Exit code 1 if it is not valid, 4 if no caster leads there."""
    name, document = _read(file, type_name)
    if wrong := violations(name, document):
        fail(1, f"not a valid {name}: {wrong[0].field or '/'}: {wrong[0].message}")
    found = cast(name, document, major)
    if found is None:
        fail(4, f"no caster leads from {name} to major {major}")
    click.echo(json.dumps(found[1], indent=2, ensure_ascii=False))


def _read(file: Path, type_name: str | None) -> tuple[str, Any]:
    """(type, document) of a file that holds a document or an envelope."""
    if str(file) == "-":
        try:
            content = json.load(sys.stdin)
        except ValueError as error:
            fail(2, f"standard input: not JSON: {error}")
    else:
        content = read_json(file)
    if isinstance(content, dict) and "specversion" in content and "data" in content:
        return _known(type_name or str(content.get("type"))), content["data"]
    if type_name is None:
        fail(2, f"{file} is no envelope: say its type with --type")
    return _known(type_name), content
