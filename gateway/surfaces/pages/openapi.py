"""The control interface in OpenAPI 3.1, made from the types of its operations. Pure.

Operations without a route are on the socket alone: `x-socket` has all operations by their names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.base.control.operations import Operation

_TEMPLATE: Final = "#/components/schemas/{name}"
_STATUSES: Final = ("400", "401", "403", "404", "409", "503")
_FIELD: Final = re.compile(r"\{(\w+)\}")


def describe_api(operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the description of `/api` and of the socket."""
    listed = list(operations)
    types = [kind for operation in listed for kind in (operation.request, operation.answer)]
    shown, components = msgspec.json.schema_components(types, ref_template=_TEMPLATE)
    schemas = {each.name: shown[2 * number : 2 * number + 2] for number, each in enumerate(listed)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "opagate", "version": "1"},
        "paths": _describe_paths(listed, components, schemas),
        "x-socket": {operation.name: _describe_request(operation, *schemas[operation.name]) for operation in listed},
        "components": {
            "securitySchemes": dict.fromkeys(("approver", "operator"), _TOKEN),
            "schemas": dict(sorted(components.items())),
            "responses": {"Error": {"description": "The request was refused.", "content": _json(_ERROR)}},
        },
    }


def _describe_paths(
    operations: list[Operation], components: dict[str, Any], schemas: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        if operation.route is not None:
            method, path = operation.route
            paths.setdefault(path, {})[method.lower()] = _describe_route(
                operation, components, *schemas[operation.name]
            )
    return paths


def _describe_request(operation: Operation, request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    described = {"summary": operation.summary, "for": operation.role, "fields": request, "answer": answer}
    return described | ({"isStream": True} if operation.is_stream else {})


def _describe_route(
    operation: Operation, components: dict[str, Any], request: dict[str, Any], answer: dict[str, Any]
) -> dict[str, Any]:
    method, path = operation.route or ("GET", "")
    named = _FIELD.findall(path)
    body = components[request["$ref"].rpartition("/")[2]]
    errors = {status: {"$ref": "#/components/responses/Error"} for status in _STATUSES}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": operation.name.replace("/", "-"),
        "security": [{operation.role: []}],
        "responses": {"200": {"description": "The answer.", "content": _json(answer)}, **errors},
    }
    parameters = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in named]
    if method == "GET":
        properties = _leave_out(body, named)["properties"]
        parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]
    if parameters:
        described["parameters"] = parameters
    if method == "POST":
        described["requestBody"] = {"required": True, "content": _json(_leave_out(body, named))}
    return described


def _leave_out(body: dict[str, Any], named: list[str]) -> dict[str, Any]:
    """Return the schema of a body without the fields that the path names."""
    properties = {name: schema for name, schema in body["properties"].items() if name not in named}
    required = [name for name in body.get("required", ()) if name not in named]
    return {**body, "properties": properties, "required": required}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


_TEXT: Final = {"type": "string"}
_TOKEN: Final = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
_ERROR: Final = {
    "type": "object",
    "properties": {"error": {"type": "object", "properties": {"code": _TEXT, "message": _TEXT, "remedy": _TEXT}}},
}
