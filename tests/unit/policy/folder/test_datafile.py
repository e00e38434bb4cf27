from __future__ import annotations

import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy.folder import data_files


def test_yaml_and_json_give_the_same_values():
    text = "a: [1, -2.5, true, null, ~, x, '1', \"no\"]\nb:\n  c: |\n    text\n  d: spiffe://corp/agent/*\n  e: 1.2.3\n"
    value = {
        "a": [1, -2.5, True, None, None, "x", "1", "no"],
        "b": {"c": "text\n", "d": "spiffe://corp/agent/*", "e": "1.2.3"},
    }

    assert data_files.parse_data(text, "data.yaml") == value
    assert data_files.parse_data('{"a": [1, {"b": null}]}', "data.json") == {"a": [1, {"b": None}]}


def test_an_empty_file_is_an_empty_mapping():
    assert data_files.parse_data("# nothing\n", "data.yml") == {}


@pytest.mark.parametrize(
    "scalar",
    [
        "no",
        "Yes",
        "on",
        "OFF",
        "y",
        "N",
        "010",
        "0x1f",
        "0o17",
        "1_000",
        "+1",
        "1e3",
        "1.",
        ".5",
        "1:30",
        "2026-11-24",
        "2026-11-24T00:00:00Z",
        ".inf",
        "-.Inf",
        ".nan",
        "=",
    ],
)
def test_a_scalar_that_yaml_readers_do_not_read_alike_is_refused(scalar: str):
    with pytest.raises(PolicyBroken, match=r"^data\.yaml:2: .*put it in quotes"):
        data_files.parse_data(f"a: 1\nb: {scalar}\n", "data.yaml")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\na: 2\n", 2, "given twice"),
        ("x:\n  a: 1\n  'a': 2\n", 3, "given twice"),
        ("1: x\n", 1, "is not text"),
        ("? [a]\n: x\n", 1, "is not text"),
        ("a: &x 1\nb: *x\n", 2, "aliases"),
        ("a: {<<: {b: 1}}\n", 1, "quotes"),
        ("a: !!python/name:os.system ''\n", 1, "tag"),
        ("a: !!binary 'aGk='\n", 1, "tag"),
        ("a: [1\nb: 2\n", 2, "not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML"),
    ],
)
def test_bad_yaml_is_named_by_file_and_line(text: str, line: int, problem: str):
    with pytest.raises(PolicyBroken, match=problem) as raised:
        data_files.parse_data(text, "g/data.yaml")

    assert raised.value.message.startswith(f"g/data.yaml:{line}: ")
    assert raised.value.remedy


def test_yaml_with_a_forbidden_character_is_named():
    with pytest.raises(PolicyBroken, match=r"^data\.yaml:1: not YAML"):
        data_files.parse_data("a: \x07\n", "data.yaml")
    with pytest.raises(PolicyBroken, match=r"^data\.yaml:1: not YAML"):
        data_files.parse_data('a: "\\U00110000"\n', "data.yaml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1, "a": 2}', "given twice"),
        ('{"a": NaN}', "not a JSON value"),
        ('{\n"a": }', r"data\.json:2: not JSON"),
        ("[" * 100_000, "nested"),
    ],
)
def test_bad_json_is_refused(text: str, problem: str):
    with pytest.raises(PolicyBroken, match=problem):
        data_files.parse_data(text, "data.json")


def test_yaml_nested_without_end_is_refused():
    with pytest.raises(PolicyBroken, match="nesting"):
        data_files.parse_data("[" * 5_000 + "]" * 5_000, "data.yaml")
