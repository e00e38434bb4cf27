"""Operands of built-in functions, checked as OPA checks them. Pure."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# A value of Rego is of any type, and the type of such a value is unknown.

from __future__ import annotations

from gateway.policy.plan.values import EvaluationFailed, Value, integer, members


def text(value: Value, place: int) -> str:
    """Return an operand that is a string. Raise `EvaluationFailed` for another value."""
    if type(value) is str:
        return value
    raise EvaluationFailed(f"operand {place} must be a string")


def whole(value: Value, place: int) -> int:
    """Return an operand that is an integer of 64 bits."""
    found = integer(value)
    if found is None:
        raise EvaluationFailed(f"operand {place} must be an integer")
    return found


def array(value: Value, place: int) -> list[Value]:
    if type(value) is list:
        return value
    raise EvaluationFailed(f"operand {place} must be an array")


def mapping(value: Value, place: int) -> dict[Value, Value]:
    if type(value) is dict:
        return value
    raise EvaluationFailed(f"operand {place} must be an object")


def collection(value: Value, place: int) -> set[Value]:
    """Return an operand that is a set, with its members as keys."""
    if type(value) is set:
        return value
    raise EvaluationFailed(f"operand {place} must be a set")


def listed(value: Value, place: int) -> list[Value]:
    """Return the items of an array, or the members of a set in order."""
    if type(value) is list:
        return value
    if type(value) is set:
        return members(value)
    raise EvaluationFailed(f"operand {place} must be a set or an array")


def texts(value: Value, place: int) -> list[str]:
    """Return the strings of an array or a set. Raise `EvaluationFailed` if another value is in it."""
    found = listed(value, place)
    if {*map(type, found)} - {str}:
        raise EvaluationFailed(f"operand {place} must be a list of strings")
    return found
