"""G4: what ends says so on every answer, with both headers, and in the calendar."""

import asyncio
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from support import Shop

from hub.cli import main
from hub.contracts.document import document
from hub.contracts.lifecycle import endings, icalendar
from hub.gateway.edge import Gateway

SUNSET = {"deprecated": True, "x-deprecated-at": "2026-12-01", "x-sunset": "2027-06-30", "x-successor": "/v2/messages/{id}"}


def _contract() -> Any:
    contract = orjson.loads(orjson.dumps(document()))
    contract["paths"]["/v1/messages/{id}"]["get"] |= SUNSET
    contract["paths"]["/v1/events"]["post"] |= SUNSET | {"x-successor": ""}
    return contract


def _call(gateway: Gateway, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
    """One request through the gateway; (status, headers)."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": b"",
             "headers": [(b"content-type", b"application/json")]}  # fmt: skip
    asyncio.run(gateway(scope, receive, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


async def _answers(scope: Any, receive: Any, send: Any) -> None:
    status = 200 if scope["path"].endswith("known") else 404
    await send({"type": "http.response.start", "status": status, "headers": [(b"x-api", b"yes")]})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "ends"),
    [
        ("GET", "/v1/messages/known", b"", 200, True),
        ("GET", "/v1/messages/gone", b"", 404, True),
        ("GET", "/v1/messages", b"", 404, False),
        ("GET", "/v1/messages/known/more", b"", 404, False),
        ("DELETE", "/v1/messages/known", b"", 200, False),
        ("POST", "/v1/events", b"{", 400, True),
    ],
)
def test_every_answer_of_a_deprecated_operation_says_until_when(
    tmp_path: Path, method: str, path: str, body: bytes, status: int, ends: bool
) -> None:
    shop = Shop(tmp_path)
    gateway = Gateway(shop.hub.ctx, _answers, _answers, _contract())

    answered, headers = _call(gateway, method, path, body)
    shop.close()

    assert answered == status
    assert ("deprecation" in headers) == ("sunset" in headers) == ends
    if ends:
        since = datetime.fromtimestamp(int(headers["deprecation"].removeprefix("@")), UTC)
        assert since == datetime(2026, 12, 1, tzinfo=UTC)
        assert parsedate_to_datetime(headers["sunset"]) == datetime(2027, 6, 30, tzinfo=UTC)
        assert (headers.get("link") == '</v2/messages/{id}>; rel="successor-version"') == path.startswith("/v1/messages")


def test_a_sunset_is_never_before_the_deprecation() -> None:
    contract = _contract()
    contract["paths"]["/v1/messages/{id}"]["get"] |= {"x-deprecated-at": "2028-01-01"}

    assert all(ending.deprecated_at <= ending.sunset for ending in endings(contract))


def test_the_calendar_lists_what_ends_soonest_first_and_as_icalendar(tmp_path: Path) -> None:
    contract = _contract()
    contract["paths"]["/v1/links"]["get"] |= SUNSET | {"x-sunset": "2027-06-01"}
    file = tmp_path / "contract.json"
    file.write_bytes(orjson.dumps(contract))

    done = CliRunner().invoke(main, ["contracts", "calendar", str(file)])
    assert done.output.splitlines() == [
        "2027-06-01  GET /v1/links → /v2/messages/{id}",
        "2027-06-30  POST /v1/events",
        "2027-06-30  GET /v1/messages/{id} → /v2/messages/{id}",
    ]
    text = icalendar(endings(contract))
    assert text.count("BEGIN:VEVENT") == 3
    assert "DTSTART;VALUE=DATE:20270601\r\n" in text
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    assert text.endswith("END:VCALENDAR\r\n")
    assert CliRunner().invoke(main, ["contracts", "calendar"]).output == "nothing is deprecated\n"
