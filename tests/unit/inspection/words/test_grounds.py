from __future__ import annotations

import pytest

from gateway.inspection.words.grounds import MAX_GOAL, grounds, stands
from gateway.model.target import Role
from gateway.model.wire import Json

GOAL = (
    "Send the $1,000.50 invoice to Bob <bob@example.com> and post in #general. Pay 20 to GB82 WEST 1234 5698 7654 32."
    " Look at https://docs.example/page, call +1 (415) 555-0100, run `make test`; my password is Hunter2, in /srv/data."
)


@pytest.mark.parametrize("value", ["our-company.example", "https://our-company.example/a"])
def test_a_sentence_may_end_without_a_space(value: str):
    given = grounds("Post it on our-company.example.They asked for it.", None)

    assert given.grounds_value(value, Role.DESTINATION, 10)


@pytest.mark.parametrize("goal", ["a.example.them", "a.example.You", "a.example.In", "a.example.They.example"])
def test_what_may_be_a_name_is_no_end_of_a_sentence(goal: str):
    given = grounds(f"write to {goal} at once", None)

    assert not given.grounds_value("a.example", Role.DESTINATION, 10)
    assert given.grounds_value(goal, Role.DESTINATION, 10)


def test_a_goal_names_what_its_words_say():
    given = grounds("Read the General channel and www.site.example.", None)

    assert all(map(given.names, ["general", "the  general CHANNEL", "www.site.example"]))
    assert not any(map(given.names, ["", "the", "re", "site.example/secret", "gener", "other"]))


@pytest.mark.parametrize(
    ("role", "value"),
    [
        (Role.DESTINATION, "bob@example.com"),
        (Role.DESTINATION, "BOB@EXAMPLE.COM."),
        (Role.DESTINATION, ['"Robert" <bob@example.com>', "#General"]),
        (Role.DESTINATION, "general"),
        (Role.DESTINATION, "Bob"),
        (Role.DESTINATION, "https://docs.example/other"),
        (Role.DESTINATION, "docs.example"),
        (Role.DESTINATION, "+14155550100"),
        (Role.DESTINATION, "/srv//data/"),
        (Role.AMOUNT, 1000.5),
        (Role.AMOUNT, "1.000,50"),
        (Role.AMOUNT, "20"),
        (Role.COMMAND, "make  test"),
        (Role.CREDENTIAL, "Hunter2"),
        (Role.DESTINATION, []),
    ],
)
def test_what_the_user_said_is_grounded(role: Role, value: Json):
    assert grounds(GOAL, None).grounds_value(value, role, 10)


@pytest.mark.parametrize(
    ("role", "value"),
    [
        (Role.DESTINATION, "eve@example.com"),
        (Role.DESTINATION, "bob@example.com.evil.example"),
        (Role.DESTINATION, "bob@example.com, eve@evil.example"),
        (Role.DESTINATION, ["bob@example.com", "eve@evil.example"]),
        (Role.DESTINATION, "https://docs.example@evil.example/page"),
        (Role.DESTINATION, "https://docs.example\\@evil.example/page"),
        (Role.DESTINATION, "https://docs.example:8443/page"),
        (Role.DESTINATION, "bob@ex\u0430mple.com"),
        (Role.DESTINATION, "example.com"),
        (Role.DESTINATION, "docs"),
        (Role.DESTINATION, "example"),
        (Role.DESTINATION, "/srv"),
        (Role.AMOUNT, "20.000"),
        (Role.AMOUNT, "20 mio"),
        (Role.DESTINATION, "the"),
        (Role.DESTINATION, "to"),
        (Role.DESTINATION, "bob\u200b@example.com"),
        (Role.AMOUNT, 1000),
        (Role.AMOUNT, 50),
        (Role.AMOUNT, 415),
        (Role.AMOUNT, "-20"),
        (Role.AMOUNT, "two"),
        (Role.COMMAND, "make testing"),
        (Role.COMMAND, "MAKE TEST"),
        (Role.CREDENTIAL, "hunter2"),
        (Role.CREDENTIAL, "Hunter"),
    ],
)
def test_what_the_user_did_not_say_is_not(role: Role, value: Json):
    assert not grounds(GOAL, None).grounds_value(value, role, 10)


