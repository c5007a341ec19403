"""JMESPath expressions as Python functions: the library parses them and has the functions, only the walk is ours.

Maps run for every message, and the library's interpreter looks at each node anew. What is not listed here is left to it; a
property test holds both to the same values.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jmespath.functions import Functions
from jmespath.visitor import Options, TreeInterpreter

Evaluate = Callable[[Any], Any]


def function(parsed: Mapping[str, Any], options: Options) -> Evaluate:
    """What ``ParsedResult.search`` does, of a ``parsed`` expression."""
    return _Writer(TreeInterpreter(options), options.custom_functions or Functions()).written(parsed)


def _is_false(value: Any) -> bool:
    """JMESPath's: 0 is none of them."""
    return value is None or value is False or value == "" or value == [] or value == {}


class _Writer:
    def __init__(self, interpreter: TreeInterpreter, functions: Functions) -> None:
        self._interpreter, self._functions = interpreter, functions

    def written(self, node: Any) -> Evaluate:
        write = getattr(self, f"_{node['type']}", None)
        if write is None:
            return lambda value: self._interpreter.visit(node, value)
        made: Evaluate = write(node)
        return made

    def _children(self, node: Mapping[str, Any]) -> list[Evaluate]:
        return [self.written(child) for child in node["children"]]

    def _subexpression(self, node: Mapping[str, Any]) -> Evaluate:
        steps = self._children(node)
        if len(steps) == 2:
            first, second = steps
            return lambda value: second(first(value))

        def chain(value: Any) -> Any:
            for step in steps:
                value = step(value)
            return value

        return chain

    _index_expression = _pipe = _subexpression

    def _field(self, node: Mapping[str, Any]) -> Evaluate:
        name = node["value"]

        def field(value: Any) -> Any:
            try:
                return value.get(name)
            except AttributeError:
                return None

        return field

    def _comparator(self, node: Any) -> Evaluate:
        left, right = self._children(node)
        compare = TreeInterpreter.COMPARATOR_FUNC[node["value"]]
        if node["value"] not in ("eq", "ne"):  # what is comparable is the library's to say
            return lambda value: self._interpreter.visit(node, value)
        return lambda value: compare(left(value), right(value))

    def _and_expression(self, node: Mapping[str, Any]) -> Evaluate:
        left, right = self._children(node)
        return lambda value: found if _is_false(found := left(value)) else right(value)

    def _or_expression(self, node: Mapping[str, Any]) -> Evaluate:
        left, right = self._children(node)
        return lambda value: right(value) if _is_false(found := left(value)) else found

    def _identity(self, node: Mapping[str, Any]) -> Evaluate:
        return lambda value: value

    _current = _identity

    def _literal(self, node: Mapping[str, Any]) -> Evaluate:
        literal = node["value"]
        return lambda value: literal

    def _key_val_pair(self, node: Mapping[str, Any]) -> Evaluate:
        return self.written(node["children"][0])

    def _flatten(self, node: Mapping[str, Any]) -> Evaluate:
        (of,) = self._children(node)

        def flatten(value: Any) -> Any:
            base = of(value)
            if not isinstance(base, list):
                return None
            merged: list[Any] = []
            for item in base:
                if isinstance(item, list):
                    merged.extend(item)
                else:
                    merged.append(item)
            return merged

        return flatten

    def _projection(self, node: Mapping[str, Any]) -> Evaluate:
        of, each = self._children(node)

        def projection(value: Any) -> Any:
            base = of(value)
            if not isinstance(base, list):
                return None
            return [found for item in base if (found := each(item)) is not None]

        return projection

    def _multi_select_dict(self, node: Mapping[str, Any]) -> Evaluate:
        pairs = [(child["value"], self.written(child)) for child in node["children"]]

        def select(value: Any) -> Any:
            return None if value is None else {name: each(value) for name, each in pairs}

        return select

    def _multi_select_list(self, node: Mapping[str, Any]) -> Evaluate:
        items = self._children(node)
        return lambda value: None if value is None else [each(value) for each in items]

    def _function_expression(self, node: Mapping[str, Any]) -> Evaluate:
        name, arguments, functions = node["value"], self._children(node), self._functions
        return lambda value: functions.call_function(name, [each(value) for each in arguments])
