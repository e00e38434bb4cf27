"""Values against schemas that an upstream wrote, hostile ones among them."""

from __future__ import annotations

import json
import socket
from typing import Any, cast

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.json.schema import Schema, UnusableSchema, compile_schema
from tests import effort

SIZE = 200


def usable(document: Any) -> Schema:
    found = compile_schema(document)
    assert isinstance(found, Schema), found
    return found


def problem(document: Any) -> str:
    found = compile_schema(document)
    assert isinstance(found, UnusableSchema)
    return found.problem


def nested(levels: int, value: Any = None) -> Any:
    found: Any = {} if value is None else value
    for _ in range(levels):
        found = {"a": found}
    return found


CALENDAR = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 10},
        "limit": {"type": "integer"},
        "when": {"type": "object", "properties": {"day": {"type": "string", "pattern": "^\\d+$"}}},
        "who": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
    },
    "required": ["title"],
}


@pytest.mark.parametrize(
    ("value", "pointer", "said"),
    [
        ({"title": 1}, "/title", 'not of type "string"'),
        ({"title": "a", "limit": "3"}, "/limit", 'not of type "integer"'),
        ({"title": "ghp_secret_value"}, "/title", "longer than 10"),
        ({"title": "a", "when": {"day": "ghp_secret"}}, "/when/day", "does not match"),
        ({"title": "a", "who": [{"name": "b"}, {"name": 3}]}, "/who/1/name", "not of type"),
        ({}, "", "required"),
        ([], "", "not of type"),
    ],
)
def test_a_part_that_does_not_fit_is_named_without_its_value(value: Any, pointer: str, said: str):
    found = usable(CALENDAR).find_misfit(value, SIZE)
    assert found is not None
    assert found.pointer == pointer
    assert said in found.problem
    assert "secret" not in found.problem


def test_a_value_that_fits_has_no_misfit():
    value = {"title": "a", "limit": 3, "when": {"day": "3"}, "who": [{"name": "b"}]}
    assert usable(CALENDAR).find_misfit(value, SIZE) is None
    assert usable(CALENDAR).find_unnamed(value) is None


def test_the_names_of_a_value_are_not_repeated():
    schema: Any = {"properties": {"a": {"properties": {"b": {}}, "additionalProperties": False}}}
    found = usable(schema).find_misfit({"a": {"ghp_secret": 1}}, SIZE)
    assert found is not None
    assert (found.pointer, "secret" in found.problem) == ("/a", False)


# --- members that the schema does not name -----------------------------------------------------------------


