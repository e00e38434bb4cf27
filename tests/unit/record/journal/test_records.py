from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.record.journal.records import ResultRecord
from gateway.record.journal.redaction import FULL_LIMIT

KEY = b"k" * 32
NAME = "my-rule:" + "0" * 24


def spots(text: str) -> Sequence[tuple[int, int, str]]:
    at = text.find("hunter2")
    return [] if at < 0 else [(at, at + 7, NAME)]


def kept(*chunks: bytes, record: ResultRecord | None = None) -> Any:
    record = record or ResultRecord(KEY, spots)
    for chunk in chunks:
        record.update(chunk)
    return record.value()


RESPONSE = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"text": "it is hunter2"}]}}).encode()
READ = {"content": [{"text": f"it is fp:{NAME}"}]}


def test_the_digest_is_of_the_bytes_under_the_key():
    record = ResultRecord(KEY)
    record.update(b"ab")
    record.update(b"c")

    assert record.hexdigest() == hmac.digest(KEY, b"abc", "sha256").hex()
    assert record.value() is None


def test_what_a_result_says_is_kept_without_credentials():
    assert kept(RESPONSE[:20], RESPONSE[20:]) == READ


def test_the_response_among_events_is_kept():
    notice = b'data: {"jsonrpc":"2.0","method":"notifications/message"}\n\n'

    assert kept(b": hi\n\nevent: message\n" + notice, b"data: " + RESPONSE + b"\r\n\r\n") == READ
    assert kept(notice, b"data: " + RESPONSE) == READ


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_with_its_message_in_several_lines_is_read(end: bytes):
    begin, comma, rest = RESPONSE.partition(b",")
    event = end.join([b"data: " + begin + comma, b"data:" + rest, b"", b""])

    assert kept(event) == READ


def test_a_result_is_kept_up_to_a_size():
    whole = b'{"result":"' + b"x" * (FULL_LIMIT - 13) + b'"}'

    assert kept(whole) is not None
    assert kept(whole, b" ") is None
    assert kept(whole, b" ", b'{"result":1}') is None


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"\xff", b'{"result":' + b"[" * 5000, b'{"error":{"message":"hunter2"}}', b"data: {\n\n", b"<html>"],
)
def test_what_is_no_result_is_not_kept(answer: bytes):
    assert kept(answer) is None


def test_how_much_there_is_to_look_through_is_known_before():
    record = ResultRecord(KEY, spots)
    record.update(b"abc")
    assert record.held == 3
    record.update(b"x" * FULL_LIMIT)

    assert record.held == 0
    assert ResultRecord(KEY).held == 0
