from __future__ import annotations

from typing import Any, cast

import jsonschema
import pytest

from gateway.policy import contract


@pytest.mark.parametrize("name", ["input.json", "decision/result.json"])
def test_a_schema_is_valid_and_has_no_references(name: str):
    schema = contract.schemas()[name]

    jsonschema.Draft7Validator.check_schema(schema)
    assert "$ref" not in str(schema)
    assert "$defs" not in str(schema)


def test_the_input_schema_knows_no_other_fields():
    assert all(
        node["additionalProperties"] is False
        for node in _objects(contract.schemas()["input.json"])
        if node.get("properties")
    )


def test_the_result_schema_demands_every_part():
    assert set(contract.schemas()["decision/result.json"]["required"]) == {
        "version",
        "effect",
        "reasons",
        "obligations",
        "policy",
    }


def _objects(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for item in cast("list[Any]", node) for found in _objects(item)]
    if not isinstance(node, dict):
        return []
    mapping = cast("dict[str, Any]", node)
    inner = [found for item in mapping.values() for found in _objects(item)]
    return [mapping, *inner] if mapping.get("type") == "object" else inner
