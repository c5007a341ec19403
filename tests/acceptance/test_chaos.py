"""A short chaos run: real roles, own PostgreSQL and RabbitMQ, every kind of fault once or more. `make chaos` runs longer ones."""

import os
from pathlib import Path

import pytest
from chaos.run import Plan, run
from chaos.services import MissingServiceError

pytestmark = pytest.mark.acceptance


def test_nothing_is_lost_doubled_or_out_of_order_whatever_is_killed(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.mktemp("chaos")
    plan = Plan(
        events=120, kills=5, broker_kills=1, database_kills=1, pauses=1, toxics=8, storms=1, entities=30, seed=11, folder=folder
    )
    said: list[str] = []
    try:
        report = run(plan, said.append)
    except MissingServiceError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    assert report.violations == 0, report.text()
    assert report.injected["kill"] == 5
    assert report.injected["broker kill"] == report.injected["database kill"] == 1
    assert len(report.invariants) >= 9
