"""The built-in functions that a plan may call, by their names in Rego. Pure.

A plan that calls another function is refused when it is read. OPA's own cases hold each of these to OPA
(`tests/policy/plan`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from gateway.policy.plan import collection_functions as collections
from gateway.policy.plan import notation_functions as notations
from gateway.policy.plan import numbers, regex_functions, values
from gateway.policy.plan import text_functions as texts

FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": numbers.absolute,
    "and": collections.set_and,
    "array.concat": collections.array_concat,
    "array.reverse": collections.array_reverse,
    "array.slice": collections.array_slice,
    "base64.decode": notations.base64_decode,
    "base64.encode": notations.base64_encode,
    "base64.is_valid": notations.base64_is_valid,
    "base64url.decode": notations.base64url_decode,
    "base64url.encode": notations.base64url_encode,
    "base64url.encode_no_pad": notations.base64url_encode_no_pad,
    "bits.and": numbers.bits_and,
    "bits.negate": numbers.bits_negate,
    "bits.or": numbers.bits_or,
    "bits.xor": numbers.bits_xor,
    "ceil": numbers.ceil,
    "concat": texts.concat,
    "contains": texts.contains,
    "count": collections.count,
    "div": numbers.divide,
    "endswith": texts.endswith,
    "equal": values.equal,
    "floor": numbers.floor,
    "format_int": collections.format_int,
    "graph.reachable": collections.reachable,
    "gt": values.greater,
    "gte": values.greater_or_equal,
    "hex.decode": notations.hex_decode,
    "hex.encode": notations.hex_encode,
    "indexof": texts.indexof,
    "indexof_n": texts.indexof_n,
    "internal.member_2": collections.member,
    "internal.member_3": collections.member_with_key,
    "intersection": collections.intersection,
    "is_array": collections.type_test(list),
    "is_boolean": collections.type_test(bool),
    "is_null": collections.type_test(type(None)),
    "is_number": collections.type_test(int, Decimal),
    "is_object": collections.type_test(dict),
    "is_set": collections.type_test(set),
    "is_string": collections.type_test(str),
    "json.is_valid": collections.json_is_valid,
    "json.unmarshal": collections.json_unmarshal,
    "lower": texts.lower,
    "lt": values.less,
    "lte": values.less_or_equal,
    "max": collections.greatest,
    "min": collections.least,
    "minus": numbers.minus,
    "mul": numbers.multiply,
    "neq": collections.not_equal,
    "net.cidr_contains": notations.cidr_contains,
    "net.cidr_is_valid": notations.cidr_is_valid,
    "object.filter": collections.object_filter,
    "object.get": collections.object_get,
    "object.keys": collections.object_keys,
    "object.remove": collections.object_remove,
    "object.subset": collections.object_subset,
    "object.union": collections.object_union,
    "object.union_n": collections.object_union_n,
    "or": collections.set_or,
    "plus": numbers.plus,
    "product": numbers.product,
    "regex.find_all_string_submatch_n": regex_functions.find_all_submatches,
    "regex.find_n": regex_functions.find_n,
    "regex.is_valid": regex_functions.is_valid,
    "regex.match": regex_functions.match,
    "regex.replace": regex_functions.replace,
    "regex.split": regex_functions.split,
    "rem": numbers.remainder,
    "replace": texts.replace,
    "round": numbers.rounded,
    "semver.compare": notations.semver_compare,
    "semver.is_valid": notations.semver_is_valid,
    "sort": collections.sort,
    "split": texts.split,
    "sprintf": texts.sprintf,
    "startswith": texts.startswith,
    "strings.any_prefix_match": texts.any_prefix_match,
    "strings.any_suffix_match": texts.any_suffix_match,
    "strings.count": texts.count_in,
    "strings.replace_n": texts.replace_n,
    "strings.reverse": texts.reverse,
    "substring": texts.substring,
    "sum": numbers.total,
    "time.add_date": notations.add_date,
    "time.clock": notations.clock,
    "time.date": notations.day,
    "time.diff": notations.difference,
    "time.parse_rfc3339_ns": notations.parse_rfc3339_ns,
    "time.weekday": notations.weekday,
    "to_number": collections.to_number,
    "trim": texts.trim,
    "trim_left": texts.trim_left,
    "trim_prefix": texts.trim_prefix,
    "trim_right": texts.trim_right,
    "trim_space": texts.trim_space,
    "trim_suffix": texts.trim_suffix,
    "type_name": collections.type_name,
    "union": collections.union,
    "upper": texts.upper,
    "walk": values.walk,
}

UNDEFINED: Final = frozenset({"max", "min"})
"""The functions that may have no value."""


def python_name(name: str) -> str:
    """Return the name of a function in Python."""
    return "b_" + name.replace(".", "_")