def test_a_contract_grounds_its_destinations_in_any_spelling():
    given = grounds(None, ("Partner <ann@partner.example>", "api.partner.example", "ann@p\u0430rtner.example"))

    assert given.grounds_value("ANN@partner.example", Role.DESTINATION, 10)
    assert given.grounds_value("https://API.partner.example:443/v1", Role.DESTINATION, 10)
    assert given.grounds_value("ann@p\u0430rtner.example", Role.DESTINATION, 10)
    assert not given.grounds_value("partner.example", Role.DESTINATION, 10)
    assert not given.grounds_value("bob@partner.example", Role.DESTINATION, 10)


def test_days_are_grounded_in_the_words_of_the_user():
    given = grounds("Book the 'Grand' from the 13th to the 17th of May 2024, and a table on October 15th", None)

    assert given.grounds_value(["2024-05-13", "2024-05-17 11:00", "2031-10-15T19:00:00Z"], Role.AMOUNT, 10)
    assert not given.grounds_value("2024-05-14", Role.AMOUNT, 10)
    assert not given.grounds_value("2025-05-13", Role.AMOUNT, 10)
    assert not given.grounds_value("2024-05-13", Role.DESTINATION, 10)


def test_a_file_is_grounded_in_the_letters_of_its_name():
    assert grounds("keep Report.txt", None).grounds_value("Report.txt", Role.DESTINATION, 10)


@pytest.mark.parametrize("name", ["@\u0430lice", "p\u0430yroll"])
def test_no_goal_grounds_a_name_that_mixes_alphabets(name: str):
    assert not grounds(f"write to {name} today", None).grounds_value(name, Role.DESTINATION, 10)


def test_an_amount_with_two_readings_is_grounded_as_it_is_written():
    given = grounds("pay 1,000 today", None)

    assert given.grounds_value(["1,000", 1000], Role.AMOUNT, 10)
    assert not given.grounds_value("1.000", Role.AMOUNT, 10)


def test_an_amount_that_is_none_must_stand_there_as_text():
    assert grounds("transfer everything but a tenner", None).grounds_value("a tenner", Role.AMOUNT, 10)


def test_too_many_values_are_not_grounded():
    assert grounds("a b c", None).grounds_value(["b", "c"], Role.COMMAND, 2)
    assert not grounds("a b c", None).grounds_value(["b", "c", "b"], Role.COMMAND, 2)


def test_nothing_is_grounded_without_a_goal():
    assert not grounds(None, None).grounds_value("bob@example.com", Role.DESTINATION, 10)


def test_the_end_of_an_endless_goal_grounds_nothing():
    assert not grounds("x " * MAX_GOAL + "bob@example.com", None).grounds_value("bob@example.com", Role.DESTINATION, 10)


@pytest.mark.parametrize(
    ("word", "text", "expected"),
    [
        ("bob", "ask bob.", True),
        ("bob", "@bob", True),
        ("bob", "bob's", True),
        ("bob", "bobby bob", True),
        ("bob", "bobby", False),
        ("bob", "bob@x", False),
        ("bob", "x.bob", False),
        ("bob", "a-bob", False),
        ("bob", "bob_1", False),
        ("x.example", "x.example.", True),
        ("x.example", "x.example.y", False),
        ("5", "5.50", False),
        ("aa", "aaaa", False),
        ("", "x", True),
    ],
)
def test_a_word_stands_alone(word: str, text: str, expected: bool):  # noqa: FBT001 - a table
    assert stands(word, text) is expected


def test_a_goal_names_records_by_words_and_numbers():
    given = grounds("Copy it to ticket 7 of Northwind.", None)

    assert all(map(given.names_record, ["7", "northwind"]))
    assert not any(map(given.names_record, ["77", "it", "", "north"]))
