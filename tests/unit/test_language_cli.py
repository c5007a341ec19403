"""`hub canonical …` as somebody at a shell meets it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from canonical.registry import TYPES
from hub.cli import main


def _hub(*arguments: str, given: str | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["canonical", *arguments], input=given)
    return done.exit_code, done.output


@pytest.mark.parametrize("name", sorted(TYPES))
def test_every_example_is_printed_and_valid_bare_and_in_its_envelope(name: str, tmp_path: Path) -> None:
    code, bare = _hub("example", name)
    assert code == 0
    assert _hub("validate", "--type", name, "-", given=bare) == (0, f"-: a valid {name}\n")

    file = tmp_path / "event.json"
    file.write_text(_hub("example", name, "--envelope")[1])
    assert _hub("validate", str(file)) == (0, f"{file}: a valid {name}\n")


def test_what_is_wrong_is_told_with_field_code_and_exit_code(tmp_path: Path) -> None:
    file = tmp_path / "sale.json"
    document = json.loads(_hub("example", "sale.completed.v1")[1])
    file.write_text(json.dumps(document | {"total": {"amount": "1.00", "currency": "USD"}}))

    code, said = _hub("validate", "--type", "sale.completed.v1", str(file))

    assert code == 1
    assert f"{file}: /total: lines + tip" in said
    assert "(total_mismatch)" in said
    code, said = _hub("validate", "--json", "--type", "sale.completed.v1", str(file))
    assert code == 1
    assert json.loads(said)[0]["violations"][0]["field"] == "/total"


@pytest.mark.parametrize(
    ("arguments", "given", "code", "said"),
    [
        (["example", "nothing.v1"], None, 2, "unknown type 'nothing.v1'; one of"),
        (["validate", "-"], "{}", 2, "say its type with --type"),
        (["validate", "-"], "nonsense", 2, "not JSON"),
        (["cast", "--type", "sale.completed.v1", "--to", "2", "-"], "{}", 1, "is required"),
        (["cast", "--type", "stock.counted.v1", "--to", "2", "-"], "EXAMPLE", 4, "no caster leads"),
    ],
)
def test_wrong_use_ends_with_one_clear_line(arguments: list[str], given: str | None, code: int, said: str) -> None:
    given = _hub("example", "stock.counted.v1")[1] if given == "EXAMPLE" else given
    done = CliRunner().invoke(main, ["canonical", *arguments], input=given)

    assert done.exit_code == code
    assert said in done.stderr


def test_a_document_is_cast_to_another_major_and_back() -> None:
    older = _hub("example", "product.v1")[1]

    code, newer = _hub("cast", "--type", "product.v1", "--to", "2", "-", given=older)

    assert code == 0
    assert json.loads(newer)["status"] == "active"
    assert json.loads(_hub("cast", "--type", "product.v2", "--to", "1", "-", given=newer)[1]) == json.loads(older)


def test_the_types_are_listed_with_what_they_are() -> None:
    code, said = _hub("types")

    assert code == 0
    assert all(name in said for name in TYPES)
