"""Causes: an error as a stable code, a sentence for people, and a remedy."""

import traceback

from canonical.errors import InvalidDocumentError
from hub.errors import HubError
from hub.policies import redaction
from hub.policies.text import clean
from hub.sdk.errors import ConnectorError


def describe(error: Exception) -> tuple[str, str, str]:
    """(code, cause, remedy if the error carries one) for people; a stranger's error keeps its traceback."""
    code, cause, remedy = _described(error)
    return clean(str(code), 64), clean(str(cause), 4000), clean(str(remedy), 1000)


def _described(error: Exception) -> tuple[str, str, str]:
    if isinstance(error, ConnectorError):
        return error.code, error.message, error.remedy
    if isinstance(error, InvalidDocumentError):
        listed = "; ".join(f"{item.field or '/'}: {item.message} [{item.code}]" for item in error.violations[:10])
        return "invalid_document", f"{error.type_name}: {listed}", ""
    if isinstance(error, HubError):
        return error.code, error.detail, ""
    if isinstance(error, ValueError) and "JSON" in type(error).__name__:
        return "malformed_json", f"the body is not JSON: {error}", ""
    trace = "".join(traceback.format_exception(error)[-3:])
    return "connector_bug", redaction.text(f"{type(error).__name__}: {error}\n{trace}")[:4000], ""
