"""Rules about what is declared and what the code reaches for."""

import ast
import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from canonical.errors import InvalidDocumentError
from canonical.registry import validate
from hub.sdk.connector import Connector
from hub.sdk.errors import AuthenticationError, ConnectorError
from hub.sdk.kit.rules import BRONZE, GOLD, SILVER, InapplicableError, rule
from hub.sdk.kit.subject import Subject
from hub.sdk.webhook import sign, verify

#: Modules that do I/O, start something, or look at the process: a connector describes requests and performs none.
_FORBIDDEN = frozenset({
    "socket", "ssl", "http", "urllib.request", "requests", "httpx", "aiohttp", "urllib3", "subprocess", "multiprocessing",
    "threading", "asyncio", "sqlite3", "ftplib", "smtplib", "ctypes", "pickle", "marshal", "importlib", "tempfile", "shutil",
})  # fmt: skip
_CALLS = frozenset({"open", "exec", "eval", "compile", "__import__", "input", "print", "breakpoint"})
#: Not the connector's own code: what it is tested with.
_BESIDE = ("simulator", "kit", "tests")


@rule("manifest-agrees", BRONZE)
def manifest_agrees(subject: Subject) -> Iterable[str]:
    """The manifest and the class declare the same reads and writes."""
    return subject.connector.disagreements()


@rule("has-samples", BRONZE)
def has_samples(subject: Subject) -> Iterator[str]:
    """Every write has a sample that keeps the rules of its type, every mapped object a change, webhooks a body."""
    manifest, system = subject.connector.manifest, subject.system()
    for name in manifest.writes:
        if not subject.documents.get(name):
            yield f"documents has no sample of {name}"
        for document in subject.documents.get(name, ()):
            try:
                validate(name, document)
            except InvalidDocumentError as error:
                yield f"sample of {name}: {error}"
    for name, declared in manifest.objects.items():
        if declared["map"] and not any(change.object == name for change in system.changes):
            yield f"System.changes has none of {name}"
    if manifest.data["webhooks"] and not system.webhooks:
        yield "the manifest declares webhooks, and System.webhooks has none"


@rule("only-the-door", BRONZE)
def only_the_door(subject: Subject) -> Iterator[str]:
    """The code imports hub.sdk and canonical of Crossdock, nothing behind them."""
    for module, node in _imports(subject.connector):
        inner = [name for name in _names(node) if name.split(".")[0] == "hub" and not f"{name}.".startswith("hub.sdk.")]
        for name in inner:
            yield f"{module}:{node.lineno}: imports {name}; take what you need from hub.sdk"


@rule("performs-no-io", BRONZE)
def performs_no_io(subject: Subject) -> Iterator[str]:
    """The code performs no I/O of its own: it yields requests."""
    for module, node in _imports(subject.connector):
        for name in _names(node):
            if name in _FORBIDDEN or name.split(".")[0] in _FORBIDDEN:
                yield f"{module}:{node.lineno}: imports {name}; yield a Request instead"
    for module, tree in _sources(subject.connector):
        for part in ast.walk(tree):
            if isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id in _CALLS:
                yield f"{module}:{part.lineno}: calls {part.func.id}()"
            if isinstance(part, ast.Attribute) and part.attr in ("environ", "getenv"):
                yield f"{module}:{part.lineno}: reads the environment; declare a setting"


@rule("check-answers", BRONZE)
def check_answers(subject: Subject) -> Iterator[str]:
    """The manifest's check passes with good credentials."""
    if subject.connector.manifest.data["check"] is None and subject.connector.check is Connector.check:
        yield "the manifest declares no check: nobody can tell whether credentials work"
        return
    trial = subject.trial()
    try:
        trial.perform(trial.connector.check())
    except ConnectorError as error:
        yield f"check fails: {error.code}: {error.message}"


@rule("check-refuses", SILVER, "check-answers")
def check_refuses(subject: Subject) -> Iterator[str]:
    """The check fails with AuthenticationError when the credentials are wrong."""
    trial = subject.trial()
    wrong = {name: f"{value[:4]}wrong" for name, value in trial.system.headers.items()}
    if not wrong:
        raise InapplicableError("the system asks for no credentials")
    try:
        trial.perform(trial.connector.check(), headers=wrong)
    except AuthenticationError:
        return
    except ConnectorError as error:
        yield f"wrong credentials are {error.code}: the hub would not pause the connection"
        return
    yield "wrong credentials pass the check"


@rule("signature-covers-body", GOLD)
def signature_covers_body(subject: Subject) -> Iterator[str]:
    """A webhook whose body was changed by one byte is refused."""
    scheme = subject.connector.manifest.signature
    if scheme is None:
        raise InapplicableError("no webhooks")
    if scheme.type == "static":
        raise InapplicableError("the vendor signs no body: a secret in a header is all there is")
    now, secret = 1_700_000_000.0, "czNjcmV0LW9mLXRoZS1raXQ="
    for body in subject.system().webhooks:
        headers = {scheme.timestamp_header: f"{now:.0f}"} if scheme.timestamp_header else {}
        headers |= {scheme.id_header: "msg_1"} if scheme.id_header else {}
        headers[scheme.header] = sign(scheme, secret, body, "https://hub.example/w", f"{now:.0f}", "msg_1")
        if reason := verify(scheme, [secret], body, headers, "https://hub.example/w", now):
            yield f"a webhook that is signed right is refused: {reason}"
        changed = bytes([body[0] ^ 1]) + body[1:] if body else b"x"
        if verify(scheme, [secret], changed, headers, "https://hub.example/w", now) is None:
            yield "a changed body keeps its signature; put `body` under webhooks.signature.over"


def _imports(connector: type[Connector]) -> Iterator[tuple[str, ast.Import | ast.ImportFrom]]:
    for module, tree in _sources(connector):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield module, node


def _names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if node.level:
        return []
    return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names if node.module in ("hub", "urllib"))]


def _sources(connector: type[Connector]) -> Iterator[tuple[str, ast.Module]]:
    """The modules of a connector's package (or the one module it is in), parsed."""
    root = importlib.import_module(connector.__module__.partition(".")[0])
    modules: list[ModuleType] = [root]
    for found in pkgutil.walk_packages(getattr(root, "__path__", ()), f"{root.__name__}."):
        if found.name.split(".")[1] not in _BESIDE:
            modules.append(importlib.import_module(found.name))
    for module in modules:
        if module.__file__ is not None:
            yield module.__name__, ast.parse(Path(module.__file__).read_text("utf-8"))
