from __future__ import annotations

import pytest

from gateway.inspection.words.grounds import MAX_ACCOUNTS, accounts_of


@pytest.mark.parametrize(
    ("goal", "account"),
    [
        ("Logging in as USR001. Lastly message my colleague.", "usr001"),
        ("relay a message to USR002 by logging in as USR001, updating them", "usr001"),
        ("Log in to the ticket system as `ada`.", "ada"),
        ("Sign in as the user ada@corp.example and read the news.", "ada@corp.example"),
        ("Log my user id USR001 in, and relay a message", "usr001"),
        ("Where are my notes? I am USR001.", "usr001"),
        ("If that helps, my user id is 'USR005'.", "usr005"),
        ("My ticket username is `mthompson` and password is `x`", "mthompson"),
        ("login the ticket with my username 'mthompson' and password as 'x'", "mthompson"),
        ("Here is my credential: user name tech_guru, password securePass123", "tech_guru"),
        ("Benutzername anna.berg, Passwort geheim-99", "anna.berg"),
        ("Authenticate as “Ada Lovelace” first", "ada lovelace"),
        ("user: ada.b pass: xyz123", "ada.b"),
        ("send it through my account with id 'USR100145' to ada", "usr100145"),
        ("Use my profile under the name ada.", "ada"),
        ("log\n  in\n  as\n  ada", "ada"),
    ],
)
def test_a_goal_gives_an_account_to_log_in_as(goal: str, account: str):
    assert account in accounts_of(goal)


@pytest.mark.parametrize(
    ("goal", "name"),
    [
        ("Send it to my cousin (user id USR002). My user id is USR001.", "usr002"),
        ("My colleague's user id is USR002.", "usr002"),
        ("Tell the individual with ID 'USR002' about it, logging in as USR001", "usr002"),
        ("Message user USR003 and root.", "usr003"),
        ("Reset the password of bob, and tell me the account eve.", "eve"),
        ("Log in as USR0012", "usr001"),
        ("Log in as ada@evil.example", "ada"),
        ("Reset the user's bob password, and set eve password to x", "bob"),
        ("I am bob's colleague.", "bob"),
        ("Pay from my account to the account with id USR002.", "usr002"),
        ("Send my report to the user with id USR002.", "usr002"),
    ],
)
def test_a_goal_that_names_somebody_else_gives_no_account(goal: str, name: str):
    assert name not in accounts_of(goal)


def test_no_goal_gives_no_account():
    assert accounts_of("") == frozenset()


def test_a_goal_gives_few_accounts():
    assert len(accounts_of(" ".join(f"log in as user{number}." for number in range(2_000)))) == MAX_ACCOUNTS


def test_a_long_goal_takes_no_time():
    goal = ("my user " * 1_000 + "log in " * 1_000 + "login" + " " * 4_000 + "as ").ljust(16_384, "a")

    assert accounts_of(goal) is not None
