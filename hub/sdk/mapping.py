"""Field maps: JMESPath expressions, pure and bounded, with the few functions that retail data needs.

A template is JSON whose strings that begin with ``=`` are expressions; everything else is literal.
Functions beyond JMESPath's own: `money(minor, currency)`, `decimal(x)`, `base64(s)`, `text(x)`, `gtin(x)` (null unless
it is one: shops type anything into a bar code field), `number(x)` (a JSON number of exactly these digits).
"""

import base64
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import jmespath
from jmespath import functions
from jmespath.exceptions import JMESPathError

from canonical.identifiers import valid_key
from canonical.money import from_minor
from hub.sdk.errors import UntranslatableError
from hub.sdk.numbers import Number, number

#: An expression longer than this is a program, not a map.
MAX_EXPRESSION = 2000


class _Functions(functions.Functions):
    @functions.signature({"types": []}, {"types": ["string"]})
    def _func_money(self, minor: Any, currency: str) -> dict[str, str] | None:
        return None if minor is None else from_minor(int(minor), currency)

    @functions.signature({"types": []})
    def _func_decimal(self, value: Any) -> str:
        return format(Decimal(str(value)), "f")

    @functions.signature({"types": ["string"]})
    def _func_base64(self, value: str) -> str:
        return base64.b64encode(value.encode()).decode()

    @functions.signature({"types": []})
    def _func_text(self, value: Any) -> str | None:
        return None if value is None else str(value)

    @functions.signature({"types": []})
    def _func_number(self, value: Any) -> Number | None:
        return None if value is None else number(value)

    @functions.signature({"types": []})
    def _func_gtin(self, value: Any) -> str | None:
        text = str(value or "").strip()
        return text if len(text) <= 14 and valid_key(text) else None


_OPTIONS = jmespath.Options(custom_functions=_Functions())


@lru_cache(maxsize=4096)
def compiled(expression: str) -> Any:
    """The compiled expression; raises ValueError that says what is wrong with it."""
    if len(expression) > MAX_EXPRESSION:
        raise ValueError(f"expression has {len(expression)} characters; at most {MAX_EXPRESSION}")
    try:
        return jmespath.compile(expression)
    except JMESPathError as error:
        raise ValueError(f"{expression!r} is not JMESPath: {str(error).splitlines()[0]}") from None


def evaluate(expression: str, data: Any) -> Any:
    """The value of ``expression`` in ``data``; raises UntranslatableError when it cannot be computed."""
    try:
        return compiled(expression).search(data, options=_OPTIONS)
    except (JMESPathError, ValueError, ArithmeticError) as error:
        raise UntranslatableError(
            f"map {expression!r}: {str(error).splitlines()[0]}",
            code="map_failed",
            remedy="correct the map, then replay",
        ) from None


def render(template: Any, data: Any) -> Any:
    """``template`` with its ``=`` expressions evaluated; keys whose expression yields null are left out."""
    if isinstance(template, str):
        return evaluate(template[1:].strip(), data) if template.startswith("=") else template
    if isinstance(template, Mapping):
        rendered = {key: render(value, data) for key, value in template.items()}
        return {key: value for key, value in rendered.items() if value is not None}
    if isinstance(template, list):
        return [render(item, data) for item in template]
    return template


def check_template(template: Any, pointer: str = "") -> list[tuple[str, str]]:
    """(pointer, problem) of every expression in ``template`` that does not compile."""
    if isinstance(template, str) and template.startswith("="):
        try:
            compiled(template[1:].strip())
        except ValueError as error:
            return [(pointer, str(error))]
        return []
    items: Any = ()
    if isinstance(template, Mapping):
        items = template.items()
    elif isinstance(template, list):
        items = enumerate(template)
    return [problem for key, value in items for problem in check_template(value, f"{pointer}/{key}")]
