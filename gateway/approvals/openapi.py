"""The HTTP interface of the desk in OpenAPI 3.1. Pure."""

from __future__ import annotations

from typing import Any

from gateway.approvals.model import SCOPES, WARNINGS


def describe_api() -> dict[str, Any]:
    """Return the description of `/api/approvals`."""
    question = {"$ref": "#/components/schemas/Question"}
    errors = {str(status): {"$ref": "#/components/responses/Error"} for status in (400, 401, 403, 404, 409, 503)}
    by_id = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
    endorsement = {"$ref": "#/components/schemas/Endorsement"}
    endorsed = {"type": "object", "properties": {"endorsements": {"type": "array", "items": endorsement}}}
    listed = {"type": "object", "properties": {"questions": {"type": "array", "items": question}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "opagate approvals", "version": "1"},
        "security": [{"approver": []}],
        "paths": {
            "/api/approvals": {"get": {"summary": "List the open questions", "responses": _ok(listed)}},
            "/api/approvals/{id}": {
                "get": {"summary": "Show one question", "parameters": by_id, "responses": _ok(question) | errors}
            },
            "/api/approvals/{id}/vote": {
                "post": {
                    "summary": "Approve or deny a call",
                    "parameters": by_id,
                    "requestBody": {"required": True, "content": _json({"$ref": "#/components/schemas/Vote"})},
                    "responses": _ok(question) | errors,
                }
            },
            "/api/endorsements": {"get": {"summary": "List the endorsements", "responses": _ok(endorsed) | errors}},
            "/api/endorsements/revoke": {
                "post": {
                    "summary": "Revoke the endorsements that fit every given field",
                    "requestBody": {"required": True, "content": _json({"$ref": "#/components/schemas/Selection"})},
                    "responses": _ok(endorsed) | errors,
                }
            },
        },
        "components": {
            "securitySchemes": {"approver": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": {
                "Vote": _VOTE,
                "Question": _QUESTION,
                "Endorsement": _ENDORSEMENT,
                "Selection": _SELECTION,
            },
            "responses": {"Error": {"description": "The request was refused.", "content": _json(_ERROR)}},
        },
    }


def _ok(schema: dict[str, Any]) -> dict[str, Any]:
    return {"200": {"description": "The answer.", "content": _json(schema)}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


_TEXT = {"type": "string"}
_VOTE = {
    "type": "object",
    "required": ["answer", "shown"],
    "additionalProperties": False,
    "properties": {
        "answer": {"enum": ["approve", "deny"]},
        "shown": {"type": "string", "description": "The field `shown` of the question that the person saw."},
        "scopes": {"type": "array", "items": {"enum": list(SCOPES)}, "default": ["once"]},
        "end_task": {"type": "boolean", "default": False, "description": "With `deny`: end the task too."},
    },
}
_QUESTION = {
    "type": "object",
    "required": ["id", "code", "state", "target", "agent", "reasons", "asked", "expires", "votes"],
    "properties": {
        "id": _TEXT,
        "code": {"type": "string", "pattern": "^[A-Z]{4}$"},
        "state": _TEXT,
        "target": _TEXT,
        "agent": _TEXT,
        "user": {"type": ["string", "null"]},
        "asked": {"type": "string", "format": "date-time"},
        "expires": {"type": "string", "format": "date-time"},
        "votes": _TEXT,
        "warnings": {
            "type": "array",
            "items": {"enum": list(WARNINGS)},
            "description": "What to look at closely: `letters` may look like others, `order` may not be the order on a screen.",
        },
        "recurs": {
            "type": ["object", "null"],
            "description": "The values that a yes with the scope `recurring` carries over to later tasks of this kind.",
            "properties": {
                "kind": _TEXT,
                "seconds": {"type": "integer"},
                "asked": {"type": "array", "items": _TEXT},
                "values": {"type": "object"},
            },
        },
    },
}
_TIME = {"type": "string", "format": "date-time"}
_ENDORSEMENT = {
    "type": "object",
    "required": ["id", "kind", "tool", "agent", "principal", "asked", "approved_by", "granted", "expires"],
    "properties": {
        "id": _TEXT,
        "kind": {"type": "string", "description": "The kind that later tasks have to declare."},
        "tool": _TEXT,
        "agent": _TEXT,
        "user": {"type": ["string", "null"]},
        "principal": {"type": "string", "description": "Key of the agent with its user and delegates."},
        "asked": {"type": "array", "items": _TEXT, "description": "Pointers of the arguments that ask no more."},
        "values": {
            "type": ["object", "null"],
            "description": "Values by pointer; `null` if the digest alone is known.",
        },
        "approved_by": {"type": "array", "items": {"type": "object", "properties": {"id": _TEXT, "issuer": _TEXT}}},
        "approval": {"type": "string", "description": "The question that was answered."},
        "granted": _TIME,
        "expires": _TIME,
        "used": {"type": ["string", "null"], "format": "date-time", "description": "Time of the last call with it."},
    },
}
_SELECTION = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "id": _TEXT,
        "principal": {"type": "string", "description": "An agent, its user, or the key of both."},
        "tool": _TEXT,
        "kind": _TEXT,
        "all": {"type": "boolean", "default": False},
    },
}
_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "object", "properties": {"code": _TEXT, "message": _TEXT, "remedy": _TEXT}}},
}
