from __future__ import annotations

import hashlib
import hmac
import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.base.keys.key_ring import subkey
from gateway.record.journal.chain import GENESIS, Chain, timestamp

KEY = b"k" * 32


def test_a_line_is_compact_json_with_its_place_and_its_links():
    chain = Chain.of(KEY)

    line = chain.line(7, "2026-11-25T10:00:00.000Z", "policy", b'{"name":"p"}', GENESIS)

    assert line.startswith(
        b'{"seq":7,"time":"2026-11-25T10:00:00.000Z","kind":"policy","name":"p","prev":"' + b"0" * 64 + b'","check":"'
    )
    assert list(json.loads(line)) == ["seq", "time", "kind", "name", "prev", "check"]


def test_a_line_without_fields_is_json():
    assert json.loads(Chain.of(None).line(1, "t", "start", b"{}", GENESIS))["kind"] == "start"


def test_a_link_without_a_key_is_what_sha256sum_says():
    line = Chain.of(None).line(1, "t", "start", b"{}", GENESIS)

    assert Chain.of(None).link(line) == hashlib.sha256(line).hexdigest()


def test_a_link_with_a_key_is_an_hmac_under_the_chains_own_key():
    line = b"anything"

    assert Chain.of(KEY).link(line) == hmac.new(subkey(KEY, "chain"), line, "sha256").hexdigest()


@given(st.binary(max_size=130), st.binary(max_size=300), st.binary(max_size=300))
def test_a_link_is_the_hmac_of_the_standard_library_for_keys_of_any_length(key: bytes, line: bytes, other: bytes):
    chain = Chain(key)

    assert chain.link(line) == hmac.new(key, line, "sha256").hexdigest()
    assert chain.link(other) == hmac.new(key, other, "sha256").hexdigest()


@given(st.binary(max_size=40).map(bytes.hex), st.booleans())
def test_what_is_hashed_once_is_what_is_hashed_apart(text: str, keyed: bool):  # noqa: FBT001 - a drawn value
    key = subkey(KEY, "chain")

    def link(data: bytes) -> str:
        return hmac.new(key, data, "sha256").hexdigest() if keyed else hashlib.sha256(data).hexdigest()

    line, after = Chain.of(KEY if keyed else None).linked(
        1, "t", "policy", json.dumps({"name": text}).encode(), GENESIS
    )
    covered, check = line[:-44], json.loads(line)["check"]

    assert line == covered + b',"check":"%b"}' % check.encode()
    assert (check, after) == (link(covered)[:32], link(line))


def test_chains_are_told_apart_by_name_and_key_id():
    plain, one, other = Chain.of(None), Chain.of(KEY), Chain.of(b"o" * 32)

    assert (plain.name, plain.key_id) == ("sha256", None)
    assert one.name == other.name == "hmac-sha256"
    assert one.key_id != other.key_id
    assert KEY.hex() not in repr(one)


def test_keys_for_different_purposes_differ():
    assert subkey(KEY, "chain") == hmac.digest(KEY, b"opagate journal chain", "sha256")
    assert len({subkey(KEY, "chain"), subkey(KEY, "fingerprints"), KEY}) == 3


@given(st.binary(max_size=40).map(bytes.hex), st.integers(0, 10_000), st.integers(1, 255), st.booleans())
def test_a_line_with_any_byte_changed_is_not_intact(text: str, at: int, change: int, keyed: bool):  # noqa: FBT001 - a drawn value
    chain = Chain.of(KEY if keyed else None)
    line = chain.line(1, "t", "policy", json.dumps({"name": text}).encode(), GENESIS)
    changed = bytearray(line)
    changed[at % len(line)] ^= change

    assert chain.intact(line)
    assert not chain.intact(bytes(changed))


def test_a_short_line_is_not_intact():
    assert not Chain.of(None).intact(b"")
    assert not Chain.of(None).intact(b"{}")


def test_times_are_rfc_3339_in_utc_with_milliseconds():
    assert timestamp(1_800_000_000.0456) == "2027-01-15T08:00:00.046Z"
