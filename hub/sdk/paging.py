"""Paging of declared reads: where a list ends by the vendor's own word, what the next page is asked by, how far it has come.

Pure functions. A list that cannot be found in an answer is an unreadable answer, never an empty list.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

from hub.sdk.answers import said_at
from hub.sdk.errors import UNREADABLE, ConnectorError, Unreadable, UntranslatableError
from hub.sdk.mapping import compiled, evaluate
from hub.sdk.steps import Request, Response

JSON = Mapping[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: An answer without a date sets no limit to the times in it.
_NO_LIMIT = datetime.max.replace(tzinfo=UTC) - timedelta(days=2)
#: A `Date` header has whole seconds.
_HEADER_SECONDS = timedelta(seconds=1)


def unreadable(message: str) -> ConnectorError:
    """Make the error of an answer that does not say what it must say."""
    return ConnectorError(message, code="unreadable_answer", remedy="look at the answer; the read goes on where it stopped")


def listed(response: Response, expression: str, left_out_when_empty: Sequence[str] | None = None) -> list[Any]:
    """Return the list that ``expression`` names in an answer; raise ConnectorError (`unreadable_answer`) if there is none.

    ``left_out_when_empty``: the vendor leaves the list out when it is empty, and such an answer holds no other keys than
    these. None: the vendor always gives the list.
    """
    body = response.data()
    found = evaluate(expression, body)
    if isinstance(found, list):
        return found
    if response.is_xml:  # an element that comes once is no list, and one that does not come leaves its parent empty
        if isinstance(found, dict | str):
            return [found]
        keys = _path(expression)
        if keys and _has(body, keys[:-1]):
            return []
    if found is None and left_out_when_empty is not None and isinstance(body, dict):
        held = {key for key, value in body.items() if value is not None}
        if held <= set(left_out_when_empty):
            return []
    kind = "nothing" if found is None else type(found).__name__
    start = response.content[:200].decode("utf-8", "replace")
    raise unreadable(f"no list at {expression!r} in the answer ({kind}), so it is not known what is there: {start}")


def next_page(declared: JSON, response: Response, records: Sequence[Any], page: Any, path: str) -> tuple[Any, bool]:
    """Return (what the next page is asked by or None, whether only an empty page after this one can end the list).

    Raises ConnectorError (`unreadable_answer`) for an answer that says that there is more and not where. A page that is not
    full ends nothing: some systems give fewer records than they are asked for.
    """
    paging = declared["paging"]
    body = response.data()
    if paging["total"]:
        return _by_total(paging, body, records, page), False
    if paging["more"] and not _says_more(paging["more"], body):
        return None, False
    if paging["type"] in ("offset", "page", "last"):
        return _by_count(declared, records, page), not paging["more"] and len(records) < paging["limit"]
    if paging["type"] == "none":
        return None, False
    told = _next_link(response.headers.get("link", "")) if paging["type"] == "link" else evaluate(paging["token"], body)
    if told is None or told is False or told == "":
        if paging["more"]:
            raise unreadable(f"the answer says that there is more ({paging['more']}) and not what the next page is asked by")
        return None, False
    return (told if paging["type"] == "cursor" else _target(told, path)), False


def _by_total(paging: JSON, body: Any, records: Sequence[Any], page: Any) -> int | None:
    """The offset of the next page, by how many records the answer says there are."""
    total, count = evaluate(paging["total"], body), (page or 0) + len(records)
    if isinstance(total, bool) or not isinstance(total, int):
        raise unreadable(f"the answer has no number at {paging['total']!r}, so it is not known how many records there are")
    if count >= total:
        return None
    if not records or (paging["more"] and not _says_more(paging["more"], body)):
        raise unreadable(f"the list ends after {count} records, and the answer says that there are {total}")
    return count


def _by_count(declared: JSON, records: Sequence[Any], page: Any) -> Any:
    paging = declared["paging"]
    if paging["type"] == "page":
        return (page or 1) + 1 if records or paging["more"] else None
    if not records:
        if paging["more"]:
            raise unreadable(f"the answer lists nothing and says that there is more ({paging['more']})")
        return None
    if paging["type"] == "offset":
        return (page or 0) + len(records)
    for record in reversed(records):
        try:
            if ref := evaluate(declared["ref"], record):
                return ref
        except UntranslatableError:
            continue
    raise unreadable(f"no record of the page has an id ({declared['ref']}), by which the next page is asked")


def _says_more(expression: str, body: Any) -> bool:
    """Whether the answer says that there is more; an answer without the declared key says nothing, and is unreadable."""
    keys = _path(expression)
    if keys and not _has(body, keys):
        raise unreadable(f"the answer has no {expression!r}, so it is not known whether there is more")
    return bool(evaluate(expression, body))


def asked(request: Request, page: Any) -> Request:
    """Return the request of a page that a URL of the vendor's names (see `_target`)."""
    if isinstance(page, Mapping):  # the parameters alone, as cursors of former versions have them
        return replace(request, params=page)
    url = urlsplit(page)
    params: dict[str, Any] = {}
    for key, value in parse_qsl(url.query, keep_blank_values=True):
        params.setdefault(key, []).append(value)
    return replace(request, path=url.path, params={key: v[0] if len(v) == 1 else v for key, v in params.items()})


