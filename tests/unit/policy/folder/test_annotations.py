from __future__ import annotations

import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy.folder import annotations

RULE = """package gateway.denials.fan_out

# METADATA
# title: Too many systems in one task
# description: Counts systems.
# custom:
#   code: fan-out/audiences
#   message: >-
#     The task has reached
#     too many systems.
#   remedy: Finish the task.
#   controls: [ASI02, MCP10]
denials contains {"code": "fan-out/audiences"} if count(input.session.audiences) > 5
"""


def test_an_annotation_is_read_whole():
    (item,) = annotations.parse(RULE, "fan_out.rego")

    assert item == annotations.Annotation(
        code="fan-out/audiences",
        title="Too many systems in one task",
        message="The task has reached too many systems.",
        remedy="Finish the task.",
        controls=("ASI02", "MCP10"),
        file="fan_out.rego",
        line=3,
    )
    assert item.family == "fan-out"


def test_the_table_is_what_rego_and_people_read():
    assert annotations.table({"fan_out.rego": RULE}) == {
        "fan-out/audiences": {
            "title": "Too many systems in one task",
            "message": "The task has reached too many systems.",
            "remedy": "Finish the task.",
            "controls": ["ASI02", "MCP10"],
            "family": "fan-out",
        }
    }


def test_other_annotations_and_comments_are_let_be():
    text = "# METADATA\n# scope: package\n# title: x\npackage a\n\n# code: a/b\n\n#METADATA\n# custom:\n#   other: 1\nx := 1\n"

    assert annotations.parse(text, "a.rego") == ()


def test_a_block_at_the_end_of_a_file_and_two_in_a_row_are_read():
    text = RULE + "\n" + RULE.split("\n", 2)[2].replace("fan-out/audiences", "fan-out/burst").rsplit("\n", 2)[0]

    assert [item.code for item in annotations.parse(text, "a.rego")] == ["fan-out/audiences", "fan-out/burst"]


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("# title: Too many systems in one task\n", "", 3, "no title"),
        ("#   remedy: Finish the task.\n", "", 3, "no custom.remedy"),
        ("#   remedy: Finish the task.\n", "#   remedy: ''\n", 3, "no custom.remedy"),
        ("#   remedy: Finish the task.\n", "#   remedy: [a]\n", 3, "no custom.remedy"),
        ("message", "massage", 3, "no custom.message"),
        ("#   controls: [ASI02, MCP10]\n", "", 3, "no list custom.controls"),
        ("[ASI02, MCP10]", "[ASI02, 10]", 3, "no list custom.controls"),
        ("code: fan-out/audiences", "code: fan-out", 3, "write it like"),
        ("code: fan-out/audiences", "code: 3", 3, "write it like"),
        ("#   remedy: Finish", "#   remedy: a: b: Finish", 11, "not YAML"),
    ],
)
def test_a_bad_annotation_is_named_by_file_and_line(old: str, new: str, line: int, problem: str):
    with pytest.raises(PolicyBroken, match=problem) as raised:
        annotations.parse(RULE.replace(old, new), "fan_out.rego")

    assert raised.value.message.startswith(f"fan_out.rego:{line}: ")
    assert raised.value.remedy


def test_a_block_with_a_character_that_yaml_forbids_is_named():
    with pytest.raises(PolicyBroken, match=r"^a\.rego:2: .*not YAML"):
        annotations.parse("# METADATA\n# title: \x07\n", "a.rego")


def test_a_code_of_two_rules_is_an_error():
    with pytest.raises(PolicyBroken, match=r"^b\.rego:3: .*already that of a\.rego:3"):
        annotations.table({"b.rego": RULE, "a.rego": RULE})


@pytest.mark.parametrize(
    "use",
    [
        'x if { input.code == "fan-out/other" }\n',
        "x if { input.code == `fan-out/other` }\n",
        'x contains {"code": "unheard-of/other"} if true\n',
        'x := {"audiences": "fan-out/other"}\n',
    ],
)
def test_a_code_without_an_annotation_is_an_error(use: str):
    with pytest.raises(PolicyBroken, match=r"^b\.rego:2: .*no rule's annotation"):
        annotations.table({"a.rego": RULE, "b.rego": "package b\n" + use})


def test_an_annotation_without_a_use_is_an_error():
    text = RULE.replace('{"code": "fan-out/audiences"}', '"x" # fan-out/audiences')

    with pytest.raises(PolicyBroken, match=r"^a\.rego:3: .*no rule gives it"):
        annotations.table({"a.rego": text})


def test_method_names_media_types_and_comments_are_no_codes():
    text = 'package b\n# "fan-out/other"\nx if { input.action.name == "tools/call" }\ny := "a \\" # fan-out/other"\n'

    assert annotations.table({"a.rego": RULE, "b.rego": text}).keys() == {"fan-out/audiences"}


def test_the_name_of_a_tool_is_no_code_though_its_upstream_is_called_as_a_family_is():
    text = (
        'package b\nx if { input.resource.id == "fan-out/list" }\n'
        'x if { input.resource.id in {"fan-out/read", "fan-out/write"} }\n'
    )

    assert annotations.table({"a.rego": RULE, "b.rego": text}).keys() == {"fan-out/audiences"}
