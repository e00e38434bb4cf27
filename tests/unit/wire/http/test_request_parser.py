"""Requests as bytes: each is read in one way alone, or not at all, however the network cuts it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from gateway.wire.http.parsers import HEAD_BYTES, INVALID, TOO_LARGE, WAITING, RequestParser
from tests.requirements import requirement

LINE = b"POST /mcp/files?a=b HTTP/1.1\r\nhost: here\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: here\r\n\r\n"
CHUNKED = LINE + b"transfer-encoding: chunked\r\n\r\n"
OFFER = b"upgrade: h2c\r\nconnection: x, upgrade\r\n"

Outcome = tuple[Sequence[tuple[object, ...]], object, bool, bool]


def read(*parts: bytes) -> RequestParser:
    parser = RequestParser()
    for part in parts:
        parser.feed(part)
    return parser


def outcome(parser: RequestParser) -> Outcome:
    """Return all that a server can learn of a parser."""
    requests = [
        (
            found.method,
            found.path,
            found.query,
            found.version,
            found.headers,
            found.keep_alive,
            found.expects_continue,
            bytes(found.body),
            found.is_complete,
        )
        for found in parser.requests
    ]
    return requests, parser.fault, parser.has_ended, parser.in_head


VALID = {
    "get": b"GET / HTTP/1.1\r\nhost: here\r\n\r\n",
    "length": LINE + b"content-length: 5\r\n\r\nhello",
    "chunked": CHUNKED + b"2\r\nhe\r\n3;a=b;c\r\nllo\r\n0\r\nlate: 1\r\n\r\n",
    "absolute": b"GET http://evil:8/x?y HTTP/1.1\r\nhost: here\r\n\r\n",
    "offer": LINE + OFFER + b"content-length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    "continue": LINE + b"expect: 100-Continue\r\ncontent-length: 1\r\n\r\nx",
    "last": LINE + b"connection: close\r\ncontent-length: 1\r\n\r\nx",
    "old": b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    "empty lines": b"\r\n\r\nGET / HTTP/1.1\r\nhost: here\r\n\r\n\r\n",
}


@pytest.mark.parametrize("first", VALID)
@pytest.mark.parametrize("second", [*VALID, "nonsense"])
def test_bytes_that_are_cut_anywhere_are_the_same_requests(first: str, second: str):
    sent = VALID[first] + VALID.get(second, b"nonsense\r\n\r\n")
    whole = outcome(read(sent))
    for cut in range(len(sent)):
        assert outcome(read(sent[:cut], sent[cut:])) == whole, cut
    assert outcome(read(*[sent[at : at + 1] for at in range(len(sent))])) == whole


def test_mutated_bytes_that_are_cut_anywhere_have_the_same_outcome():
    chance = random.Random(16)
    alphabet = [b"\r", b"\n", b"\0", b" ", b"\t", b":", b";", b"0", b"9", b"f", b"x", b"\xff", b"\r\n", b"chunked", b""]
    for _ in range(3_000):
        sent = b"".join(chance.choice(list(VALID.values())) for _ in range(2))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(sent))
            sent = sent[:at] + chance.choice(alphabet) + sent[at + chance.randint(0, 2) :]
        cuts = sorted(chance.sample(range(1, len(sent)), 3))
        parts = [sent[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
        assert outcome(read(*parts)) == outcome(read(sent)), (sent, cuts)


COMMON = (
    b"POST /mcp/files HTTP/1.1\r\nHost: a:8\r\nAccept: b/c, d\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
    b"DELETE /mcp/a%20b?x=/?y HTTP/1.1\r\nhost: here\r\nmcp-session-id: a_b\r\n\r\n",
    b"GET //x;y=1/../* HTTP/1.1\r\nx: {}<>\r\ncontent-length: 0\r\n\r\n",
)
PIECES = (
    b"\r", b"\n", b"\r\n", b"\0", b" ", b"  ", b"\t", b":", b": ", b"0", b"5", b"x", b"-", b"#", b"?", b"\x7f", b"\xff", b"",
    b"/", b"http://a/", b"HTTP/1.0", b"chunked", b"transfer-encoding: chunked\r\n", b"connection: close\r\n", b"expect: 100-continue\r\n",
    b"upgrade: h2c\r\nconnection: upgrade\r\n", b"proxy-connection: close\r\n", b"content-length: 5\r\n", b"Connection: Keep-Alive\r\n",
)  # fmt: skip


@pytest.mark.parametrize("sent", COMMON)
def test_a_request_in_one_read_is_read_as_its_bytes_one_by_one(sent: bytes):
    assert outcome(read(sent)) == outcome(read(*[sent[at : at + 1] for at in range(len(sent))]))


@requirement("strangers/one-reading")
def test_a_mutated_request_in_one_read_is_read_as_in_two():
    chance = random.Random(17)
    for _ in range(20_000):
        sent = chance.choice(COMMON)
        for _ in range(chance.randint(1, 2)):
            at = chance.randrange(len(sent))
            sent = sent[:at] + chance.choice(PIECES) + sent[at + chance.randint(0, 3) :]
        assert outcome(read(sent)) == outcome(read(sent[:1], sent[1:])), sent


@requirement("strangers/one-reading")
def test_requests_of_one_connection_are_read_the_same_in_whole_reads_and_in_cut_ones():
    chance = random.Random(18)
    for _ in range(1_000):
        whole, cut = RequestParser(), RequestParser()
        for _ in range(6):
            sent = chance.choice([*COMMON, *VALID.values(), CHUNKED + b"9\r\nhel", b"\r\n", b"lo"])
            whole.feed(sent)
            for at in range(0, len(sent), 3):
                cut.feed(sent[at : at + 3])
            assert outcome(whole) == outcome(cut)
            if chance.random() < 0.7:
                # The server answers, and reads no more of a body that still arrives.
                for parser in (whole, cut):
                    for answered in parser.requests:
                        answered.is_discarded = True
                    parser.requests.clear()


@requirement("strangers/one-reading")
@pytest.mark.parametrize(
    "head",
    {
        "length and coding": b"content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "coding and length": b"transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "two lengths": b"content-length: 4\r\ncontent-length: 5\r\n",
        "one length twice": b"content-length: 4\r\ncontent-length: 4\r\n",
        "lengths in a list": b"content-length: 4, 4\r\n",
        "signed length": b"content-length: +4\r\n",
        "negative length": b"content-length: -1\r\n",
        "length in hex": b"content-length: 0x4\r\n",
        "no length": b"content-length: \r\n",
        "length in two words": b"content-length: 4 4\r\n",
        "huge length": b"content-length: 18446744073709551617\r\n",
        "two codings": b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "coding twice": b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "coding twice in a list": b"transfer-encoding: chunked, chunked\r\n",
        "coding after another": b"transfer-encoding: gzip, chunked\r\n",
        "coding before another": b"transfer-encoding: chunked, gzip\r\n",
        "another coding": b"transfer-encoding: xchunked\r\n",
        "quoted coding": b'transfer-encoding: "chunked"\r\n',
        "coding with a parameter": b"transfer-encoding: chunked;a=b\r\n",
        "tab before the coding": b"transfer-encoding:\tchunked\r\ntransfer-encoding: x\r\n",
        "tab after the coding": b"transfer-encoding: chunked\t\r\n",
        "vertical tab": b"transfer-encoding: \x0bchunked\r\n",
        "empty coding": b"transfer-encoding: \r\n",
        "space before the colon": b"transfer-encoding : chunked\r\n",
        "space before the name": b" transfer-encoding: chunked\r\n",
        "folded coding": b"transfer-encoding:\r\n chunked\r\n",
        "folded field": b"a: b\r\n\tc\r\n",
        "bare line feed": b"a: b\ntransfer-encoding: chunked\r\n",
        "bare carriage return": b"a: b\rtransfer-encoding: chunked\r\n",
        "zero byte in a value": b"a: b\0c\r\n",
        "zero byte in a name": b"a\0: b\r\n",
        "zero byte in a length": b"content-length: 4\0\r\n",
        "no name": b": b\r\n",
        "no colon": b"transfer-encoding\r\n",
        "space in a name": b"content length: 4\r\n",
        "not ASCII in a name": b"content-length\xff: 4\r\n",
    }.items(),
    ids=lambda case: case[0],
)
def test_a_request_that_can_be_read_in_two_ways_is_not_read(head: tuple[str, bytes]):
    parser = read(LINE + head[1] + b"\r\n0\r\n\r\n" + SMUGGLED)
    assert parser.fault == INVALID
    assert [found.path for found in parser.requests if found.is_complete] == []


@requirement("strangers/one-reading")
@pytest.mark.parametrize(
    "body",
    {
        "huge size": b"fffffffffffffffff\r\nx",
        "negative size": b"-1\r\nx\r\n0\r\n\r\n",
        "prefixed size": b"0x1\r\nx\r\n0\r\n\r\n",
        "no size": b"\r\nx\r\n0\r\n\r\n",
        "space before the size": b" 1\r\nx\r\n0\r\n\r\n",
        "space after the size": b"1 \r\nx\r\n0\r\n\r\n",
        "bare line feed after the size": b"1\nx\r\n0\r\n\r\n",
        "bare line feed in an extension": b"1;a\nx\r\n0\r\n\r\n",
        "bare line feed in a quoted extension": b'1;a="\n"\r\nx\r\n0\r\n\r\n',
        "bare carriage return in an extension": b"1;a\rb\r\nx\r\n0\r\n\r\n",
        "bare line feed after the data": b"1\r\nx\n0\r\n\r\n",
        "data longer than its size": b"1\r\nxy\r\n0\r\n\r\n",
        "bare line feed after the last chunk": b"0\n\n",
        "folded trailer": b"0\r\na: b\r\n c\r\n\r\n",
        "zero byte in a trailer": b"0\r\na: \0\r\n\r\n",
    }.items(),
    ids=lambda case: case[0],
)
def test_chunks_that_can_be_read_in_two_ways_are_not_read(body: tuple[str, bytes]):
    parser = read(CHUNKED + body[1] + SMUGGLED)
    assert parser.fault == INVALID
    assert [found.path for found in parser.requests if found.is_complete] == []


@pytest.mark.parametrize(
    "line",
    [
        b"GET /\tx HTTP/1.1\r\n",
        b"GET / x HTTP/1.1\r\n",
        b"GET /\x00 HTTP/1.1\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\n",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1 \r\n",
        b"GET / HTTP/1.2\r\n",
        b"GET / HTTP/01.1\r\n",
        b"GET / http/1.1\r\n",
        b"GET /\r\n",
        b"get / HTTP/1.1\r\n",
        b"G\0T / HTTP/1.1\r\n",
        b"BREW / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"CONNECT here:1 HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_a_line_that_is_none_of_http_1_is_no_request(line: bytes):
    parser = read(line + b"host: here\r\n\r\n" + SMUGGLED)
    assert parser.fault == INVALID
    assert parser.requests == []


def test_so_many_requests_wait_for_the_answer_before_them():
    get = VALID["get"]
    parser = read(get * (1 + WAITING))
    assert (len(parser.requests), parser.fault) == (1 + WAITING, None)
    parser.requests.pop(0)
    parser.feed(get)
    assert (len(parser.requests), parser.fault) == (1 + WAITING, None)
    parser.feed(get * 5_000)
    assert (len(parser.requests), parser.fault) == (1 + WAITING, INVALID)


def test_offers_of_another_protocol_do_not_pass_the_bound_of_waiting_requests():
    offering = b"GET / HTTP/1.1\r\nhost: here\r\n" + OFFER + b"\r\n"
    parser = read(offering * 1_000)
    assert (len(parser.requests), parser.fault) == (1 + WAITING, INVALID)
    assert all(dict(found.headers)[b"connection"] == b"x" for found in parser.requests)


def test_what_follows_the_last_request_is_not_read():
    for last in ("last", "old"):
        parser = read(VALID[last] + SMUGGLED, SMUGGLED)
        assert (len(parser.requests), parser.fault, parser.has_ended) == (1, None, True)


def test_the_body_of_a_request_without_a_reader_is_not_kept():
    parser = read(LINE + b"content-length: 1000000\r\n\r\nx")
    (found,) = parser.requests
    found.is_discarded, found.body = True, b""
    parser.requests.clear()
    parser.feed(b"x" * 999_999 + VALID["get"])
    assert (bytes(found.body), [other.path for other in parser.requests]) == (b"", ["/"])


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /" + b"x" * HEAD_BYTES,
        LINE + b"a" * HEAD_BYTES,
        CHUNKED + b"1;" + b"a" * 2 * HEAD_BYTES,
        b"\r\n" * HEAD_BYTES,
    ],
    ids=["target", "name", "chunk extension", "empty lines"],
)
def test_what_has_no_end_is_not_kept(endless: bytes):
    parts = [endless[at : at + 1000] for at in range(0, len(endless), 1000)]
    assert read(*parts).fault == TOO_LARGE


def test_empty_lines_between_requests_are_no_head_that_grows():
    # Old clients send an empty line after a body, and a connection may carry any number of requests.
    parser = RequestParser()
    usual = b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
    for _ in range(5):
        parser.feed(usual)
        assert parser.requests.pop().is_complete
        parser.feed(b"\r\n" * (HEAD_BYTES // 5))
    assert parser.fault is None


@requirement("strangers/waiting")
@pytest.mark.parametrize("waiting", [WAITING, WAITING + 1])
def test_requests_in_reads_of_their_own_wait_in_the_same_number(waiting: int):
    apart, whole = read(*[VALID["get"]] * (1 + waiting)), read(VALID["get"] * (1 + waiting))

    assert outcome(apart) == outcome(whole)
    assert apart.fault == (INVALID if waiting > WAITING else None)
    assert len(apart.requests) == 1 + WAITING


def test_nothing_is_read_after_the_fault_of_endless_empty_lines():
    parser = read(b"\r\n" * HEAD_BYTES)
    assert parser.fault == TOO_LARGE
    parser.feed(VALID["get"])
    assert parser.requests == []
