"""Run a connector's steps against a simulator in the same process, with the manifest's error rules. No network."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

from hub.sdk.answers import classify
from hub.sdk.connector import Connector
from hub.sdk.steps import Request, Response, Steps
from hub.sdk.testing.simulator import SimRequest

T = TypeVar("T")


def drive(
    connector: Connector,
    steps: Steps[T],
    handle: Callable[[SimRequest], Response],
    headers: Mapping[str, str] | None = None,
    trace: list[Request] | None = None,
) -> T:
    """The result of ``steps``; errors are thrown into the generator as the hub would. ``trace`` collects the requests."""
    headers = {name.lower(): value for name, value in (headers or {}).items()}
    try:
        request = next(steps)
        while True:
            if trace is not None:
                trace.append(request)
            response = handle(SimRequest.of(request, headers))
            error = classify(connector.manifest, request, response, datetime.now(UTC))
            request = steps.send(response) if error is None else steps.throw(error)
    except StopIteration as done:
        result: T = done.value
        return result
