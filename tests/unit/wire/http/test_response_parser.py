"""What an answer may look like, byte by byte. Each answer is read whole and in every way of cutting it in two."""

from __future__ import annotations

import pytest

from gateway.wire.http.parsers import MAX_FIELDS, MAX_HEAD, ResponseParser

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Type: application/json \r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = OK + b"transfer-encoding: Chunked\r\n\r\n1;ext=1\r\n{\r\n1\r\n}\r\n0\r\nx-trailer: 1\r\n\r\n"


def read(*parts: bytes) -> ResponseParser:
    found = ResponseParser()
    for part in parts:
        found.feed(part)
    return found


def cuts(answer: bytes) -> list[tuple[bytes, ...]]:
    return [
        (answer,),
        *((answer[:at], answer[at:]) for at in range(1, len(answer))),
        tuple(answer[i : i + 1] for i in range(len(answer))),
    ]


@pytest.mark.parametrize("answer", [SIZED, CHUNKED])
def test_a_body_of_known_length_and_one_in_chunks_are_read_the_same_however_they_arrive(answer: bytes):
    for parts in cuts(answer):
        found = read(*parts)

        assert (found.status, b"".join(found.pieces), found.size) == (200, b"{}", 2)
        assert (found.complete, found.keep_alive, found.excess, found.fault) == (True, True, False, None)
        assert not found.until_closed


def test_names_are_in_lower_case_and_values_without_the_space_around_them():
    assert read(SIZED).headers == ((b"content-type", b"application/json"), (b"content-length", b"2"))


def test_trailers_are_not_headers():
    assert read(CHUNKED).headers == ((b"transfer-encoding", b"Chunked"),)


@pytest.mark.parametrize(
    "answer", [OK + b"\r\n{}", b"HTTP/1.0 200 OK\r\nx: 1\r\n\r\n{}", OK + b"connection: close\r\n\r\n{}"]
)
def test_a_body_without_a_length_ends_with_the_connection(answer: bytes):
    for parts in cuts(answer):
        found = read(*parts)

        assert (found.until_closed, found.complete, found.keep_alive, b"".join(found.pieces)) == (
            True,
            False,
            False,
            b"{}",
        )


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_that_has_no_body_by_its_status_is_complete(status: bytes):
    found = read(b"HTTP/1.1 " + status + b"\r\n\r\n")

    assert (found.complete, found.keep_alive, found.until_closed, found.pieces) == (True, True, False, [])


def test_a_body_where_there_may_be_none_is_excess():
    found = read(b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n{}")

    assert (found.complete, found.excess, found.pieces, found.fault) == (True, True, [], None)


def test_interim_answers_are_passed_over_with_their_headers():
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\ncontent-length: 9\r\n\r\n"
    for parts in cuts(interim + SIZED):
        found = read(*parts)

        assert (found.status, found.complete, b"".join(found.pieces)) == (200, True, b"{}")
        assert b"link" not in dict(found.headers)


@pytest.mark.parametrize("framing", [b"content-length: 9", b"transfer-encoding: chunked"])
def test_what_an_interim_answer_says_of_a_length_is_not_said_of_the_answer(framing: bytes):
    interim = b"HTTP/1.1 103 Early Hints\r\n" + framing + b"\r\n\r\n"
    for parts in cuts(interim + OK + b"\r\n{}"):
        found = read(*parts)

        assert (found.until_closed, found.complete, b"".join(found.pieces)) == (True, False, b"{}")
    for answer in (SIZED, CHUNKED, b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}"):
        found = read(interim + answer)

        assert (found.fault, found.complete, found.excess, b"".join(found.pieces)) == (None, True, False, b"{}")


@pytest.mark.parametrize("fields", [b"", b"upgrade: x\r\nconnection: upgrade\r\n", b"content-length: 2\r\n"])
def test_another_protocol_is_no_interim_answer(fields: bytes):
    for parts in cuts(b"HTTP/1.1 101 Switching\r\n" + fields + b"\r\n" + SIZED):
        found = read(*parts)

        assert (found.fault, found.status, found.pieces) == ("its status is none that was asked for", 0, [])


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", SIZED.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")],
)
def test_a_peer_that_will_not_go_on_says_so(answer: bytes):
    found = read(answer)

    assert (found.complete, found.keep_alive) == (True, False)


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\n", b"H", b"x", b"{}", SIZED, b"\0"])
def test_what_comes_after_the_end_is_excess_and_no_part_of_the_answer(more: bytes):
    for answer in (SIZED, CHUNKED):
        for parts in ((answer + more,), (answer, more)):
            found = read(*parts)

            assert (found.complete, found.excess, found.fault) == (True, True, None)
            assert b"".join(found.pieces) == b"{}"
            assert found.status == 200


