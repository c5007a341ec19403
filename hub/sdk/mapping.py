"""Field maps: JMESPath expressions, pure and bounded, with the few functions that retail data needs.

A template is JSON whose strings that begin with ``=`` are expressions; everything else is literal. What they may call beyond
JMESPath's own functions stands in `hub.sdk.functions`.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from hub.sdk.errors import UNREADABLE, UntranslatableError
from hub.sdk.expressions import Evaluate, function
from hub.sdk.functions import Functions

#: An expression longer than this is a program, not a map.
MAX_EXPRESSION = 2000


_OPTIONS = jmespath.Options(custom_functions=Functions())


@lru_cache(maxsize=4096)
def compiled(expression: str) -> Any:
    """The compiled expression; raises ValueError that says what is wrong with it."""
    if len(expression) > MAX_EXPRESSION:
        raise ValueError(f"expression has {len(expression)} characters; at most {MAX_EXPRESSION}")
    try:
        return jmespath.compile(expression)
    except JMESPathError as error:
        raise ValueError(f"{expression!r} is not JMESPath: {str(error).splitlines()[0]}") from None


@lru_cache(maxsize=4096)
def _function(expression: str) -> Evaluate:
    return function(compiled(expression).parsed, _OPTIONS)


def evaluate(expression: str, data: Any) -> Any:
    """The value of ``expression`` in ``data``; raises UntranslatableError when it cannot be computed."""
    try:
        return _function(expression)(data)
    except (JMESPathError, *UNREADABLE) as error:
        raise UntranslatableError(
            f"map {expression!r}: {(str(error) or type(error).__name__).splitlines()[0]}",
            code="map_failed",
            remedy="correct the map, then replay",
        ) from None


def linked_id(document: Mapping[str, Any]) -> str:
    """The target's own id of the record that a document to write is about, as the hub knows it; '' if it does not.

    It was matched, imported, or written by us before: what it names may be gone by now.
    """
    return str(document.get("extensions", {}).get("link", {}).get("id", ""))


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
