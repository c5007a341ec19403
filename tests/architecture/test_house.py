"""The house stays as it was designed: layers, sizes, vendor names, the door, generated files, the compose file."""

import ast
import re
import subprocess
import sys
import venv
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import hub.sdk
from hub import docs
from hub.errors import PROBLEMS
from hub.runtime.plugins import load_plugins
from hub.sdk import surface

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*ROOT.glob("hub/**/*.py"), *ROOT.glob("canonical/**/*.py"), *ROOT.glob("plugins/*/hub_*/*.py")]


def test_the_layers_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout[-3000:]
    assert "0 broken" in done.stdout


def test_no_room_knows_a_vendor() -> None:
    vendors = re.compile(r"square|tryton|inventree", re.IGNORECASE)
    allowed = ("hub/demo/", "hub/cli/__init__.py")  # the demo and its command are about these three
    found = set()
    for path in ROOT.glob("hub/**/*.py"):
        name = str(path.relative_to(ROOT))
        tree = ast.parse(path.read_text())
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        prose = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node)}
        for node in ast.walk(tree):
            text = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                text = node.value
            if isinstance(text, str) and vendors.search(text) and not name.startswith(allowed):
                found.add(f"{name}: {text[:60]}")

    assert found == set()


def test_a_file_is_one_idea() -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for p in SOURCES
        if (n := len(p.read_text().splitlines())) > 450 and not {"migrations", "generated"} & set(p.parts)
    }

    assert long == {}


def test_no_file_is_called_a_drawer() -> None:
    drawers = {"utils", "helpers", "manager", "common", "misc", "base"}

    assert [str(path) for path in SOURCES if path.stem in drawers] == []


def test_errors_are_only_swallowed_where_the_design_says() -> None:
    allowed = {"hub/bootstrap.py", "hub/flow/deliver.py", "hub/flow/translate.py", "hub/flow/relay.py", "hub/runtime/plugins.py",
               "hub/gateway/edge.py", "hub/api/app.py", "hub/demo/run.py", "hub/broker/rabbitmq.py", "hub/broker/rabbitmq_consumer.py", "hub/store/group.py",
               "hub/sdk/kit/subject.py", "hub/sdk/kit/report.py", "hub/sdk/guest/serve.py", "hub/sdk/guest/examine.py", "hub/runtime/conduct.py",
               "hub/identity/oauth.py", "hub/rehearsal/ports.py", "hub/store/memory.py", "hub/sync/preview.py", "hub/sync/versions.py", "hub/sync/subscriptions.py", "hub/sync/drift.py", "hub/sync/poll.py", "hub/cli/plainly.py"}  # fmt: skip
    broad = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                names = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {"bare"}
                if names & {"Exception", "BaseException", "bare"}:
                    broad.add(str(path.relative_to(ROOT)))

    assert broad <= allowed


def test_every_reference_page_is_what_the_code_says() -> None:
    assert docs.main(["--check"]) == 0


def test_every_problem_code_is_raised_or_answered_somewhere() -> None:
    source = "".join(
        path.read_text() for path in ROOT.glob("hub/**/*.py") if path.name != "errors.py" or path.parent.name != "hub"
    )

    unused = [code for code in PROBLEMS if f'"{code}"' not in source and code != "not_found"]
    assert unused == []


def test_the_sdks_public_surface_is_what_it_lists() -> None:
    assert len(set(hub.sdk.__all__)) == len(hub.sdk.__all__)
    for name in hub.sdk.__all__:
        assert hasattr(hub.sdk, name)


def test_the_sdks_surface_does_not_change_without_a_line_in_the_changelog() -> None:
    assert f"SDK surface `{surface.digest()}`" in (ROOT / "CHANGELOG.md").read_text()
    assert len(surface.surface()) > 100


def test_a_broken_plugin_is_quarantined_with_its_reason_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_import.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "exits.py").write_text("raise SystemExit(1)\n")
    (tmp_path / "wrong_hook.py").write_text("from hub.sdk import hookimpl\n@hookimpl\ndef hub_conectors():\n    return []\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ("broken_import", "exits", "wrong_hook", "hub_square")

    plugins = load_plugins([EntryPoint(name, name, "hub.connectors") for name in names])

    assert list(plugins.connectors) == ["square"]
    assert set(plugins.quarantined) == {"broken_import", "exits", "wrong_hook"}
    assert "nothing_of_this_name" in plugins.quarantined["broken_import"]
    assert "hub_conectors" in plugins.quarantined["wrong_hook"]
    with pytest.raises(KeyError, match="quarantined: SystemExit"):
        plugins.get("exits")


def test_plugins_install_and_pass_their_tests_with_the_base_dependencies_alone(tmp_path: Path) -> None:
    """A plugin that reaches behind the door cannot even import here: there is no server in this environment."""
    venv.create(tmp_path / "base", with_pip=True)
    python = str(tmp_path / "base/bin/python")
    locked = (ROOT / "requirements-dev.lock").read_text()
    base = {"jmespath", "marshmallow", "pluggy", "pyyaml", "pytest", "setuptools"}
    pins = [match for name in sorted(base) for match in re.findall(rf"(?m)^({name}==[^ \\;]+)", locked)]
    assert len(pins) == len(base)
    plugins = sorted(path for path in (ROOT / "plugins").iterdir() if (path / "pyproject.toml").exists())
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *pins], check=True, timeout=300)
    local = [argument for path in (ROOT, *plugins) for argument in ("-e", str(path))]
    subprocess.run([*install, "--no-deps", "--no-build-isolation", *local], check=True, timeout=300)
    code = "import importlib.util as u; print([n for n in ('flask','sqlalchemy','kombu','aiohttp','orjson') if u.find_spec(n)])"
    assert subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"

    tests = [str(path / "tests") for path in plugins]
    command = [
        python,
        "-m",
        "pytest",
        "-q",
        "-c",
        str(tmp_path / "none.ini"),
        "--rootdir",
        str(ROOT),
        "--import-mode=importlib",
        *tests,
    ]
    (tmp_path / "none.ini").write_text("[pytest]\n")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d{2,} passed", done.stdout)


def test_file_names_in_the_prose_exist() -> None:
    missing = []
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")]
    for page in pages:
        for name in re.findall(r"`((?:hub|canonical|plugins|openapi|tests|docs)/[\w./-]+)`", page.read_text()):
            if not (ROOT / name).exists():
                missing.append(f"{page.name}: {name}")
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if not link.startswith("http") and not (page.parent / link).exists():
                missing.append(f"{page.name}: {link}")

    assert missing == []


def test_nothing_of_a_workplace_is_named_in_the_project() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not listed:
        pytest.skip("not a git checkout")
    words = re.compile("/".join(("", "work", "")) + "|" + "pypi" + r"\.org|registry\.npmjs|deb\.debian")
    found = [name for name in listed if (ROOT / name).is_file() and words.search((ROOT / name).read_text("utf-8", "replace"))]

    assert found == []
