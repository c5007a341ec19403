"""G2, a bounded run; `make fuzz EXAMPLES=…` is the long one (docs/reference/properties.md has its figures)."""

from contract.fuzz import run

from hub.contracts.document import operations


def test_whatever_is_sent_the_hub_answers_as_its_contract_says() -> None:
    code, tested, cases, report = run(examples=8, seed=4)

    assert code == 0, "\n".join(line[:300] for line in report.splitlines())[-6000:]
    assert tested == len(operations())
    assert cases >= 3000
