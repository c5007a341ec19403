"""A field that an account adds reaches the canonical document and another system by a map alone, while the hub runs.

Against the simulator, and against a real Tryton 8.0 where `make demo ERP=tryton` has installed one (it is not on every machine).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import Shop

from hub.cli import main
from hub.demo.tryton_server import TrytonServer

REAL = Path(__file__).resolve().parents[2] / ".demo/tryton"
FILE = """
integration: articles
connections:
  books: {{connector: tryton, base_url: {erp}, settings: {{database: tryton, currency: USD, accounts: {{}}}}}}
  parts: {{connector: inventree, base_url: {stock}}}
flows:
  - {{name: products, on: product.v1, from: books, cadence: every 1s, read: [product], to: [{{connection: parts}}]}}
"""


class Simulated:
    """What the test does to a Tryton, to the simulator."""

    def __init__(self, shop: Shop) -> None:
        self._tryton, self.url = shop.tryton, shop.servers["tryton"].url
        self.username, self.password = shop.tryton.username, shop.tryton.password
        self._id = shop.tryton.add_product("SKU-0001", "Filter coffee 250 g")

    def add_field(self) -> None:
        self._tryton.add_attribute("care", "Care instructions")

    def fill(self, text: str) -> None:
        self._tryton.change_product(self._id, attributes={"care": text})

    def close(self) -> None:
        """The shop's own."""


class Real:
    """The same to a real one, through its own API."""

    def __init__(self, folder: Path) -> None:
        self._server = TrytonServer(REAL, folder, print)
        self.url, self.username, self.password = self._server.url, self._server.username, self._server.password

    def _call(self, model: str, method: str, *arguments: Any) -> Any:
        answer = self._server._post({"id": 1, "method": f"model.{model}.{method}", "params": [*arguments, {"company": 1}]})
        assert "error" not in answer, answer
        return answer["result"]

    def add_field(self) -> None:
        (field,) = self._call("product.attribute", "create", [{"name": "care", "string": "Care instructions", "type_": "char"}])
        (group,) = self._call("product.attribute.set", "create", [{"name": "Goods", "attributes": [["add", [field]]]}])
        (row,) = self._call("product.product", "search_read", [["code", "=", "SKU-0001"]], 0, 1, None, ["template"])
        self._call("product.template", "write", [row["template"]], {"attribute_set": group})

    def fill(self, text: str) -> None:
        (row,) = self._call("product.product", "search_read", [["code", "=", "SKU-0001"]], 0, 1, None, ["id"])
        self._call("product.product", "write", [row["id"]], {"attributes": {"care": text}})

    def close(self) -> None:
        self._server.stop()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path / "hub")
    shop.start()
    shop.serve()
    yield shop
    shop.close()


@pytest.fixture(params=["simulator", "real"])
def tryton(request: pytest.FixtureRequest, shop: Shop, tmp_path: Path) -> Iterator[Simulated | Real]:
    if request.param == "real" and not (REAL / "seeded-2.sqlite").exists():
        pytest.skip("no real Tryton is installed here (`make demo ERP=tryton` installs one)")
    found = Simulated(shop) if request.param == "simulator" else Real(tmp_path)
    yield found
    found.close()


def test_a_custom_field_travels_by_a_map_alone(shop: Shop, tryton: Simulated | Real, tmp_path: Path) -> None:
    assert shop.web is not None
    options = ["--url", f"http://127.0.0.1:{shop.web.port}", "--key", shop.key]
    text = FILE.format(erp=tryton.url, stock=shop.servers["inventree"].url)
    file = tmp_path / "articles.yaml"

    def apply(changed: str) -> None:
        file.write_text(changed)
        result = CliRunner().invoke(main, ["apply", str(file), *options])
        assert result.exit_code == 0, result.output

    def part() -> dict[str, Any] | None:
        return next((item for item in shop.inventree.parts.values() if item["IPN"] == "SKU-0001"), None)

    def keywords() -> str | None:
        found = part()
        return found["keywords"] if found else None

    apply(text)
    shop.credentials("books", username=tryton.username, password=tryton.password)
    shop.credentials("parts", token=shop.inventree.token)
    shop.until(lambda: part() is not None)
    assert keywords() is None

    tryton.add_field()
    told = json.loads(CliRunner().invoke(main, ["fields", "books", "--json", *options]).output)
    field = next(item for item in told["items"] if item["name"] == "attributes.care")
    assert (field["label"], field["custom"]) == ("Care instructions", True)
    apply(text.replace("{connection: parts}", "{connection: parts, map: {keywords: extensions.tryton.attributes.care}}"))
    tryton.fill("wash cold")

    shop.until(lambda: keywords() == "wash cold")
    with shop.hub.ctx.store.read() as uow:
        message = uow.messages.page(shop.tenant, None, 200, type="product.v1")[0]
        document = json.loads(uow.messages.get(shop.tenant, message["id"])["body"])["data"]  # type: ignore[index]
    assert document["extensions"] == {"tryton": {"attributes": {"care": "wash cold"}}}
    tryton.fill("wash hot")
    shop.until(lambda: keywords() == "wash hot")
