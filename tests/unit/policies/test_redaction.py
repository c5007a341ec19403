"""Redaction masks secrets and personal data, and nothing else."""

from canonical.examples import EXAMPLES
from hub.policies import redaction


def test_secret_headers_are_masked_by_name() -> None:
    masked = redaction.headers(
        {"Authorization": "Bearer x", "X-Square-HmacSha256-Signature": "abc", "Content-Type": "text/plain"}
    )

    assert masked == {"Authorization": "***", "X-Square-HmacSha256-Signature": "***", "Content-Type": "text/plain"}


def test_credentials_in_text_are_masked_and_identifiers_are_not() -> None:
    text = redaction.text("Bearer EAAAabcdef123456 failed for s3cr3t, GTIN 4006381333931", ["s3cr3t"])

    assert "EAAA" not in text
    assert "s3cr3t" not in text
    assert "4006381333931" in text


def test_personal_fields_are_masked_and_the_document_is_left_alone() -> None:
    sale = EXAMPLES["sale.completed.v1"] | {"customer": {"id": "C-1", "name": "Ada", "email": "ada@example.org"}}

    masked = redaction.document("sale.completed.v1", sale)

    assert masked["customer"] == {"id": "C-1", "name": "***", "email": "***"}
    assert sale["customer"]["name"] == "Ada"
    assert masked["total"] == sale["total"]
