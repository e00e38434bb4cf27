"""The method table against an independent reading of the specification: the SDK's tables of wire types."""

from __future__ import annotations

import pytest
from mcp_types.methods import CLIENT_NOTIFICATIONS, CLIENT_REQUESTS, SERVER_NOTIFICATIONS, SERVER_REQUESTS

from gateway.base.json import strict
from gateway.model.wire import Disposition, Era, Kind
from gateway.wire.protocol.methods import (
    FROM_CLIENT,
    HANDSHAKE_VERSIONS,
    STATELESS_VERSIONS,
    TABLE,
    VERSIONS,
    names_where,
)

TASKS = {
    ("tasks/get", Era.HANDSHAKE), ("tasks/result", Era.HANDSHAKE), ("tasks/list", Era.HANDSHAKE),
    ("tasks/cancel", Era.HANDSHAKE), ("tasks/get", Era.STATELESS), ("tasks/update", Era.STATELESS),
    ("tasks/cancel", Era.STATELESS), ("notifications/tasks/status", Era.HANDSHAKE),
}  # fmt: skip
"""2025-11-25/basic/utilities/tasks.mdx and SEP-2663, which the SDK leaves out."""


def era(version: str) -> Era:
    return Era.STATELESS if version in STATELESS_VERSIONS else Era.HANDSHAKE


def test_the_table_allows_a_client_exactly_what_the_specification_does():
    specified = {(method, era(version)) for method, version in (*CLIENT_REQUESTS, *CLIENT_NOTIFICATIONS)}
    allowed = {(name, each) for name in TABLE for each in Era if name in FROM_CLIENT[each]}
    assert allowed == specified | TASKS


def test_every_server_method_is_in_the_table():
    names = {method for method, _ in (*SERVER_REQUESTS, *SERVER_NOTIFICATIONS)}
    assert names <= TABLE.keys()
    assert {name for name in names if TABLE[name].sender == "client"} == set()


def test_the_versions_are_those_of_the_sdk():
    assert {version for _, version in CLIENT_REQUESTS} == set(VERSIONS)
    assert set(HANDSHAKE_VERSIONS).isdisjoint(STATELESS_VERSIONS)


def test_requests_and_notifications_are_told_apart():
    kinds = {method: Kind.REQUEST for method, _ in (*CLIENT_REQUESTS, *SERVER_REQUESTS)}
    kinds |= {method: Kind.NOTIFICATION for method, _ in (*CLIENT_NOTIFICATIONS, *SERVER_NOTIFICATIONS)}
    assert {name: TABLE[name].kind for name in kinds} == kinds
    assert all((row.kind is Kind.NOTIFICATION) == name.startswith("notifications/") for name, row in TABLE.items())


def test_what_moves_data_is_decided_and_what_lists_is_filtered():
    by = {each: {name for name, row in TABLE.items() if row.disposition is each} for each in Disposition}
    assert by[Disposition.DECIDE] == {"tools/call", "resources/read", "prompts/get", "completion/complete"}
    assert by[Disposition.FILTER] == {
        "tools/list", "resources/list", "resources/templates/list", "prompts/list", "tasks/list",
    }  # fmt: skip


def test_what_only_servers_send_is_refused_from_a_client():
    rows = [row for row in TABLE.values() if row.sender == "server"]
    assert rows
    assert all(row.name not in FROM_CLIENT[each] for row in rows for each in Era)


@pytest.mark.parametrize("name", ["", "tools/Call", "tools/call ", "tools", "notifications/unknown", "rpc.discover"])
def test_a_name_that_is_not_in_the_table_is_none_of_a_client(name: str):
    assert all(name not in FROM_CLIENT[each] for each in Era)


def test_the_look_alike_guard_knows_every_parameter_that_a_client_may_send():
    """A parameter that `strict.PARAMS` lacks would be unprotected against look-alikes."""
    specified: set[str] = set()
    for model in (*CLIENT_REQUESTS.values(), *CLIENT_NOTIFICATIONS.values()):
        params = model.model_json_schema()["$defs"]
        for name, schema in params.items():
            if name.endswith("Params"):
                specified |= schema.get("properties", {}).keys()
    assert {"name", "arguments", "requestState"} <= specified
    assert specified - strict.PARAMS == set()


def test_the_columns_of_the_table_hold_for_the_methods_of_the_specification():
    columns = {
        "decided": {"tools/call": "arguments", "prompts/get": "arguments", "resources/read": "uri"},
        "needs_name": dict.fromkeys(("tools/call", "prompts/get", "resources/read"), True),
        "may_wait": dict.fromkeys(("tools/call", "prompts/get", "resources/read"), True),
        "items": {
            "tools/list": ("tools", "name"),
            "resources/list": ("resources", "uri"),
            "resources/templates/list": ("resourceTemplates", "uriTemplate"),
            "prompts/list": ("prompts", "name"),
            "tasks/list": ("tasks", "taskId"),
        },
        "opens_session": {"initialize": True},
        "gives_instructions": {"initialize": True, "server/discover": True},
        "subscribes": {"resources/subscribe": True, "subscriptions/listen": True},
        "waits_for_news": {"subscriptions/listen": True},
        "announces_definitions": {
            "notifications/tools/list_changed": True,
            "notifications/prompts/list_changed": True,
        },
    }
    for column, expected in columns.items():
        assert {name: value for name, row in TABLE.items() if (value := getattr(row, column))} == expected, column


def test_only_messages_without_data_for_a_model_count_as_no_reading():
    assert names_where(lambda row: row.confirms) == {
        "initialize", "server/discover", "ping", "tools/list", "resources/list", "resources/templates/list", "prompts/list",
        "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "subscriptions/listen",
    }  # fmt: skip
    assert names_where(lambda row: row.is_silent) == {
        "ping", "roots/list", "tasks/get", "tasks/result", "tasks/list", "tasks/cancel",
        "notifications/tools/list_changed", "notifications/resources/list_changed", "notifications/prompts/list_changed",
        "notifications/subscriptions/acknowledged", "notifications/elicitation/complete",
    }  # fmt: skip
