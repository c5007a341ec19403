"""XML answers: rules and maps see elements; what attacks by entities, depth or size of names is not read."""

from datetime import UTC, datetime

import pytest

from hub.sdk import RejectedByTargetError, Request, Response
from hub.sdk.answers import classify
from hub.sdk.errors import ConnectorError
from hub.sdk.manifest import parse_manifest
from hub.sdk.xml import parse_xml

FAULT = b"""<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>
<faultcode>s:Client</faultcode><faultstring>unknown item</faultstring></s:Fault></s:Body></s:Envelope>"""
MANIFEST = """
connector: soap
name: Soap
version: 1.0.0
kind: erp
summary: Answers in XML.
canonical: 1
self_hosted: true
errors:
  - {when: body.Envelope.Body.Fault, then: rejected, code: fault, message: body.Envelope.Body.Fault.faultstring, remedy: Look.}
"""


def test_elements_attributes_lists_and_texts() -> None:
    found = parse_xml(b'<r xmlns="urn:x"><i a="1">x</i><i>y</i><i/><one><two>z</two></one></r>')

    assert found == {"r": {"i": [{"@a": "1", "#text": "x"}, "y", None], "one": {"two": "z"}}}


@pytest.mark.parametrize(
    "content",
    [b"<a>", b"", b"{}", b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', '<!DOCTYPE a><a/>'.encode("utf-16"), b"<a>" * 60 + b"</a>" * 60, b'<?xml version="1.0" encoding="no"?><a/>'],
    ids=["half", "empty", "json", "entities", "utf-16", "deep", "encoding"],
)  # fmt: skip
def test_what_is_no_xml_or_attacks_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="XML"):
        parse_xml(content)


@pytest.mark.parametrize("status", [200, 500])
def test_a_fault_is_told_by_a_rule_whatever_its_status(status: int) -> None:
    manifest = parse_manifest(MANIFEST, "soap.yaml")
    answer = Response(status, {"content-type": "text/xml; charset=utf-8"}, FAULT)
    error = classify(manifest, Request("POST", "/x", content=b"<a/>"), answer, datetime.now(UTC))

    assert isinstance(error, RejectedByTargetError)
    assert (error.message, error.code) == ("unknown item", "fault")


def test_a_body_is_what_its_type_says() -> None:
    assert Response(200, {"content-type": "application/json"}, b'{"a": 1}').data() == {"a": 1}
    assert Response(200, {"content-type": "application/xml"}, b"<a>1</a>").data() == {"a": "1"}
    with pytest.raises(ConnectorError, match="not XML"):
        Response(200, {"content-type": "application/xml"}, b"oops").data()
