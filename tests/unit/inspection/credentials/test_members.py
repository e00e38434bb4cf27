"""Credentials whose name and value are two members of one object, in texts and in arguments."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.inspection.credentials import members
from gateway.inspection.credentials.ruleset import compiled
from gateway.model.wire import Json
from tests.held_out_forms import HELD_OUT_FORMS
from tests.hiding_forms import HIDING_FORMS
from tests.secret_forms import FORMS
from tests.unit.inspection.credentials.test_calls import detected

VALUE = "hK7mQ2xv-Zp4T"


def found(text: str) -> list[str]:
    data = text.encode()
    return list(dict.fromkeys(hit.value for search in members.SEARCHES for hit in search.find(data)))


@pytest.mark.parametrize(
    "order", list(permutations(['"name": "DB_PASSWORD"', f'"value": "{VALUE}"', '"type": "text"', '"on": true']))
)
def test_members_are_found_in_any_order(order: tuple[str, ...]):
    assert found(f'[{{"name": "DB_HOST", "value": "db1-a7-b2"}}, {{{", ".join(order)}}}, {{"value": "x9-y8-z7"}}]') == [
        VALUE
    ]


@pytest.mark.parametrize(
    "text",
    [
        f'{{"name": "DB_PASSWORD", "meta": {{"value": "a1-b2-c3"}}, "value": "{VALUE}"}}',
        f'{{"value": "{VALUE}", "meta": {{"a": 1}}, "name": "DB_PASSWORD"}}',
        f"- name: DB_HOST\n  value: a1-b2-c3\n- value: {VALUE}\n  name: DB_PASSWORD\n",
        f"<a key='DB_HOST' value='a1-b2-c3'/><a value='{VALUE}' key='DB_PASSWORD'/>",
        f"put --name /x/DB_PASSWORD --type String --value {VALUE} --region eu-1\nput --value a1-b2-c3\n",
        f'"DB_PASSWORD": {{"sensitive": true, "value": "{VALUE}"}}, "host": {{"value": "a1-b2-c3"}}',
    ],
)
def test_the_value_is_that_of_the_same_object(text: str):
    assert found(text) == [VALUE]


@pytest.mark.parametrize(
    "text",
    [
        f'{{"name": "DB_PASSWORD"}}, {{"value": "{VALUE}"}}',
        f'{{"description": "of the api key", "value": "{VALUE}"}}',
        f'{{"name": "password_policy", "value": "{VALUE}"}}',
        f"- name: DB_PASSWORD\n- value: {VALUE}\n",
        f"name: DB_PASSWORD\n\nvalue: {VALUE}\n",
        f'{{"name": "DB_PASSWORD", "name": "DB_HOST", "version": "{VALUE}"}}',
        '{"name": "DB_PASSWORD", "value": "${DB_PASSWORD}"}',
        '{"name": "DB_PASSWORD", "value": "required"}',
        f'<label key="password">Password</label><input name="user" value="{VALUE}"/>',
    ],
)
def test_the_value_of_another_name_is_none(text: str):
    assert found(text) == []


@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [
        ({"env": [{"name": "A", "value": "x"}, {"value": VALUE, "name": "DB_PASSWORD"}]}, "/env/1/value"),
        ({"secret_name": "DEPLOY_TOKEN", "secret_value": "q8Zt3LmW0xR5vN1cYb6D"}, "/secret_value"),
        ({"ParameterKey": "DbPassword", "ParameterValue": VALUE}, "/ParameterValue"),
        ({"columns": ["user", "password"], "rows": [["ada", VALUE], ["bob", None]]}, "/rows/0/1"),
        ({"values": [["password", "user"], [VALUE, "ada"]]}, "/values/1/0"),
        ({"path": "/prod/db_password", "note": {"x": 1}, "content": VALUE}, "/content"),
    ],
)
def test_members_of_arguments_are_found(arguments: dict[str, Json], pointer: str):
    assert [place for _, place, _ in detected(arguments)] == [pointer]


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "DB_HOST", "value": VALUE},
        {"name": "DB_PASSWORD", "other": {"value": VALUE}},
        {"required": ["user", "password"], "places": [["Berlin", VALUE]]},
        {"columns": ["user", "password_age"], "rows": [["ada", VALUE]]},
        {"columns": ["user", "password"], "rows": [["ada", "required"], [VALUE]]},
        {"title": "Forgotten password", "body": "Login404"},
        {"name": "reset-password", "content": "Ask 2 people for it"},
        {"name": "DB_PASSWORD", "value": "$DB_PASSWORD"},
    ],
)
def test_arguments_without_both_members_hold_none(arguments: dict[str, Json]):
    assert detected(arguments) == []


@given(
    st.lists(
        st.sampled_from(
            ["name", "value", "password", ":", "=", '"', "'", "{", "}", ",", " ", "\n", "- ", "<", ">", "--", VALUE]
        ),
        max_size=40,
    )
)
@settings(max_examples=133, deadline=None)
def test_any_text_is_searched_and_what_is_found_has_its_sign(parts: list[str]):
    assert_signed("".join(parts))


def test_whatever_members_give_has_their_sign():
    for form in (*FORMS, *HIDING_FORMS, *HELD_OUT_FORMS):
        assert_signed(form.text)


def assert_signed(text: str) -> None:
    for search in members.SEARCHES:
        if any(search.find(text.encode())):
            assert compiled(search.sign).search(text.encode()) is not None, text
