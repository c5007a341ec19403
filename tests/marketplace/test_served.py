"""A catalogue over HTTP: published to, reviewed, installed from, its signatures renewed; what is not in order is refused in words."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner

from hub.cli import main
from hub.marketplace.installed import Installed
from hub.marketplace.serve import create_catalogue
from marketplace.shelf import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def url(shelf: Shelf) -> Iterator[str]:
    server = uvicorn.Server(
        uvicorn.Config(create_catalogue(shelf.folder, shelf.keys), port=0, log_level="error", ws="none", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def _hub(shelf: Shelf, *words: str, url: str = "") -> tuple[int, str]:
    environment = {"HUB_DATA_DIR": str(shelf.home.parent / "data"), "HUB_PLUGINS_DIR": str(shelf.home), "HUB_CATALOGUE": url}
    done = CliRunner(env=environment).invoke(main, list(words))
    return done.exit_code, done.output + done.stderr


def _post(url: str, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(f"{url}/submissions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_from_publishing_to_installing(shelf: Shelf, url: str, tmp_path: Path) -> None:
    publish = ["plugin", "publish", "--catalogue", url, "--publisher", "acme-inc", "--key", str(tmp_path / "publisher.key")]
    decide = ["--key", str(tmp_path / "reviewer.key"), "--keys", str(shelf.keys), "--by", "grace", "--reason", "fine"]

    code, said = _hub(shelf, *publish, str(shelf.plugin()))
    assert code == 0, said
    assert "it waits for review" in said
    code, said = _hub(shelf, *publish, str(shelf.plugin(version="0.1.1")))
    assert code == 4
    assert "waits for review; one at a time" in said
    assert _hub(shelf, "catalogue", "show", str(shelf.folder), "acme", "0.1.0")[0] == 0
    code, said = _hub(shelf, "catalogue", "approve", str(shelf.folder), "acme", "0.1.0", *decide)
    assert (code, "acme 0.1.0 is listed (platinum)" in said) == (0, True), said
    assert _hub(shelf, "plugin", "search", url=url)[0] == 4  # not trusted yet
    assert _hub(shelf, "catalogue", "trust", "--fingerprint", "00" * 32, url=url)[0] == 4
    assert _hub(shelf, "catalogue", "trust", "--fingerprint", shelf.fingerprint(), url=url)[0] == 0
    code, said = _hub(shelf, "plugin", "search", "sale.completed", url=url)
    assert "acme           0.1.0     listed   platinum" in said
    code, said = _hub(shelf, "plugin", "plan", "acme", url=url)
    assert "acme not installed → 0.1.0 (platinum)" in said
    code, said = _hub(shelf, "plugin", "install", "acme", "--tenant", "north", url=url)
    assert code == 0, said
    assert Installed(shelf.home).read()["acme"]["tenants"] == ["north"]
    # The second version on top of the first, over HTTP, and an upgrade from it.
    code, said = _hub(shelf, *publish, str(shelf.plugin(version="0.1.1")))
    assert code == 0, said
    assert "since 0.1.0: a patch version, 0.1.1 or later" in said
    assert _hub(shelf, "catalogue", "approve", str(shelf.folder), "acme", "0.1.1", *decide)[0] == 0
    code, said = _hub(shelf, "plugin", "install", "acme", url=url)
    assert "acme 0.1.0 → 0.1.1 (platinum)" in said
    assert "before: 0.1.0" in _hub(shelf, "plugin", "list", url=url)[1]
    code, said = _hub(shelf, "plugin", "compare", "acme", "acme", url=url)
    assert "writes stock.counted.v1" in said
    code, said = _hub(shelf, "connectors", url=url)
    assert "acme         0.1.1    loaded" in said


def test_what_is_not_in_order_is_refused_in_words(shelf: Shelf, url: str) -> None:
    assert _post(url, ["no"])[0] == 400
    assert _post(url, {"publisher": "acme-inc", "filename": "x.whl", "metadata": "%%%", "wheel": ""})[0] == 400
    status, answer = _post(url, {"publisher": "acme-inc", "filename": "x.whl", "metadata": "e30=", "wheel": "e30="})
    assert (status, "not a wheel" in answer["detail"]) == (422, True)
    for path in ("/metadata/../.lock", "/queue/x", "/nothing"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{url}{path}", timeout=10)
        assert refused.value.code == 404
        refused.value.close()


def test_its_signatures_are_renewed(shelf: Shelf, url: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        with urllib.request.urlopen(f"{url}/metadata/timestamp.json", timeout=10) as answer:
            version = json.loads(answer.read())["signed"]["version"]
        if version > 3:  # three are from admitting the publisher and the reviewer, and from making the catalogue
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)