def _target(told: Any, path: str) -> str:
    """Path and query of the next page. The host is not taken over. The path is, from where it begins like the declared one:
    what is before that belongs to the connection's base URL.
    """
    if not isinstance(told, str):
        raise unreadable(f"the URL of the next page is no text: {str(told)[:100]}")
    try:
        url = urlsplit(urljoin(f"http://host{path}", told))
    except ValueError as error:
        raise unreadable(f"the URL of the next page cannot be read: {told[:100]!r} ({error})") from error
    segments, mine = url.path.split("/")[1:], path.split("/")[1:]
    if ".." in map(unquote, segments):
        raise unreadable(f"the URL of the next page leads out of its path: {told[:100]!r}")
    starts = [place for place, segment in enumerate(segments) if segment == mine[0]]
    if starts:
        best = max(starts, key=lambda place: (_alike(segments[place:], mine), -place))
        path = "/" + "/".join(segments[best:])
    elif not url.query:
        raise unreadable(f"the next page is elsewhere: {told[:100]!r} has no parameters and another path than {path}")
    return f"{path}?{url.query}"


def _alike(left: Sequence[str], right: Sequence[str]) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count


def _next_link(header: str) -> str | None:
    """The URL of rel="next" in a Link header (RFC 8288)."""
    for item in re.finditer(r"<([^>]*)>([^<]*)", header):
        if re.search(r';\s*rel\s*=\s*"?([^";]*\s)?next(\s[^";]*)?"?\s*(;|,|$)', item[2], re.IGNORECASE):
            return item[1]
    return None


def _path(expression: str) -> list[str] | None:
    """The keys of an expression that only names them (`data.pageInfo.hasNextPage`); None for any other."""
    node, keys = compiled(expression).parsed, []
    stack = [node]
    while stack:
        node = stack.pop()
        if node["type"] == "field":
            keys.append(node["value"])
        elif node["type"] == "subexpression":
            stack += reversed(node["children"])
        else:
            return None
    return keys


def _has(body: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(body, Mapping) or key not in body:
            return False
        body = body[key]
    return True


# -- how far a read has come --------------------------------------------------------------------------------------------


def values(expression: str, records: Iterable[Any]) -> list[Any]:
    """Evaluate ``expression`` in each record; a record in which it cannot be evaluated has none."""
    found = []
    for record in records:
        try:
            found.append(evaluate(expression, record))
        except UntranslatableError:
            continue
    return found


def furthest(found: Iterable[Any], before: Any, response: Response, start: Any = None) -> Any:
    """Return the largest of the incremental values ``found`` and of ``before``: numbers as numbers, times as times.

    A time after the answer's own is left out: a record that is dated in the future must not let the read pass by what
    changes until then. A value of another kind than ``before`` (text among times) is left out too, unless ``before`` is the
    declared ``start``, which says nothing about the kind.
    """
    limit = said_at(response, _NO_LIMIT) + _HEADER_SECONDS
    ranked = [(_rank(value), value) for value in found if value is not None and not isinstance(value, bool | Unreadable)]
    ranked = [item for item in ranked if item[0] is not None and not (item[0][0] == "time" and item[0][1] > limit)]
    kind = _kind(before)
    if before is None or (before == start and ranked and all(item[0][0] != kind for item in ranked)):
        kinds = [item[0][0] for item in ranked]
        kind = max(set(kinds), key=lambda name: (kinds.count(name), name), default=kind)
    same = [item for item in ranked if item[0][0] == kind]
    if _kind(before) == kind and before is not None:
        same.insert(0, (_rank(before), before))
    return max(same, key=lambda item: item[0][1])[1] if same else before


def _kind(value: Any) -> str:
    rank = _rank(value)
    return rank[0] if rank is not None else ""


def _rank(value: Any) -> Any:
    """(kind, what values of that kind are compared by); None for what is no bound."""
    if isinstance(value, int | float | Decimal):
        number = Decimal(value) if not isinstance(value, float) else Decimal(repr(value))
        return ("number", number) if number.is_finite() else None
    if not isinstance(value, str) or not value:
        return None
    if re.fullmatch(r"[+-]?[0-9]{1,100}", value):
        return ("number", Decimal(value))
    try:
        when = datetime.fromisoformat(value)
        return ("time", when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC))
    except UNREADABLE:
        return ("text", value)
