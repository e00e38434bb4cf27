from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.config import ToolLabels
from gateway.model.target import ASSUMABLE, Effect, Labels, Role, Sensitivity
from gateway.upstreams.catalogue.labels import check, has_pointer, labels_for, labels_of_resource

if TYPE_CHECKING:
    from gateway.model.wire import Json

ALL = frozenset(ASSUMABLE)
SEND: dict[str, Json] = {
    "type": "object",
    "properties": {
        "to": {"type": "array", "items": {"type": "string"}},
        "subject": {"type": "string"},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
        "options": {"$ref": "#/$defs/Options"},
        "pair": {"prefixItems": [{"type": "string"}], "items": False},
        "any": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"url": {}}}]},
        "free": {},
    },
    "$defs": {"Options": {"type": "object", "properties": {"reply/to": {"type": "string"}}}},
}


def test_a_tool_that_nothing_matches_has_the_fail_closed_labels():
    labels = labels_for("wipe", {"read_*": ToolLabels(effect=Effect.READ, egress=False)})

    assert labels == Labels(effect=Effect.WRITE, egress=True, sensitivity=Sensitivity.INTERNAL, roles={}, assumed=ALL)


def test_later_patterns_override_earlier_ones_field_by_field():
    labels = labels_for(
        "read_secret",
        {
            "read_*": ToolLabels(effect=Effect.READ, egress=False, roles={"/path": Role.SELECTOR}),
            "*_secret": ToolLabels(sensitivity=Sensitivity.RESTRICTED, roles={"/key": Role.CREDENTIAL}),
            "*": ToolLabels(egress=True),
        },
    )

    assert labels.effect is Effect.READ
    assert labels.egress is True
    assert labels.sensitivity is Sensitivity.RESTRICTED
    assert labels.roles == {"/path": Role.SELECTOR, "/key": Role.CREDENTIAL}


def test_an_exact_name_wins_over_a_later_pattern():
    labels = labels_for(
        "delete_file", {"delete_file": ToolLabels(effect=Effect.DESTRUCTIVE), "*": ToolLabels(effect=Effect.READ)}
    )

    assert labels.effect is Effect.DESTRUCTIVE


def test_a_tool_named_like_a_pattern_does_not_become_an_exact_name():
    labels = labels_for(
        "read_*", {"read_*": ToolLabels(effect=Effect.READ), "*": ToolLabels(effect=Effect.DESTRUCTIVE)}
    )

    assert labels.effect is Effect.DESTRUCTIVE


def test_patterns_are_case_sensitive():
    assert labels_for("READ_file", {"read_*": ToolLabels(effect=Effect.READ)}).effect is Effect.WRITE


def test_a_later_role_overrides_an_earlier_one_for_the_same_pointer():
    labels = labels_for(
        "send", {"*": ToolLabels(roles={"/to": Role.CONTENT}), "se*": ToolLabels(roles={"/to": Role.DESTINATION})}
    )

    assert labels.roles == {"/to": Role.DESTINATION}


@pytest.mark.parametrize(
    "pointer",
    [
        "/to",
        "/to/0",
        "/subject",
        "/headers/from",
        "/options/reply~1to",
        "/pair/0",
        "/any/url",
        "/free/x/y",
        "/to/*",
        "/headers/*",
        "/pair/*",
        "/options/*",
        "/*",
    ],
)
def test_a_pointer_that_arguments_can_have_is_found(pointer: str):
    assert has_pointer(SEND, pointer)


@pytest.mark.parametrize(
    "pointer",
    [
        "/too",
        "/subject/x",
        "/to/first",
        "/options/reply",
        "/pair/1",
        "/any/uri",
        "/headers/from/x",
        "/subject/*",
        "/to/*/x",
    ],
)
def test_a_pointer_that_arguments_cannot_have_is_not_found(pointer: str):
    assert not has_pointer(SEND, pointer)


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "allOf"])
def test_a_pointer_may_lead_through_any_branch_of_a_schema(keyword: str):
    schema: dict[str, Json] = {"properties": {"x": {keyword: [{"type": "null"}, {"properties": {"url": {}}}]}}}
    assert has_pointer(schema, "/x/url")
    assert not has_pointer(schema, "/x/uri")


