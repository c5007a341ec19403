"""XML as the data it stands for, for error rules and maps: bounded, without entities and document types."""

from typing import Any
from xml.etree import ElementTree

#: Deeper than this is no vendor's answer.
_DEPTH = 50


def parse_xml(content: bytes) -> Any:
    """``{root: …}``: an element is its text, or a dict of its children, repeated ones as a list, attributes as ``@name``.

    Namespaces are left out of names; text beside children or attributes is ``#text``. Raises ValueError for what is no XML, or
    has a document type (entities are how XML attacks).
    """
    parser = ElementTree.XMLParser(target=_Builder())  # noqa: S314 - without a document type there are no entities
    try:
        parser.feed(content)
        root = parser.close()
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"not XML: {error}") from None
    return {_name(root.tag): _value(root, _DEPTH)}


class _Builder(ElementTree.TreeBuilder):
    def doctype(self, *_: Any) -> None:
        """Entities are declared in it."""
        raise ValueError("XML with a document type is not read")


def _value(element: ElementTree.Element, depth: int) -> Any:
    if not depth:
        raise ValueError(f"XML deeper than {_DEPTH} levels")
    found: dict[str, Any] = {f"@{_name(name)}": value for name, value in element.attrib.items()}
    for child in element:
        name, value = _name(child.tag), _value(child, depth - 1)
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    text = (element.text or "").strip()
    if not found:
        return text or None
    return {**found, "#text": text} if text else found


def _name(tag: str) -> str:
    return tag.rpartition("}")[2]