UNNAMED: list[Any] = [
    (CALENDAR, {"title": "a", "x": 1}, "/x"),
    (CALENDAR, {"title": "a", "when": {"x/y": 1}}, "/when/x~1y"),
    (CALENDAR, {"title": "a", "who": [{"name": "b"}, {"x": {}}]}, "/who/1/x"),
    ({"properties": {}}, {"a": 1}, "/a"),
    ({"properties": {"a": {}}, "patternProperties": {"^x-": {}}}, {"a": 1, "x-a": 2, "y": 3}, "/y"),
    ({"properties": {"a": {}}, "additionalProperties": {"properties": {"b": {}}}}, {"z": {"c": 1}}, "/z/c"),
    ({"allOf": [{"properties": {"a": {}}}, {"$ref": "#/$defs/b"}], "$defs": {"b": {"properties": {"b": {}}}}}, {"c": 1}, "/c"),
    ({"anyOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, {"a": 1, "b": 2, "c": 3}, "/c"),
    ({"properties": {"a": {}}, "if": {"required": ["a"]}, "then": {"properties": {"t": {}}}}, {"a": 1, "e": 1}, "/e"),
    ({"properties": {"a": {}}, "dependentSchemas": {"a": {"properties": {"d": {}}}}}, {"a": 1, "x": 1}, "/x"),
    ({"$defs": {"n": {"properties": {"v": {}, "n": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"}, {"n": {"n": {"x": 1}}}, "/n/n/x"),
    ({"properties": {"a": {"prefixItems": [{"properties": {"b": {}}}]}}}, {"a": [{"c": 1}]}, "/a/0/c"),
    ({"$ref": "#node", "$defs": {"n": {"$anchor": "node", "properties": {"a": {}}}}}, {"b": 1}, "/b"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value", "pointer"), UNNAMED)
def test_a_member_without_a_name_in_the_schema_is_found(schema: Any, value: Any, pointer: str):
    found = usable(schema).find_unnamed(value)
    assert found is not None
    assert found.pointer == pointer


NAMED: list[Any] = [
    ({"type": "object"}, {"anything": {"at": ["all"]}}),
    ({}, {"a": 1}),
    ({"type": "object", "required": ["a"]}, {"a": 1, "b": 2}),
    ({"properties": {"a": {}}, "additionalProperties": True}, {"b": 1}),
    ({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, {"b": 1}),
    ({"properties": {"a": {}}, "unevaluatedProperties": {}}, {"b": 1}),
    ({"properties": {"a": {"type": "object"}}}, {"a": {"b": {"c": 1}}}),
    ({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}], "unevaluatedProperties": False}, {"a": 1, "b": 1}),
    ({"oneOf": [{"properties": {"k": {"const": 1}, "a": {}}}, {"properties": {"k": {"const": 2}, "b": {}}}]}, {"k": 2, "b": 1}),
    ({"properties": {"a": {}}, "if": {"required": ["a"]}, "then": {"properties": {"t": {}}}}, {"a": 1, "t": 1}),
    ({"properties": {"env": {"type": "object", "additionalProperties": {"type": "string"}}}}, {"env": {"PATH": "/bin"}}),
    ({"patternProperties": {"(?<=a)b": {}}, "properties": {}}, {"anything": 1}),
    ({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"properties": {"b": {}}}}, "$ref": "#/definitions/a"}, {"b": 1}),
    ({"properties": {"a": {"type": ["array", "null"], "items": {"type": "string"}}}}, {"a": None}),
    ({"properties": {"a": False}}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value"), NAMED)
def test_a_member_that_any_part_names_or_allows_passes(schema: Any, value: Any):
    assert usable(schema).find_unnamed(value) is None


# --- dialects ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "fits"),
    [(None, False), ("https://json-schema.org/draft/2020-12/schema", False), ("http://json-schema.org/draft-07/schema#", True)],
)  # fmt: skip
def test_the_schema_names_its_dialect_and_2020_12_is_the_default(dialect: str | None, *, fits: bool):
    """`prefixItems` is unknown to draft 7."""
    schema: dict[str, Any] = {"properties": {"a": {"prefixItems": [{"type": "string"}]}}}
    if dialect is not None:
        schema["$schema"] = dialect
    assert (usable(schema).find_misfit({"a": [1]}, SIZE) is None) is fits


@pytest.mark.parametrize("value", [{"n": 3}, {"n": 3.0}, {"n": 2**53}])
def test_an_integer_is_a_number_without_a_fraction(value: Any):
    assert usable({"properties": {"n": {"type": "integer", "maximum": 10**30}}}).find_misfit(value, SIZE) is None


# --- hostile schemas -----------------------------------------------------------------------------------------


def test_no_reference_is_fetched(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for place in (
        "http://127.0.0.1:9/x.json",
        "https://evil.example/x",
        "file:///etc/passwd",
        "x.json",
        "//evil.example/x",
    ):
        for schema in ({"$ref": place}, {"properties": {"a": {"$ref": place}}}, {"$id": place, "$ref": "other"}):
            assert isinstance(compile_schema(schema), UnusableSchema), schema
    assert isinstance(compile_schema({"$schema": "https://evil.example/meta"}), UnusableSchema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/none"},
        {"$ref": "#none"},
        {"allOf": [{"$ref": "#/allOf/0"}]},
        {"$defs": {f"k{i}": {"allOf": [{"$ref": f"#/$defs/k{j}"} for j in range(12)]} for i in range(12)}, "$ref": "#/$defs/k0"},
        {"$defs": {"a": {"$id": "https://a.example/b", "$ref": "#/x"}}, "$ref": "#/$defs/a"},
        {"type": "nonsense"},
        {"properties": {"a": {"type": "string", "required": True}}},
        {"properties": [1]},
        {"pattern": "("},
        {"pattern": "(a{1000}){1000}"},
        {"enum": [{"x": index} for index in range(20_000)]},
        {"anyOf": [{"pattern": f"a{index}"} for index in range(300)]},
        {"$id": "no address \u0000"},
    ],
)  # fmt: skip
def test_a_schema_that_nothing_can_be_checked_against_is_unusable(schema: Any):
    assert problem(schema)


def test_a_schema_that_is_nested_beyond_measure_is_unusable():
    deep: Any = {}
    for _ in range(5_000):
        deep = {"not": deep}
    assert problem(deep)


def test_references_that_double_are_unusable():
    parts: Any = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(60)}
    assert "too many times" in problem({"$defs": {**parts, "d60": {}}, "$ref": "#/$defs/d0"})


def doubling() -> Any:
    """A schema that looks twice at each level of a value, below each of two looks."""
    again = {"$ref": "#/$defs/t"}
    return {
        "$defs": {"t": {"type": "object", "properties": {"a": {"anyOf": [again, again]}}, "required": ["z"]}},
        **again,
    }


def test_a_value_whose_check_would_double_at_each_level_is_refused_in_time():
    schema = usable(doubling())
    with effort.at_most(1):
        found = schema.find_misfit(nested(60), 500)
        assert found is not None
        assert "too long" in found.problem
        assert schema.find_misfit(nested(3), 50) is not None


def test_a_recursive_schema_is_checked_for_values_of_any_honest_depth():
    schema = usable(
        {"$defs": {"t": {"properties": {"and": {"items": {"$ref": "#/$defs/t"}}, "or": {"items": {"$ref": "#/$defs/t"}}, "is": {"type": "string"}}}}, "$ref": "#/$defs/t"}
    )  # fmt: skip
    value: Any = {"is": "a"}
    for _ in range(20):
        value = {"and": [value, {"is": "b"}]}
    assert schema.find_misfit(value, 5_000) is None
    assert schema.find_unnamed(value) is None


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(?=a)(a|a)*(?=b)c$", "^(?!x)((a*)*)*\\d\\1$"])
def test_a_pattern_takes_no_time_without_end(pattern: str):
    schema = usable({"properties": {"a": {"pattern": pattern}}})
    with effort.at_most(1):
        assert schema.find_misfit({"a": "a" * 50_000 + "!"}, 50_100) is not None


def test_the_largest_schema_and_value_take_a_bounded_time():
    """The whole schema leads back to itself at each level, from 2,000 places."""
    properties = {f"p{index}": {"$ref": "#"} for index in range(2_000)}
    with effort.at_most(5):
        schema = usable({"properties": properties})
        value: dict[str, Any] = {f"p{index}": {} for index in range(2_000)}
        assert schema.find_misfit(value, 40_000) is None
        assert schema.find_unnamed(value) is None


def test_a_long_list_of_choices_takes_a_bounded_time():
    schema = usable(
        {"items": {"enum": [f"choice {index}" for index in range(9_000)], "required": [str(i) for i in range(9_000)]}}
    )
    value: list[Any] = [{}] * 100_000
    with effort.at_most(1):
        assert schema.find_misfit(value, 400_000) is not None


def test_a_large_honest_value_is_checked():
    rows = [{"name": "x" * 10, "n": index} for index in range(20_000)]
    schema = usable(
        {"properties": {"rows": {"items": {"properties": {"name": {"type": "string"}, "n": {"type": "integer"}}}}}}
    )
    assert schema.find_misfit({"rows": rows}, len(json.dumps(rows))) is None
    rows[-1]["n"] = "x"
    assert schema.find_misfit({"rows": rows}, len(json.dumps(rows))) is not None


# --- compared with another implementation ----------------------------------------------------------------------

SCALARS: Any = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "ab", "b1"])
VALUES: Any = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner), max_leaves=8
)  # fmt: skip
TYPES: Any = st.sampled_from(["string", "integer", "object", "array", "null", "boolean"])
SIMPLE = cast(
    "Any",
    st.fixed_dictionaries(
        {}, optional={"type": TYPES, "enum": st.lists(SCALARS, min_size=1, max_size=3), "maxLength": st.integers(0, 2)}
    ),
)


def wider(inner: Any) -> Any:
    """Return schemas with these as their parts."""
    names = st.sampled_from(["a", "b"])
    optional: dict[str, Any] = {
        "type": TYPES,
        "properties": st.dictionaries(names, inner, max_size=2),
        "required": st.lists(names, max_size=2, unique=True),
        "additionalProperties": st.booleans() | inner,
        "items": inner,
        "anyOf": st.lists(inner, min_size=1, max_size=2),
        "allOf": st.lists(inner, min_size=1, max_size=2),
        "not": inner,
    }
    return st.fixed_dictionaries({}, optional=optional)


SCHEMAS: Any = st.recursive(SIMPLE, wider, max_leaves=5)


@given(SCHEMAS, VALUES)
def test_a_value_fits_exactly_where_another_validator_says_so(schema: Any, value: Any):
    other: Any = jsonschema.Draft202012Validator(schema)
    expected = other.is_valid(value)
    assert (usable(schema).find_misfit(value, SIZE) is None) is expected
