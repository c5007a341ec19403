"""YAML files that people write: read strictly, and remember where everything stood so that errors name the line.

Aliases are refused (a 342-byte alias bomb expands to gigabytes), duplicate keys too (the first would vanish silently).
"""

from dataclasses import dataclass
from typing import Any

import yaml

from hub.sdk.errors import ManifestError


@dataclass(frozen=True)
class Source:
    """Parsed YAML: plain ``data`` and the ``lines`` (1-based) of each JSON pointer in it."""

    name: str
    data: Any
    lines: dict[str, int]

    def at(self, pointer: str) -> str:
        """`file:line` of a pointer, or of its nearest parent that exists."""
        while pointer and pointer not in self.lines:
            pointer = pointer.rpartition("/")[0]
        return f"{self.name}:{self.lines.get(pointer, 1)}"

    def error(self, pointer: str, message: str) -> str:
        return f"{self.at(pointer)}: {pointer.lstrip('/').replace('/', '.') or 'document'}: {message}"


def read_yaml(text: str, name: str) -> Source:
    """Parse ``text``; raises ManifestError with `name:line: what: remedy`."""
    lines: dict[str, int] = {}
    try:
        for token in yaml.scan(text):
            if isinstance(token, yaml.AliasToken):
                raise ManifestError(f"{name}:{token.start_mark.line + 1}: YAML aliases are not allowed; write it out")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ManifestError(f"{name}:{line}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise ManifestError(f"{name}:1: not valid YAML: {' '.join(str(error).split())[:200]}") from None
    if node is None:
        raise ManifestError(f"{name}:1: the file is empty")
    return Source(name, _plain(node, "", lines, name), lines)


def _plain(node: yaml.Node, pointer: str, lines: dict[str, int], name: str) -> Any:
    lines[pointer] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            # YAML 1.1 reads the bare word `on` as true; our files use it as a key, so keys are taken as written.
            key = str(key_node.value)
            if key in result:
                raise ManifestError(f"{name}:{key_node.start_mark.line + 1}: {key!r} is given twice; keep one")
            result[key] = _plain(value_node, f"{pointer}/{key}", lines, name)
            lines[f"{pointer}/{key}"] = key_node.start_mark.line + 1
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, f"{pointer}/{index}", lines, name) for index, item in enumerate(node.value)]
    return yaml.SafeLoader("").construct_object(node)
