"""JSON Schemas of the files that people write, for editors and for checks before a deployment. The gateway reads its files by
the models themselves: a schema knows the form of each setting, and none of the rules between settings."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast

from pydantic import JsonValue, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from gateway.config.labels import LabelsFile
from gateway.config.settings import Configuration
from gateway.config.values import written_duration
from gateway.model.target import Effect, Sensitivity

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def describe_configuration() -> dict[str, Any]:
    """Return the schema of `gateway.yaml`."""
    return describe(TypeAdapter(Configuration), "gateway.yaml of an opagate gateway")


def describe_labels() -> dict[str, Any]:
    """Return the schema of a labels file."""
    return describe(TypeAdapter(LabelsFile), "Labels of the upstreams' tools of an opagate gateway")


def describe(model: TypeAdapter[Any], title: str) -> dict[str, Any]:
    """Return the schema of a file that has a model."""
    found = model.json_schema(by_alias=True, mode="validation", schema_generator=_Generator)
    return {"$schema": DIALECT, "title": title, **cast("dict[str, Any]", _tidy(found))}


class _Generator(GenerateJsonSchema):
    """A generator with defaults in the form that the file has."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, timedelta):
            return written_duration(dft)
        if isinstance(dft, Path):
            return str(dft)
        return cast("object", super().encode_default(dft))


def _tidy(value: JsonValue) -> JsonValue:
    """Return a schema without generated titles, bounds on durations and defaults of whole sections."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: {key: _tidy(item) for key, item in below.items()}
        if name in {"properties", "$defs"} and isinstance(below, dict)
        else _tidy(below)
        for name, below in value.items()
        if not _is_noise(name, below)
    }


def _is_noise(name: str, value: JsonValue) -> bool:
    return (
        name in {"title", "discriminator"}
        or (name in {"gt", "ge"} and isinstance(value, str))
        or (name == "default" and (value is None or isinstance(value, dict)))
    )


# --- grants ------------------------------------------------------------------------------------------

_TEXT: Final[dict[str, Any]] = {"type": "string"}
_PATTERN: Final[dict[str, Any]] = {"type": "string", "pattern": r"^[^*]*\*?[^*]*$"}
_FLAG: Final[dict[str, Any]] = {"const": True}
_NUMBER: Final[dict[str, Any]] = {"type": "number"}
_AUTH_METHODS: Final = ("jwt", "spiffe-jwt", "spiffe-x509", "development", "anonymous")


def describe_grants() -> dict[str, Any]:
    """Return the schema of a grants file. Rego judges each grant: `gateway.grants.problems`."""
    listed = {"anyOf": [_list_of({"$ref": "#/$defs/grant"}, 0), {"const": "reads"}]}
    return {
        "$schema": DIALECT,
        "title": "Grants of an opagate gateway",
        **_mapping({"upstreams": {"type": "object", "additionalProperties": listed}}),
        "required": ["upstreams"],
        "$defs": {"grant": _grant(), "condition": describe_condition(), "approvers": _approvers()},
    }


def _grant() -> dict[str, Any]:
    patterns = ("agents", "issuers", "tools", "resources", "prompts", "users")
    texts = ("groups", "scopes", "environments", "tenants", "arguments")
    fields: dict[str, Any] = {
        "id": _TEXT,
        "description": _TEXT,
        "owner": _TEXT,
        "reason": _TEXT,
        "until": {"type": "string", "format": "date-time"},
        **{name: _list_of(_PATTERN) for name in patterns},
        **{name: _list_of(_TEXT) for name in texts},
        "effects": _list_of({"enum": list(Effect)}),
        "auth_methods": _list_of({"enum": list(_AUTH_METHODS)}),
        "sensitivity": {"enum": list(Sensitivity)},
        "when": {
            "type": "object",
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {"$ref": "#/$defs/condition"},
        },
        "approval": {"anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/approvers"}]},
    }
    return {
        **_mapping(fields),
        "required": ["id", "agents", "issuers"],
        "anyOf": [{"required": [name]} for name in ("tools", "resources", "prompts")],
    }


def describe_condition() -> dict[str, Any]:
    """Return the schema of a condition on an argument (`rego/gateway/lib/conditions`)."""
    tests: dict[str, Any] = {
        "one_of": {"type": "array", "minItems": 1},
        "equals": {},
        "matches": _TEXT,
        "under": {"type": "string", "minLength": 1},
        "host_in": _list_of(_TEXT),
        **dict.fromkeys(("min", "max", "max_items"), _NUMBER),
        **dict.fromkeys(("present", "absent"), _FLAG),
        "optional": {"type": "boolean"},
    }
    said = [{"required": [name]} for name in tests if name != "optional"]
    return {**_mapping(tests), "anyOf": said}


def _approvers() -> dict[str, Any]:
    whole = {"type": "integer", "minimum": 1}
    return _mapping(
        {
            "count": whole,
            "group": _TEXT,
            "exclude": {"type": "array", "items": {"enum": ["requester", "user", "delegates"]}},
            "assurance": {"enum": ["chat", "peer", "login", "mfa", "passkey"]},
            **dict.fromkeys(("max_age_seconds", "expires_seconds", "recur_seconds"), whole),
            "scopes": _list_of({"enum": ["once", "destination", "limit", "recurring"]}),
        }
    )


def _mapping(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _list_of(items: dict[str, Any], least: int = 1) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least}
