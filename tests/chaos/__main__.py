"""`python -m chaos --events 300 --kills 10 --seed 1`; exit code 1 if an invariant was violated, 3 if a service is missing."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from chaos.run import Plan, run
from chaos.services import MissingServiceError


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    defaults = Plan()
    for name in ("events", "kills", "broker_kills", "database_kills", "pauses", "toxics", "storms", "disk_fulls", "clock_steps",
                 "fail_overs", "brokers", "seed", "entities"):  # fmt: skip
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    parser.add_argument("--targets", default=defaults.targets, help="which of find, native, bulk")
    parser.add_argument("--rate", type=float, default=60.0, help="events a second")
    parser.add_argument("--report", type=Path, help="write the report there (Markdown)")
    given = vars(parser.parse_args())
    rate, target = given.pop("rate"), given.pop("report")
    folder = Path(tempfile.mkdtemp(prefix="crossdock-chaos-"))
    try:
        report = run(Plan(**given, folder=folder), rate=rate)
    except MissingServiceError as error:
        print(error)
        return 3
    print(report.text())
    if target is not None:
        target.write_text(report.text() + "\n")
    if report.violations:
        print(f"\n{report.violations} violations; logs in {folder}; again with --seed {given['seed']}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
