from __future__ import annotations

from typing import Any

import pytest

from benchmarks.corpora.mechanical import label_mechanically, labels, role_of, words_of

TOOLS: dict[str, Any] = {"mail": {"audience": "post", "trust": "trusted", "tools": {"send_mail": {"effect": "read"}}}}


def described(text: str = "", *arguments: str) -> dict[str, Any]:
    return {"description": text, "arguments": dict.fromkeys(arguments)}


@pytest.mark.parametrize(
    ("tool", "effect", "egress"),
    [
        ("get_order", "read", False),
        ("message_get_status", "read", False),
        ("cancel_order", "destructive", False),
        ("inviteUser", "mint", True),
        ("run_query", "exec", False),
        ("send_mail", "write", True),
        ("frobnicate", "write", False),
    ],
)
def test_the_name_of_a_tool_says_effect_and_egress(tool: str, effect: str, egress: bool):  # noqa: FBT001
    found = labels(tool, described())

    assert (found["effect"], found["egress"]) == (effect, egress)


def test_a_destination_among_the_arguments_of_a_change_is_egress():
    assert labels("set_owner", described("", "recipient"))["egress"]
    assert not labels("find_owner", described("", "email"))["egress"]
    assert labels("get_page", described("", "url"))["egress"]


def test_a_word_of_the_description_makes_a_tool_confidential():
    assert labels("get_it", described("Return the password of a user."))["sensitivity"] == "confidential"
    assert labels("get_it", described("Return the weather."))["sensitivity"] == "internal"


@pytest.mark.parametrize(
    ("argument", "role"),
    [
        ("access_token", "credential"),
        ("receiver_id", "destination"),
        ("address1", "destination"),
        ("message", "content"),
        ("insuranceCost", "amount"),
        ("sql", "command"),
        ("order_id", "selector"),
    ],
)
def test_the_name_of_an_argument_says_its_role(argument: str, role: str):
    assert role_of(argument) == role


def test_a_labelling_trusts_no_upstream_and_reads_no_label_made_by_hand():
    suite: dict[str, Any] = {"kind": "suite", "suite": "a", "tools": {"send_mail": described("", "to")}}

    assert label_mechanically(TOOLS, [suite]) == {
        "mail": {
            "audience": "post",
            "trust": "untrusted",
            "tools": {
                "send_mail": {
                    "effect": "write",
                    "egress": True,
                    "sensitivity": "internal",
                    "roles": {"/to": "destination"},
                }
            },
        }
    }


def test_words_are_those_of_any_way_to_write_a_name():
    assert words_of("displayCarStatus") == ["display", "car", "status"]
    assert words_of("get_URL-of page") == ["get", "url", "of", "page"]


@pytest.mark.parametrize(
    ("tool", "argument", "role"),
    [
        ("refund_order", "card_id", "record"),
        ("refund_order", "reason", "selector"),
        ("refund_order", "receiver_id", "destination"),
        ("get_order", "order_id", "selector"),
        ("rename_user", "user_id", "selector"),
    ],
)
def test_ids_select_records_where_a_tool_commits_money_or_people(tool: str, argument: str, role: str):
    assert labels(tool, described("", argument))["roles"] == {f"/{argument}": role}


def test_the_id_of_what_a_tool_changes_selects_a_record():
    assert labels("update_booking", described("", "booking_id"))["roles"] == {"/booking_id": "record"}
    assert labels("get_booking", described("", "booking_id"))["roles"] == {"/booking_id": "selector"}
