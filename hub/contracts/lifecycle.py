"""How long an operation works: `deprecated`, `x-deprecated-at` and `x-sunset` in the contract, headers on the wire, a calendar.

Headers: ``Deprecation: @unix`` (RFC 9745) and ``Sunset: HTTP-date`` (RFC 8594), on every answer of the operation, errors too.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import Any

from hub.contracts.document import METHODS


@dataclass(frozen=True)
class Ending:
    """A deprecated operation. ``successor``: the path that takes its place (``x-successor``), if one does."""

    method: str
    path: str
    deprecated_at: date
    sunset: date
    successor: str

    @property
    def pattern(self) -> "re.Pattern[str]":
        """Matches the paths that callers write."""
        return re.compile("[^/]+".join(re.escape(part) for part in re.split(r"\{[^}]*\}", self.path)))

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer carries, as ASGI writes headers."""
        since, until = _start(self.deprecated_at), _start(self.sunset)
        found = [("deprecation", f"@{int(since.timestamp())}"), ("sunset", format_datetime(until, usegmt=True))]
        if self.successor:
            found.append(("link", f'<{self.successor}>; rel="successor-version"'))
        return [(name.encode(), value.encode()) for name, value in found]


def _start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def endings(openapi: Mapping[str, Any]) -> list[Ending]:
    """The deprecated operations of a document that say until when they work, soonest first."""
    found = []
    for path, item in openapi["paths"].items():
        for method in METHODS:
            operation = item.get(method)
            if isinstance(operation, Mapping) and operation.get("deprecated") and "x-sunset" in operation:
                sunset = date.fromisoformat(str(operation["x-sunset"]))
                since = date.fromisoformat(str(operation.get("x-deprecated-at", sunset)))
                found.append(Ending(method.upper(), path, min(since, sunset), sunset, str(operation.get("x-successor", ""))))
    return sorted(found, key=lambda ending: (ending.sunset, ending.path, ending.method))


def icalendar(found: list[Ending]) -> str:
    """The sunsets as an iCalendar (RFC 5545) that a team can subscribe to."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Crossdock//contracts//EN"]
    for ending in found:
        name = f"{ending.method} {ending.path}"
        lines += [
            "BEGIN:VEVENT",
            f"UID:{ending.method}{ending.path}@crossdock".replace("{", "").replace("}", ""),
            f"DTSTAMP:{_start(ending.deprecated_at):%Y%m%dT%H%M%SZ}",
            f"DTSTART;VALUE=DATE:{ending.sunset:%Y%m%d}",
            f"SUMMARY:{name} ends" + (f"; use {ending.successor}" if ending.successor else ""),
            "END:VEVENT",
        ]
    return "\r\n".join([*(line for raw in lines for line in _folded(raw)), "END:VCALENDAR", ""])


def _folded(line: str) -> list[str]:
    """At most 75 octets a line; what goes on begins with a space."""
    parts = [line[:74]]
    rest = line[74:]
    while rest:
        parts.append(" " + rest[:73])
        rest = rest[73:]
    return parts
