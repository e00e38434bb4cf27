from __future__ import annotations

from typing import Any

import pytest

from gateway.upstreams.labelling.argument_roles import ToolUse, propose_roles

WRITES = ToolUse()
READS = ToolUse(reads=True)
COMMITS = ToolUse(commits=True, pays=True)
SENDS = ToolUse(sends=True)


def roles(use: ToolUse, **arguments: Any) -> dict[str, str]:
    schema = {"type": "object", "properties": {name: value or {"type": "string"} for name, value in arguments.items()}}
    return {pointer: found.role.value for pointer, found in propose_roles(schema, use).items()}


@pytest.mark.parametrize(
    ("argument", "role"),
    [
        ("access_token", "credential"),
        ("cardNumber", "credential"),
        ("receiver_id", "destination"),
        ("email_id", "selector"),
        ("travel_to", "selector"),
        ("to", "destination"),
        ("message", "content"),
        ("script", "command"),
        ("order_id", "selector"),
        ("amount", "selector"),
    ],
)
def test_the_name_of_an_argument_says_its_role(argument: str, role: str):
    assert roles(WRITES, **{argument: None}) == {f"/{argument}": role}


def test_a_format_says_more_than_a_name():
    assert roles(WRITES, who={"type": "string", "format": "email"}) == {"/who": "destination"}
    assert roles(READS, what={"anyOf": [{"type": "null"}, {"type": "string", "format": "uri"}]}) == {
        "/what": "destination"
    }


def test_a_read_sends_nothing_to_whom_it_asks_about():
    assert roles(READS, email=None, message=None, url=None, token=None) == {
        "/email": "selector",
        "/message": "selector",
        "/url": "destination",
        "/token": "credential",
    }


def test_ids_select_records_where_a_tool_commits():
    assert roles(COMMITS, card_id=None, amount=None, price=None, hotel=None) == {
        "/card_id": "record",
        "/amount": "amount",
        "/price": "selector",
        "/hotel": "destination",
    }
    assert roles(COMMITS, cost=None) == {"/cost": "amount"}


def test_members_of_lists_and_objects_have_roles():
    mail = {"type": "object", "properties": {"address": {"type": "string"}, "name": {"type": "string"}}}
    assert roles(WRITES, people={"type": "array", "items": mail}, box=mail) == {
        "/people": "selector",
        "/people/*/address": "destination",
        "/box": "selector",
        "/box/address": "destination",
    }


def test_a_name_with_a_slash_or_a_tilde_is_escaped_in_its_pointer():
    assert roles(WRITES, **{"a/b~url": None}) == {"/a~1b~0url": "destination"}


def test_both_ends_of_a_move_are_inside_the_system():
    assert roles(WRITES, source=None, destination=None) == {"/source": "selector", "/destination": "selector"}
    assert roles(SENDS, source=None, destination=None)["/destination"] == "destination"


def test_a_tool_that_sends_to_a_person_names_the_person():
    assert roles(SENDS, user_id=None, amount=None)["/user_id"] == "destination"
    assert roles(SENDS, user_id=None, to=None)["/user_id"] == "selector"


def test_an_open_argument_may_name_a_receiver():
    found = roles(WRITES, arguments=None)

    assert found["/arguments/destination_account_id"] == "record"
    assert roles(READS, arguments=None) == {"/arguments": "selector"}


def test_a_switch_to_an_address_lets_a_read_reach_it():
    schema = {"properties": {"path": {"type": "string"}, "isUrl": {"type": "boolean"}}}

    assert propose_roles(schema, READS)["/isUrl"].reaches


def test_a_schema_that_contains_itself_ends():
    inner: dict[str, Any] = {"type": "object"}
    inner["properties"] = {"next": inner, "url": {"type": "string"}}

    assert "/next/next/url" in propose_roles(inner, WRITES)


def test_a_number_is_no_receiver():
    assert roles(WRITES, number_of_urls={"type": "integer"}) == {"/number_of_urls": "selector"}
