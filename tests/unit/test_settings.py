"""Misconfigured means: refuse to start and say which setting."""

import pytest

from hub.errors import MisconfiguredError
from hub.settings import Settings, from_environment


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"HUB_PROT": "1"}, "HUB_PROT"), ({"HUB_PORT": "many"}, "HUB_PORT"), ({"HUB_TRACE_SAMPLE_RATIO": "2"}, "HUB_TRACE_SAMPLE_RATIO"),
        ({"HUB_DEDUPE_DAYS": "1"}, "HUB_DEDUPE_DAYS"), ({"HUB_LEASE_SECONDS": "0"}, "HUB_LEASE_SECONDS"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_used_is_named(environment: dict[str, str], named: str) -> None:
    with pytest.raises(MisconfiguredError, match=named):
        from_environment(environment)


def test_settings_come_from_the_environment_and_overrides_win() -> None:
    settings = from_environment({"HUB_PORT": "9000", "HUB_DATA_DIR": "/x", "PATH": "y"}, port=9001)

    assert (settings.port, str(settings.data_dir), settings.embedded) == (9001, "/x", True)
    assert Settings(database_url="postgresql+psycopg://x").embedded is False
