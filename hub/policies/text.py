"""Text that any store takes: no lone surrogates, no NUL, not longer than its column."""

import re

#: UTF-8 has no form of a lone surrogate, and PostgreSQL takes no NUL.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str, longest: int | None = None) -> str:
    """Replace lone surrogates and NUL by U+FFFD; cut at ``longest`` characters, the last of which is then "…"."""
    text = _UNSTORABLE.sub("\ufffd", text)
    if longest is not None and len(text) > longest:
        return text[: max(longest - 1, 0)] + "…"
    return text
