"""`folio audit`: proves that every balance equals the sum of its ledger entries."""

from typing import Annotated

import typer

from db.connections.database import Database
from db.ledger.audit import AuditReport, Defect, Difference, UnknownTransactionError
from db.ledger.audit import audit as run_audit
from db.money import from_minor, minor_unit_exponent
from db.query.cursors import BIGINT_MAX
from graph.cli.support.progress import watched
from graph.cli.support.terminal import CommandError, out, run_with_database
from graph.errors import BadInput
from graph.schema.ids import NodeKind, global_id, parse

# The batch with the most active account takes longest: some seconds for a million transactions of one account. A
# statement that takes an hour is stuck.
STATEMENT_TIMEOUT_MS = 3_600_000

_WORDS = {
    Defect.OVERDRAWN: "it is below zero, and not a system account",
    Defect.BEYOND_LIMITS: "it is beyond the limits of a balance",
    Defect.NO_ACCOUNT: "one of its accounts does not exist",
    Defect.CURRENCIES: "its accounts hold different currencies",
    Defect.AMOUNT: "its amount is not above zero",
    Defect.ONE_ACCOUNT: "it transfers from an account to the same account",
    Defect.NO_KEY: "its idempotency key does not exist",
    Defect.DEPOSIT: "it is a deposit, but not from a system account to another account",
    Defect.REQUEST: "it differs from the request of its key: accounts, amount, memo or key were changed",
    Defect.NO_OUTCOME: "it has neither a transaction nor a refusal",
    Defect.TWO_OUTCOMES: "it has both a transaction and a refusal",
    Defect.TWO_TRANSACTIONS: "it has more than one transaction",
}


def audit(
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TRANSACTION_ID",
            help="Check only this transaction and later ones, and the whole balances of their accounts. "
            "An id of the API, transaction_123, or the number of the row, 123.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check every balance against the ledger, in one snapshot, while the system runs. Exits with 1 if one differs."""
    since_id = None if since is None else _transaction_id(since)

    async def work(database: Database) -> AuditReport:
        with watched() as progress:
            return await run_audit(database, since_id, progress)

    try:
        report = run_with_database(work, undone="the audit is not complete", statement_timeout_ms=STATEMENT_TIMEOUT_MS)
    except UnknownTransactionError as error:
        raise CommandError(f"--since: {_not_there(error)}") from None
    for line in _checked(report):
        out.print(line, markup=False)
    if not report.clean:
        count = report.differences_count
        counted = "1 difference" if count == 1 else f"{count} differences, the first"
        raise CommandError(f"{counted}: {_worded(report.differences[0])}")
    out.print("every balance is right")


def _transaction_id(text: str) -> int:
    """Return the id of the row that `text` names.

    Raises:
        BadParameter: it names no transaction.
    """
    if text.isascii() and text.isdigit() and not text.startswith("0") and int(text) <= BIGINT_MAX:
        return int(text)
    try:
        return parse(text, NodeKind.TRANSACTION, text)
    except BadInput as error:
        # For an id of another kind, the message of `parse` names both kinds.
        reason = str(error) if "is expected" in str(error) else f"{text} is not the id of a transaction"
        raise typer.BadParameter(f"{reason}; write it as transaction_123 or 123", param_hint="--since") from None


def _not_there(error: UnknownTransactionError) -> str:
    missing = global_id(NodeKind.TRANSACTION, error.requested)
    last = (
        f"the last one is {global_id(NodeKind.TRANSACTION, error.last)}" if error.last else "it has no transaction yet"
    )
    return f"there is no {missing} in this ledger; {last}"


def _checked(report: AuditReport) -> list[str]:
    """Return the lines of the report: the checked range, the differences, and the next `--since`."""
    counts = f"{report.accounts} accounts, {report.transactions} transactions and {report.keys} idempotency keys"
    start = f" from {global_id(NodeKind.TRANSACTION, report.since)}" if report.since is not None else ""
    end = f" up to {global_id(NodeKind.TRANSACTION, report.last)}" if report.last is not None else ""
    lines = [f"checked {counts},{start}{end}" if start or end else f"checked {counts}"]
    lines += [_worded(one) for one in report.differences]
    if report.differences_count > len(report.differences):
        lines.append(f"… and {report.differences_count - len(report.differences)} more")
    if report.undecided:
        lines.append(
            f"{report.undecided} transactions have keys of users who are not administrators now: "
            "whether they were administrators then is unknown"
        )
    if report.clean and report.last is not None:
        lines.append(_next(report.next_since))
    return lines


def _next(since: int | None) -> str:
    if since is None:
        return "the next audit must check everything: writes are in progress, and no transaction is an hour old"
    return f"the next audit can be: folio audit --since {global_id(NodeKind.TRANSACTION, since)}"


def _worded(one: Difference) -> str:
    """Return the message of a difference."""
    if one.defect is Defect.SUM:
        return f"{one.currency_code}: all balances add up to {_money(one.stored, one.currency_code)}, not to zero"
    if one.defect is Defect.BALANCE:
        assert one.stored is not None
        assert one.ledger is not None
        what = (
            f"the balance is {_money(one.stored, one.currency_code)}, "
            f"the ledger says {_money(one.ledger, one.currency_code)}, "
            f"the difference is {_money(one.stored - one.ledger, one.currency_code)}"
        )
    elif one.defect is Defect.FOREIGN_KEY:
        what = f"its key belongs to {_user(one)}, who is neither the owner of its source account nor an administrator"
    else:
        what = _WORDS[one.defect]
        if one.stored is not None:
            what = f"the balance is {_money(one.stored, one.currency_code)}: {what}"
    return f"{_named(one)}: {what}"


def _named(one: Difference) -> str:
    assert one.id is not None
    if one.key is not None:
        return f"the idempotency key {one.key} of {_user(one)} (row {one.id} of idempotency_keys)"
    if one.stored is not None:
        return f"{global_id(NodeKind.ACCOUNT, one.id)} (row {one.id} of accounts)"
    return f"{global_id(NodeKind.TRANSACTION, one.id)} (row {one.id} of transactions)"


def _user(one: Difference) -> str:
    assert one.key_owner is not None
    return global_id(NodeKind.USER, one.key_owner)


def _money(minor: int | None, currency_code: str | None) -> str:
    assert minor is not None
    assert currency_code is not None
    if minor_unit_exponent(currency_code) is None:  # no client can open such an account
        return f"{minor} units of {currency_code}"
    return f"{from_minor(minor, currency_code)} {currency_code}"
