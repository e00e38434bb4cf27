"""Built-in functions of Rego, allowed and barred. Pure.

A policy may call a function if three conditions hold:

- Both engines have it.
- The same input always gives the same answer: no clock, randomness, network, environment or printing.
- The size of the arguments bounds its cost. A caller's number could make `numbers.range` or `net.cidr_expand` endless.

The types come from `opa capabilities`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_LETTERS: Final = {
    "s": "string",
    "n": "number",
    "b": "boolean",
    "a": "array",
    "t": "set",
    "o": "object",
    "z": "null",
}

Kinds = frozenset[str] | None
"""Kinds of values, such as `string`; `None` is every kind."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The kinds that each argument of a function may have, and the kinds of its result."""

    arguments: tuple[Kinds, ...]
    result: Kinds


_BY_SIGNATURE: Final = {
    "* -> a": "walk",
    "* -> b": "is_array is_boolean is_null is_number is_object is_set is_string semver.is_valid",
    "* -> s": "json.marshal type_name",
    "a -> a": "array.reverse",
    "a -> o": "object.union_n",
    "a a -> a": "array.concat",
    "a n n -> a": "array.slice",
    "aot aot -> b": "object.subset",
    "at -> *": "max min",
    "at -> a": "sort",
    "at -> n": "product sum",
    "n -> n": "abs bits.negate ceil floor round",
    "n n -> n": "bits.and bits.or bits.xor",
    "n n -> s": "format_int",
    "n n n n -> n": "time.add_date",
    "na -> a": "time.clock time.date",
    "na -> s": "time.weekday",
    "na na -> a": "time.diff",
    "o * * -> *": "object.get",
    "o -> t": "object.keys",
    "o aot -> o": "object.filter object.remove",
    "o at -> o": "json.filter json.remove",
    "o at -> t": "graph.reachable",
    "o o -> o": "object.union",
    "o s -> s": "strings.replace_n",
    "s -> *": "json.unmarshal",
    "s -> b": "base64.is_valid json.is_valid net.cidr_is_valid regex.is_valid",
    "s -> n": "time.parse_duration_ns time.parse_rfc3339_ns",
    "s -> s": """base64.decode base64.encode base64url.decode base64url.encode base64url.encode_no_pad glob.quote_meta
        hex.decode hex.encode lower strings.reverse trim_space upper urlquery.decode urlquery.encode""",
    "s a -> s": "sprintf",
    "s at -> s": "concat",
    "s az s -> b": "glob.match",
    "s n n -> s": "substring",
    "s s -> a": "indexof_n regex.split split",
    "s s -> b": "contains endswith net.cidr_contains regex.match startswith",
    "s s -> n": "indexof semver.compare strings.count",
    "s s -> s": "trim trim_left trim_prefix trim_right trim_suffix",
    "s s n -> a": "regex.find_all_string_submatch_n regex.find_n",
    "s s s -> s": "regex.replace replace",
    "saot -> n": "count",
    "sat sat -> b": "strings.any_prefix_match strings.any_suffix_match",
    "snbz -> n": "to_number",
    "t -> t": "intersection union",
}


def _kinds(letters: str) -> Kinds:
    return None if letters == "*" else frozenset(_LETTERS[letter] for letter in letters)


def _signature(written: str) -> Signature:
    arguments, _, result = written.partition(" -> ")
    return Signature(tuple(map(_kinds, arguments.split())), _kinds(result))


BUILTINS: Final = {name: _signature(written) for written, names in _BY_SIGNATURE.items() for name in names.split()}
"""The functions that a policy may call."""

BARRED: Final = frozenset(
    """
    all any array.flatten bits.lsh bits.rsh cast_array cast_boolean cast_null cast_object cast_set cast_string
    crypto.hmac.equal crypto.hmac.md5 crypto.hmac.sha1 crypto.hmac.sha256 crypto.hmac.sha512 crypto.md5
    crypto.parse_private_keys crypto.sha1 crypto.sha256 crypto.x509.parse_and_verify_certificates
    crypto.x509.parse_and_verify_certificates_with_options crypto.x509.parse_certificate_request
    crypto.x509.parse_certificates crypto.x509.parse_keypair crypto.x509.parse_rsa_private_key graph.reachable_paths
    graphql.is_valid graphql.parse graphql.parse_and_verify graphql.parse_query graphql.parse_schema
    graphql.schema_is_valid http.send io.jwt.decode io.jwt.decode_verify io.jwt.encode_sign io.jwt.encode_sign_raw
    io.jwt.verify_eddsa io.jwt.verify_es256 io.jwt.verify_es384 io.jwt.verify_es512 io.jwt.verify_hs256
    io.jwt.verify_hs384 io.jwt.verify_hs512 io.jwt.verify_ps256 io.jwt.verify_ps384 io.jwt.verify_ps512
    io.jwt.verify_rs256 io.jwt.verify_rs384 io.jwt.verify_rs512 json.marshal_with_options json.match_schema json.patch
    json.verify_schema net.cidr_contains_matches net.cidr_expand net.cidr_intersects net.cidr_merge net.cidr_overlap
    net.lookup_ip_addr numbers.range numbers.range_step opa.runtime print providers.aws.sign_req rand.intn re_match
    regex.globs_match regex.template_match rego.metadata.chain rego.metadata.rule rego.parse_module set_diff
    strings.render_template strings.split_n time.format time.now_ns time.parse_ns trace units.parse units.parse_bytes
    uri.is_valid uri.parse urlquery.decode_object urlquery.encode_object uuid.parse uuid.rfc4122 yaml.is_valid
    yaml.marshal yaml.unmarshal
    """.split()  # noqa: SIM905 - a list of a hundred quoted names is harder to read
)
"""The other functions of OPA 1.22."""
