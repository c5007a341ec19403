"""The rule that needs the hub's own engine: found by entry point `hub.rehearsals`, as the door imports nothing behind it."""

from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec

from hub.sdk.kit import answers, declared, reads, writes  # noqa: F401 - their rules come first
from hub.sdk.kit.rules import GOLD, InapplicableError, rule
from hub.sdk.kit.subject import Subject


@rule("survives-the-hub", GOLD, "restarts-anywhere", "lost-request", "reads-everything")
def survives_the_hub(subject: Subject) -> Iterator[str]:
    """In the hub's own engine, a crash before any effect and an answer lost, refused or late double and lose nothing."""
    # Behind the fence nothing is looked for outside the door: it has no such room.
    there = find_spec("hub.rehearsal") is not None
    found = next(iter(entry_points(group="hub.rehearsals")), None) if there else None
    if found is None:
        raise InapplicableError("the hub's engine is not here; `hub plugin check` has it")
    try:
        rehearse = found.load()
    except ModuleNotFoundError as missing:  # the base alone is installed, as in a plugin's own environment
        raise InapplicableError(f"the hub's engine needs {missing.name}; install crossdock[server]") from None
    yield from rehearse(subject)