def test_what_comes_after_it_was_closed_is_excess():
    found = read(SIZED)
    found.close()
    found.feed(b"HTTP")

    assert found.excess


@pytest.mark.parametrize(
    "answer",
    [
        # not HTTP, or not this version of it
        b"this is not HTTP\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/11 200 OK\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16",
        # statuses
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 000 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 600 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        # two framings, or one that readers understand differently
        OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        OK + b"content-length: 2, 2\r\n\r\n{}",
        OK + b"content-length: +2\r\n\r\n{}",
        OK + b"content-length: -2\r\n\r\n{}",
        OK + b"content-length: 0x2\r\n\r\n{}",
        OK + b"content-length: 2 0\r\n\r\n{}",
        OK + b"content-length: \r\n\r\n{}",
        OK + b"content-length: 99999999999999999999\r\n\r\n{}",
        OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked, gzip\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"transfer-encoding: identity\r\n\r\n{}",
        OK + b"transfer-encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"transfer-encoding: \x0bchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"transfer-encoding:\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        # chunks
        OK + b"transfer-encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n 2\r\n{}\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n2 \r\n{}\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}X\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}",
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\ncontent-length: 4\r\n\r\n",
        # lines
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}",
        OK + b" folded: 1\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"a: 1\r\n folded: 1\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"content-length : 2\r\n\r\n{}",
        OK + b"a b: 1\r\ncontent-length: 2\r\n\r\n{}",
        OK + b": 1\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"no colon\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"a: 1\0\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"a: 1\rb: 2\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"a: 1\nb: 2\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"\xc3\xa4: 1\r\ncontent-length: 2\r\n\r\n{}",
    ],
)  # fmt: skip
def test_an_answer_that_two_readers_could_understand_differently_is_none(answer: bytes):
    for parts in cuts(answer):
        found = read(*parts)

        assert found.fault is not None, parts
        assert not found.complete


def test_a_fault_is_told_without_what_was_sent():
    assert "s3cret" not in (read(b"s3cret\r\n\r\n").fault or "")
    assert "s3cret" not in (read(OK + b"s3cret: \0\r\n\r\n").fault or "")


def test_nothing_of_a_faulty_answer_is_taken():
    found = read(OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")

    assert (found.status, found.headers, found.pieces, found.complete) == (0, (), [], False)


def fields(count: int) -> bytes:
    return b"".join(b"x-%d: 1\r\n" % number for number in range(count))


def test_too_many_header_fields_are_a_fault_wherever_they_stand():
    body = b"content-length: 0\r\n\r\n"
    interim = b"HTTP/1.1 103 x\r\n" + fields(9) + b"\r\n"
    trailers = OK + b"transfer-encoding: chunked\r\n\r\n0\r\n" + fields(MAX_FIELDS) + b"\r\n"

    assert read(OK + fields(MAX_FIELDS - 1) + body).complete
    for answer in (OK + fields(MAX_FIELDS) + body, interim * 40 + OK + body, trailers):
        assert read(answer).fault == "it has too many header fields"


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 ",
        OK + b"x: ",
        OK,
        b"HTTP/1.1 100 x\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n0\r\nx: ",
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n1;",
    ],
)
def test_what_goes_on_and_on_without_a_body_is_a_fault(begin: bytes):
    piece = b"HTTP/1.1 100 x\r\n\r\n" * 60 if begin.startswith(b"HTTP/1.1 100") else b"a" * 1024
    found = read(begin)
    fed = 0
    while found.fault is None:
        found.feed(piece)
        fed += len(piece)
        assert fed <= MAX_HEAD + 2048

    assert not found.complete


def test_a_body_may_go_on_and_on():
    found = read(OK + b"transfer-encoding: chunked\r\n\r\n")
    for _ in range(100):
        found.feed(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    assert (found.fault, found.size) == (None, 409_600)
