"""`python -m contract.fuzz --examples 150`: G2, the whole contract against a running hub, by Schemathesis.

A hub on a real port with a till, a stock system and an ERP behind it; requests from every operation's schemas, valid ones and
ones that break them. Wrong is: a 5xx, an undocumented status, media type or header, an answer that does not fit its schema, an
undeclared field, a bad request that is accepted, a method or a missing key that is not refused. That a valid request may be
refused is not wrong: cursors, fingerprints and rules between fields are no matter of a schema.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from support import Shop

from hub.contracts.document import document

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "missing_required_header", "unsupported_method", "allow_header_conformance",
    "ignored_auth", "negative_data_rejection",
)  # fmt: skip
#: What says no to a body that breaks its schema; one longer than the hub reads (413) is refused before anything looks into it.
REFUSALS = ("400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429")


def run(examples: int, seed: int, database_url: str = "") -> tuple[int, int, int, str]:
    """(exit code, operations tested, cases, report) of one run; ``examples`` for each operation and phase."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contract = folder / "openapi.json"
        contract.write_text(json.dumps(document(), default=str))
        said = ", ".join(f'"{status}"' for status in REFUSALS)
        (folder / "schemathesis.toml").write_text(f"[checks.negative_data_rejection]\nexpected-statuses = [{said}]\n")
        shop = Shop(folder / "hub", database_url)
        shop.stock_item("SKU-0001")
        web = shop.start().serve()
        try:
            done = subprocess.run(
                [Path(sys.executable).parent / "schemathesis", "run", str(contract), "--url", f"http://127.0.0.1:{web.port}",
                 "--header", f"Authorization: Bearer {web.key}", "--checks", ",".join(CHECKS), "--max-examples", str(examples),
                 "--phases", "examples,coverage,fuzzing", "--seed", str(seed), "--workers", "1", "--continue-on-failure",
                 "--warnings", "off", "--no-color"],
                cwd=folder, capture_output=True, text=True, timeout=3600, check=False,
            )  # fmt: skip
        finally:
            shop.close()
    report = done.stdout + done.stderr
    tested = re.search(r"Tested: (\d+)", report)
    cases = re.search(r"([\d,]+) generated", report)
    found = (int(match[1].replace(",", "")) if match else 0 for match in (tested, cases))
    return done.returncode, *found, report  # type: ignore[return-value]


def main() -> int:
    """Parse, run, print; 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=150, help="of each operation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database-url", default="", help="instead of SQLite")
    given = parser.parse_args()
    code, operations, cases, report = run(given.examples, given.seed, given.database_url)
    print("\n".join(line[:300] for line in report.splitlines()))
    print(f"{operations} operations, {cases} cases, {'nothing wrong' if code == 0 else 'see above'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
