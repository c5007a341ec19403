"""Fixtures: stores on both engines, shops. A missing PostgreSQL skips at home with one clear line and fails in CI."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support import Shop

from hub.store import Store

POSTGRES = os.environ.get("TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A database of our own on a PostgreSQL server (TEST_POSTGRES)."""
    name = f"crossdock_test_{uuid.uuid4().hex[:12]}"
    try:
        admin = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        reason = f"no PostgreSQL at {POSTGRES} (set TEST_POSTGRES): {str(error).splitlines()[0]}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    admin.execute(f'CREATE DATABASE "{name}"')
    base = POSTGRES.rpartition("/")[0].replace("postgresql://", "postgresql+psycopg://", 1)
    yield f"{base}/{name}"
    admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    admin.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """'' for the embedded engine, a URL for PostgreSQL."""
    return "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def emptied_url(database_url: str) -> Iterator[str]:
    """The same; what is in the database afterwards is removed."""
    yield database_url
    if database_url:
        store = Store(database_url)
        _empty(store)
        store.close()


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Iterator[Store]:
    """A migrated, empty store on each engine."""
    store = Store(database_url or f"sqlite:///{tmp_path / 'store.sqlite'}")
    store.upgrade()
    yield store
    _empty(store)
    store.close()


@pytest.fixture
def make_shop(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    """Shops that are closed after the test."""
    shops: list[Shop] = []

    def make(**arguments: Any) -> Shop:
        shop = Shop(arguments.pop("folder", tmp_path / f"shop{len(shops)}"), **arguments)
        shops.append(shop)
        return shop

    yield make
    for shop in shops:
        if shop.hub.settings.database_url:
            shop.close()
            store = Store(shop.hub.settings.database_url)
            _empty(store)
            store.close()
        else:
            shop.close()


@pytest.fixture
def shop(make_shop: Callable[..., Shop]) -> Shop:
    """A running shop on the embedded engine with two items."""
    shop = make_shop()
    shop.stock_item("SKU-1", 950)
    shop.stock_item("SKU-2", 1200)
    return shop.start()


def _empty(store: Store) -> None:
    from hub.store.tables import metadata

    with store.begin() as uow:
        for table in reversed(metadata.sorted_tables):
            uow._connection.execute(table.delete())


@pytest.fixture(scope="session")
def shared() -> Path:
    """Third-party specifications beside the checkout; a user's clone has none."""
    if not SHARED.is_dir():
        pytest.skip("the third-party specification files are not beside this checkout")
    return SHARED
