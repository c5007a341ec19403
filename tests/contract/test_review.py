"""The contract's review in a running hub: `docs/howto/review-a-contract.md`, second half, by its own commands; and its refusals."""

import importlib
import json
import re
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import Shop, Web, envelope

from canonical.examples import EXAMPLES
from hub.bootstrap import utc_now
from hub.cli import main
from hub.contracts import document as documents
from hub.contracts import releases, review
from hub.errors import HubError
from hub.identity.api_keys import SCOPES, Client, create_key

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/howto/review-a-contract.md").read_text().partition("## In the running hub")[2]
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
PEOPLE = {
    shlex.split(line)[4]: re.findall(r"--scope (\S+)", line) for line in COMMANDS if line.startswith("hub tenant key")
}  # fmt: skip


class Team:
    """People with the page's keys, a tenant's client, and a copy of `openapi/`."""

    def __init__(self, shop: Shop, web: Web, folder: Path) -> None:
        self.shop, self.web, self.folder = shop, web, folder
        with shop.hub.ctx.store.begin() as uow:
            uow.tenants.add("platform", "Platform", utc_now())
            self.keys = {name: create_key(uow, "platform", name, scopes, utc_now()) for name, scopes in PEOPLE.items()}
            reads = ["deliveries:read", "events:write", "contracts:read", "links:read"]
            self.keys["warehouse-sync"] = create_key(uow, "acme", "warehouse-sync", reads, utc_now())

    def run(self, who: str, command: str, proposal: str = "") -> tuple[int, str]:
        """A command line of the page as one of them."""
        words = [word.replace("$PROPOSAL", proposal) for word in shlex.split(command.removeprefix("hub "))]
        environment = {"CROSSDOCK_URL": f"http://127.0.0.1:{self.web.port}", "CROSSDOCK_KEY": self.keys[who]}
        done = CliRunner().invoke(main, words, env=environment)
        return done.exit_code, done.output + done.stderr

    def call(self, who: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return self.web.call(method, path, body, {"Authorization": f"Bearer {self.keys[who]}"})[:2]

    def propose(self, change: Callable[[Any], Any], version: str = "0.2.0", **more: Any) -> Any:
        """What the API says about a changed contract."""
        contract = json.loads(json.dumps(documents.document(), default=str))
        change(contract)
        body = {"version": version, "reason": "a test", "openapi": json.dumps(contract), **more}
        status, answer = self.call("ada", "POST", "/v1/contracts/proposals", body)
        assert status == 201, answer
        return answer

    def decide(self, who: str, proposal: Any, verdict: str = "approve", **more: Any) -> tuple[int, Any]:
        breaking = [change["fingerprint"] for change in proposal["changes"] if change["severity"] == "ERR"]
        body = {"fingerprints": breaking, "verdict": verdict, "reason": "seen", **more}
        return self.call(who, "POST", f"/v1/contracts/proposals/{proposal['id']}/decisions", body)

    def release(self, proposal: Any) -> tuple[int, Any]:
        return self.call("ada", "POST", f"/v1/contracts/proposals/{proposal['id']}/release")


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    copy = tmp_path / "openapi"
    shutil.copytree(ROOT / "openapi", copy)
    shop = Shop(tmp_path / "hub", field_sample=1)
    shop.start()
    web = shop.serve()
    documents.document()  # what the hub serves was read before the tree is edited
    for module in (importlib.import_module("hub.cli.governance"), documents, releases):
        monkeypatch.setattr(module, "contract_folder", lambda: copy)
    yield Team(shop, web, copy)
    shop.close()
    documents.document.cache_clear()


def _rename(contract: Any) -> None:
    delivery = contract["components"]["schemas"]["Delivery"]
    delivery["properties"]["why"] = delivery["properties"].pop("cause")
    delivery["required"] = ["why" if name == "cause" else name for name in delivery["required"]]


def _remove_links(contract: Any) -> None:
    del contract["paths"]["/v1/links"]


def _command(start: str) -> str:
    return next(command for command in COMMANDS if command.startswith(start))


def test_the_walk_of_the_page(team: Team) -> None:
    """Propose → rule, pointer, callers by name → two approvals → released, told, in the tree → evidence."""
    assert team.call("warehouse-sync", "GET", "/v1/deliveries")[0] == 200
    file = team.folder / "hub.yaml"
    text = file.read_text()
    schema = text.index("    Delivery:\n")
    file.write_text(text[:schema] + re.sub(r"^(\s+(?:- )?)cause(:|$)", r"\1why\2", text[schema:], count=2, flags=re.MULTILINE))
    documents.document.cache_clear()

    code, said = team.run("ada", _command("hub contracts propose"))
    assert code == 0, said
    proposal = said.split()[0]
    code, said = team.run("grace", _command("hub contracts show"), proposal)
    assert code == 1
    assert "response-required-property-removed" in said
    assert "acme / warehouse-sync: GET /v1/deliveries, 1 calls" in said
    assert "approvals_missing: 2 of 2 missing" in said
    assert team.run("ada", _command("hub contracts publish"), proposal)[0] == 4
    assert team.run("grace", _command("hub contracts approve"), proposal)[0] == 0
    assert team.run("grace", _command("hub contracts approve"), proposal)[0] == 0, "twice is still one person"
    code, said = team.run("ada", _command("hub contracts publish"), proposal)
    assert code == 4
    assert "1 of 2 missing" in said
    assert team.run("linus", _command("hub contracts approve"), proposal)[0] == 0
    code, said = team.run("linus", f"hub contracts check --proposal {proposal}")
    assert (code, said.splitlines()[-1][:2]) == (0, "ok"), said
    code, said = team.run("ada", _command("hub contracts publish"), proposal)
    assert (code, said.split()[2]) == (0, "released"), said

    assert team.run("ada", _command("hub contracts pull"))[0] == 4, "its key may not read the contract"
    code, said = team.run("warehouse-sync", _command("hub contracts pull"))
    assert code == 0, said
    assert releases.tampered(team.folder) == []
    assert "response-required-property-removed" in (team.folder / "CHANGELOG.md").read_text()
    code, said = team.run("warehouse-sync", "hub contracts notices")
    assert "warehouse-sync  0.2.0  ERR  GET /v1/deliveries" in said
    evidence = json.loads(team.run("grace", _command("hub contracts evidence"), proposal)[1])
    actions = [record["action"] for record in evidence["audit"]]
    assert actions == ["contract.proposed", *["contract.approved"] * 3, "contract.released"]
    assert evidence["told"] == ["acme/warehouse-sync"]
    breaking = next(change for change in evidence["changes"] if change["severity"] == "ERR")
    assert [item["by"] for item in breaking["verdicts"]] == ["platform/grace", "platform/linus"]
    assert breaking["callers"][0]["client"] == "warehouse-sync"
    listed = team.call("warehouse-sync", "GET", "/v1/contracts/releases")[1]["items"]
    assert [item["version"] for item in listed] == ["0.2.0", "0.1.0"]
    assert listed[0]["proposal_id"] == proposal


def test_roles_are_kept_apart(team: Team) -> None:
    proposal = team.propose(_rename)

    assert team.decide("ada", proposal)[0] == 403
    assert team.call("grace", "POST", f"/v1/contracts/proposals/{proposal['id']}/release")[0] == 403
    assert team.call("warehouse-sync", "GET", f"/v1/contracts/proposals/{proposal['id']}")[0] == 403
    with team.shop.hub.ctx.store.begin() as uow:
        team.keys["both"] = create_key(uow, "platform", "ada", ["contracts:approve"], utc_now())
    status, answer = team.decide("both", proposal)
    assert (status, answer["code"]) == (409, "wrong_state"), "who proposed it does not approve of it"


def test_verdicts_are_carried_over_while_a_change_is_the_same_and_a_rejection_blocks(team: Team) -> None:
    first = team.propose(_rename)
    for who in ("grace", "linus"):
        assert team.decide(who, first)[0] == 200

    def both(contract: Any) -> None:
        _rename(contract)
        contract["info"]["description"] = "edited"
        contract["paths"]["/v1/links"]["get"]["summary"] = "edited"

    again = team.propose(both)
    assert team.call("ada", "GET", f"/v1/contracts/proposals/{first['id']}")[1]["state"] == "superseded"
    assert [item["approvals_missing"] for item in again["changes"]] == [0] * len(again["changes"])
    assert again["obstacles"] == []
    assert team.decide("grace", again, "reject")[0] == 200
    status, answer = team.release(again)
    assert status == 409
    assert any("platform/grace" in entry["message"] for entry in answer["errors"])
    assert team.decide("linus", first)[0] == 409, "it is superseded"


def test_a_removal_waits_for_its_last_caller(team: Team) -> None:
    assert team.call("warehouse-sync", "GET", "/v1/links")[0] == 200
    proposal = team.propose(_remove_links)
    for who in ("grace", "linus"):
        assert team.decide(who, proposal)[0] == 200

    status, answer = team.release(proposal)
    assert status == 409
    assert "acme/warehouse-sync" in answer["errors"][0]["message"]
    with team.shop.hub.ctx.store.begin() as uow:
        uow.usage._c.exec_driver_sql("UPDATE usage SET day = '2020-01-01'")
    assert team.release(proposal)[0] == 200
    again = team.propose(lambda _: None, "0.2.1")
    assert again["base"] == "0.2.0"
    assert any(change["rule"] == "operation-added" for change in again["changes"])


def test_a_changed_field_names_who_sends_it_and_the_flows_that_read_it(team: Team) -> None:
    """Down to the field: two clients publish the type, one of them sends the field."""
    plain = EXAMPLES["sale.completed.v1"]
    mug = plain["lines"][1]
    undiscounted = {key: value for key, value in plain.items() if key not in ("discount", "tip", "change")} | {
        "id": "S-F", "lines": [mug], "tax": mug["taxes"][0]["amount"], "total": mug["total"],
        "tenders": [{"type": "cash", "amount": mug["total"]}],
    }  # fmt: skip
    with team.shop.hub.ctx.store.begin() as uow:
        team.keys["kiosk"] = create_key(uow, "acme", "kiosk", ["events:write"], utc_now())
    assert team.call("warehouse-sync", "POST", "/v1/events", envelope(plain))[0] == 202
    status, answer = team.call("kiosk", "POST", "/v1/events", envelope(undiscounted))
    assert status == 202, answer
    events = json.loads(json.dumps(releases.working(team.shop.hub.ctx.plugins.connectors).events))
    del events["sale.completed.v1"]["$defs"]["Line"]["properties"]["discount"]
    del events["sale.completed.v1"]["properties"]["number"]

    proposal = team.propose(lambda _: None, events=events)

    change = next(item for item in proposal["changes"] if item["place"] == "sale.completed.v1.lines[].discount")
    sent = {caller["client"]: (caller["operation"], caller["calls"], caller["fields"]) for caller in change["callers"]}
    assert sent == {"kiosk": ("sale.completed.v1", 1, []), "warehouse-sync": ("sale.completed.v1", 1, ["lines[].discount"])}
    of_sales = {item["fingerprint"] for item in proposal["changes"] if item["place"].startswith("sale.completed.v1.")}
    touches = [item for item in proposal["touches"] if item["kind"] == "flow" and item["fingerprint"] in of_sales]
    number = {item["fingerprint"] for item in proposal["changes"] if item["place"] == "sale.completed.v1.number"}
    assert {(item["tenant_id"], item["name"]) for item in touches} == {
        ("acme", "stores/transactions to erp"), ("acme", "stores/transactions to stock"),
    }  # fmt: skip
    mentioned = {(item["fingerprint"], item["name"]) for item in touches if item["mentions"]}
    assert mentioned == {(fingerprint, "stores/transactions to erp") for fingerprint in number}, "its map says number"


@pytest.mark.parametrize(
    ("openapi", "field"),
    [("{", "/openapi"), ("a: &x 1\nb: *x\n", "/openapi"), ("[]", "/openapi"), ("openapi: 2.0\n", "/openapi"),
     ('openapi: "3.0.3"\npaths: {/x: 5}\n', "/openapi")],
)  # fmt: skip
def test_what_is_no_contract_is_refused_with_its_field(team: Team, openapi: str, field: str) -> None:
    body = {"version": "0.2.0", "reason": "r", "openapi": openapi}
    status, answer = team.call("ada", "POST", "/v1/contracts/proposals", body)

    assert (status, answer["code"], answer["errors"][0]["field"]) == (422, "invalid_document", field)


def test_a_version_comes_after_the_last_and_a_withdrawn_one_is_over(team: Team) -> None:
    proposal = team.propose(_rename)
    path = f"/v1/contracts/proposals/{proposal['id']}"

    body = {"version": "0.1.0", "reason": "r", "openapi": json.dumps(documents.document(), default=str)}
    assert team.call("ada", "POST", "/v1/contracts/proposals", body)[1]["code"] == "wrong_state"
    status, answer = team.decide("grace", proposal, fingerprints=["0" * 12])
    assert (status, answer["errors"][0]["field"]) == (422, "/fingerprints/0")
    assert team.call("ada", "POST", f"{path}/withdraw", {"reason": "it stays"})[1]["state"] == "withdrawn"
    assert team.release(proposal)[0] == 409
    assert [item["state"] for item in team.call("grace", "GET", "/v1/contracts/proposals")[1]["items"]] == ["withdrawn"]


def test_two_versions_released_at_once_are_released_one_after_the_other(
    make_shop: Callable[..., Shop], postgres_url: str
) -> None:
    """Both start from 0.1.0; whoever comes second finds that its base has moved."""
    ctx = make_shop(database_url=postgres_url).hub.ctx
    ada = Client("acme", "k", "ada", frozenset(SCOPES))
    own = releases.working(ctx.plugins.connectors)
    text = json.dumps(documents.document(), default=str)
    identities = []
    for version in ("0.2.0", "0.3.0", "0.4.0", "0.5.0"):
        with ctx.store.begin() as uow:
            body = {"version": version, "reason": "r", "openapi": text}
            identities.append(review.propose(uow, ada, body, own, utc_now()))
    start, said = threading.Barrier(len(identities)), []

    def release(identity: str) -> None:
        start.wait()
        try:
            with ctx.store.begin() as uow:
                review.release(uow, ada, identity, utc_now())
            said.append("released")
        except HubError as error:
            said.append(error.errors[0]["message"])

    threads = [threading.Thread(target=release, args=(identity,)) for identity in identities]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert said.count("released") == 1
    assert sum("was released since" in text for text in said) == 3
