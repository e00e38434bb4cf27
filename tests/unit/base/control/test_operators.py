"""The accounts that operate the gateway: its own account in development alone, others by name, and root."""

from __future__ import annotations

import pytest

from gateway.base.control.line_socket import ROOT, Account
from gateway.base.control.operations import OperatorAccounts, OperatorName
from gateway.model.decision import Reason

OWN, NAMED, OTHER = 1000, 1001, 1002
OLGA = OperatorName("olga", "https://idp.example")


@pytest.mark.parametrize("own", [OWN, ROOT])
@pytest.mark.parametrize("has_terminal", [True, False])
@pytest.mark.parametrize("is_named", [True, False])
def test_the_own_account_never_operates_in_production(own: int, *, has_terminal: bool, is_named: bool):
    accounts = OperatorAccounts(own, {own: OLGA} if is_named else {})

    assert not accounts.has(Account(own, has_terminal))


@pytest.mark.parametrize(
    ("has_terminal", "is_named", "is_heard"),
    [(True, False, True), (False, False, False), (False, True, True), (True, True, True)],
)
def test_in_development_the_own_account_needs_a_terminal_or_a_name(
    *, has_terminal: bool, is_named: bool, is_heard: bool
):
    accounts = OperatorAccounts(OWN, {OWN: OLGA} if is_named else {}, is_development=True)

    assert accounts.has(Account(OWN, has_terminal)) is is_heard


@pytest.mark.parametrize("is_development", [True, False])
def test_root_and_named_accounts_operate_everywhere(*, is_development: bool):
    accounts = OperatorAccounts(OWN, {NAMED: OLGA}, is_development)

    heard = [accounts.has(Account(uid, has_terminal=False)) for uid in (ROOT, NAMED, OTHER)]
    assert heard == [True, True, False]


def test_the_record_has_the_configured_name_or_the_number():
    accounts = OperatorAccounts(OWN, {NAMED: OLGA})

    assert accounts.name_of(Account(NAMED, has_terminal=False)) == OLGA
    assert accounts.name_of(Account(ROOT, has_terminal=False)).id == "account 0"


@pytest.mark.parametrize(
    ("account", "is_development", "remedy"),
    [
        (Account(OTHER, has_terminal=True), False, "Have it listed in operators.accounts, or use root."),
        (Account(OWN, has_terminal=True), False, "Use another account of operators.accounts."),
        (Account(OWN, has_terminal=False), True, "Run the command in a terminal."),
    ],
)
def test_a_refused_account_is_told_what_to_do(account: Account, remedy: str, *, is_development: bool):
    found = OperatorAccounts(OWN, {}, is_development).find(account)

    assert isinstance(found, Reason)
    assert found.code == "operator/account"
    assert found.remedy.startswith(remedy)


def test_an_operator_is_found_by_name():
    assert OperatorAccounts(OWN, {NAMED: OLGA}).find(Account(NAMED, has_terminal=False)) == OLGA