def test_an_object_without_properties_may_hold_anything():
    assert has_pointer({"type": "object"}, "/anything")
    assert has_pointer({"type": ["object", "null"]}, "/anything")
    assert not has_pointer({"type": "string"}, "/anything")
    assert not has_pointer("nonsense", "/anything")


def test_a_schema_that_refers_to_itself_ends():
    assert not has_pointer({"$ref": "#"}, "/x")
    assert not has_pointer({"$ref": "#/nowhere/at/all"}, "/x")
    assert not has_pointer({"$ref": "#/type/x", "type": "object"}, "/x")


def test_a_reference_bomb_ends_quickly():
    bomb: dict[str, Json] = {"anyOf": [{"anyOf": [{"$ref": "#"}] * 20} for _ in range(20)]}

    assert not has_pointer(bomb, "/x")


def test_a_reference_to_another_document_is_not_followed():
    assert not has_pointer({"$ref": "https://evil.example/schema"}, "/x")


def test_a_role_for_an_argument_that_does_not_exist_is_reported():
    warnings = check(
        "mail", {"send": ToolLabels(roles={"/to": Role.DESTINATION, "/bcc": Role.DESTINATION})}, {"send": SEND}
    )

    assert warnings == (
        "upstreams.mail.tools.send.roles./bcc: the tool 'send' has no such argument in its inputSchema",
    )


def test_a_pattern_that_matches_no_tool_is_reported():
    warnings = check("mail", {"sned": ToolLabels(), "se*": ToolLabels()}, {"send": SEND})

    assert warnings == ("upstreams.mail.tools.sned matches no tool that mail lists",)


def test_a_resource_has_the_sensitivity_that_the_last_pattern_gives_it():
    said = {"*": Sensitivity.CONFIDENTIAL, "file:///public/*": Sensitivity.PUBLIC}
    tools = {"read": ToolLabels(effect=Effect.READ, sensitivity=Sensitivity.RESTRICTED)}

    assert labels_of_resource("file:///public/a", said, tools).sensitivity is Sensitivity.PUBLIC
    assert labels_of_resource("file:///a", said, tools).sensitivity is Sensitivity.CONFIDENTIAL


@pytest.mark.parametrize(
    ("labels", "sensitivity"),
    [
        (ToolLabels(sensitivity=Sensitivity.CONFIDENTIAL), Sensitivity.CONFIDENTIAL),
        (ToolLabels(effect=Effect.READ, sensitivity=Sensitivity.CONFIDENTIAL), Sensitivity.CONFIDENTIAL),
        (ToolLabels(effect=Effect.MINT, sensitivity=Sensitivity.RESTRICTED), Sensitivity.INTERNAL),
        (ToolLabels(effect=Effect.READ, sensitivity=Sensitivity.PUBLIC), Sensitivity.INTERNAL),
    ],
)
def test_a_resource_without_a_label_may_hold_what_tools_read(labels: ToolLabels, sensitivity: Sensitivity):
    found = labels_of_resource("file:///a", {"b:*": Sensitivity.PUBLIC}, {"*": labels})

    assert found == Labels(effect=Effect.READ, sensitivity=sensitivity)


def test_labels_that_the_operator_left_out_are_known_as_assumed():
    assert labels_for("a", {"a": ToolLabels(effect=Effect.READ)}).assumed == {"egress", "sensitivity"}
    assert labels_for("a", {"a": ToolLabels(effect=Effect.READ), "*": ToolLabels(egress=False)}).assumed == {
        "sensitivity"
    }


def test_a_case_about_an_argument_that_the_tool_lacks_is_told():
    case = {"when": {"/too": {"equals": "x"}}, "roles": {"/also": "content"}, "effect": "read"}
    said = ToolLabels.model_validate({"effect": "write", "cases": [case]})
    assert [warning.split(":")[0] for warning in check("mail", {"send": said}, {"send": SEND})] == [
        "upstreams.mail.tools.send.cases[0].when./too",
        "upstreams.mail.tools.send.cases[0].roles./also",
    ]
