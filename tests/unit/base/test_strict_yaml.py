"""YAML that is refused where a person could not see what it says."""

from __future__ import annotations

import pytest
import yaml

from gateway.base import strict_yaml


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With libyaml, and where PyYAML was built without it."""
    monkeypatch.setattr(strict_yaml, "_LOADER", getattr(yaml, request.param))


def test_what_is_plain_is_read():
    text = "a: [1, -2.5, true, null, 'no']\nb:\n  c: |\n    text\n  a: x\n"

    assert strict_yaml.value(text) == {"a": [1, -2.5, True, None, "no"], "b": {"c": "text\n", "a": "x"}}


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_of_nothing_there_is_nothing(text: str):
    assert strict_yaml.node(text) is None
    assert strict_yaml.value(text) is None


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("a: 1\na: 2\n", 2, 1, "the key 'a' is given twice"),
        ("x:\n- a: 1\n  'a': 2\n", 3, 3, "the key 'a' is given twice"),
        ('a:\n  "b\\nc": 1\n', 2, 3, "a key has a character that does not print: 'b\\nc'"),
        ('"b\\u202e": 1\n', 1, 1, "a key has a character that does not print: 'b\\u202e'"),
        ("1: a\n1: b\n", 2, 1, "the key '1' is given twice"),
        ("a: 1\n<<: {a: 2}\n", 2, 1, "<< is not read"),
        ("x: {<<: [{a: 1}, {a: 2}]}\n", 1, 5, "<< is not read"),
        ("a: &x 1\nb: *x\n", 2, 4, "aliases are not read"),
        ("a: &x [*x]\n", 1, 8, "aliases are not read"),
        ("- &a [x]\n- &b [*a, *a]\n- [*b, *b]\n", 2, 7, "aliases are not read"),
        ("a: b: c\n", 1, 5, "not YAML: mapping values are not allowed"),
        ("a: 1\n---\nb: 2\n", 2, 1, "not YAML: but found another document"),
        ("a:\n\tb: 1\n", 2, 1, "not YAML: the line begins with a tab"),
        ("a: \x07\n", 1, 1, "not YAML: unacceptable character"),
        ("a:\n  " + "[" * 300 + "]" * 300, 2, 103, "nested too deeply"),
    ],
)
def test_what_is_not_plain_is_refused_where_it_stands(text: str, line: int, column: int, problem: str):
    for read in (strict_yaml.node, strict_yaml.value):
        with pytest.raises(strict_yaml.UnreadableYaml) as raised:
            read(text)

        assert (raised.value.line, raised.value.column) == (line, column)
        assert raised.value.problem.startswith(problem)
        assert "\n" not in raised.value.problem


@pytest.mark.parametrize("text", ["x:\n  1: a\n  0x1: b\n", "x:\n  yes: a\n  true: b\n", "x:\n  ~: a\n  null: b\n"])
def test_a_key_given_twice_in_two_spellings_is_refused(text: str):
    with pytest.raises(strict_yaml.UnreadableYaml, match="two of the keys are the same") as raised:
        strict_yaml.value(text)

    assert (raised.value.line, raised.value.column) == (2, 3)


def test_a_text_may_be_what_elsewhere_would_be_merged():
    assert strict_yaml.value('"<<": {a: 1}\nb: "<<"\n') == {"<<": {"a": 1}, "b": "<<"}


@pytest.mark.parametrize("text", ["- " * 3_000, "[" * 3_000 + "]" * 3_000])
def test_no_depth_is_too_much_to_be_refused(text: str):
    with pytest.raises(strict_yaml.UnreadableYaml, match="nest"):
        strict_yaml.node(text)


@pytest.mark.parametrize(
    "scalar",
    [
        "2026-13-01",
        "2020-01-01T25:00:00Z",
        "0x_",
        "!!bool x",
        "!!int x",
        "!!float x",
        "!!timestamp x",
        "!!python/name:os.system x",
    ],
)
def test_a_value_that_is_not_what_it_says_is_refused_where_it_stands(scalar: str):
    with pytest.raises(strict_yaml.UnreadableYaml) as raised:
        strict_yaml.value(f"a: 1\nb: [{scalar}]\n")

    assert (raised.value.line, raised.value.column) == (2, 5)
    assert "os.system x" not in raised.value.problem


def test_a_character_that_there_is_not_is_refused():
    with pytest.raises(strict_yaml.UnreadableYaml, match="not YAML"):
        strict_yaml.node('a: "\\U00110000"\n')
