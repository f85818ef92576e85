"""`folio audit`: the proof that every balance is what the ledger says."""

import typer

from db.audit import FINDINGS_MAX, AuditReport
from db.audit import audit as run_audit
from db.money import from_minor
from graph.cli.terminal import err, out, run_with_database


def audit() -> None:
    """Check every balance against the ledger, in one snapshot, while the system runs. Exits 1 with any difference."""
    report = run_with_database(run_audit, undone="the audit is not complete")
    if report.clean:
        out.print(f"{report.accounts} accounts and {report.transactions} transactions: every balance is right")
        return
    for line in _findings(report):
        err.print(line, markup=False)
    raise typer.Exit(1)


def _findings(report: AuditReport) -> list[str]:
    lines = [
        f"account_{one.account_id}: the balance is {from_minor(one.balance, one.currency_code)} {one.currency_code}, "
        f"the ledger says {from_minor(one.ledger, one.currency_code)}, "
        f"the difference is {from_minor(one.balance - one.ledger, one.currency_code)}"
        for one in report.wrong_balances
    ]
    lines += [f"transaction_{one}: its accounts hold different currencies" for one in report.mixed_currencies]
    lines += [f"account_{one}: it is below zero, and no system account" for one in report.overdrawn]
    surplus = len(lines) - FINDINGS_MAX
    return lines if surplus <= 0 else [*lines[:FINDINGS_MAX], f"… and {surplus} more"]
