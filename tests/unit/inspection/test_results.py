from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest

from gateway.inspection.credentials.finding import Finding
from gateway.inspection.results import MAX_MENTIONS, MAX_WORDS, ResultInspector, ResultWords, together
from gateway.inspection.words.words import digests, distinctive, mentions
from gateway.model.content import ResultContent, Sighting
from gateway.model.target import Role
from tests.unit.inspection.authority import value_digests

KEY = b"k" * 32


def message(text: str, *, ascii_only: bool = True) -> bytes:
    result = {"content": [{"type": "text", "text": text}], "structuredContent": {"text": text}}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}, ensure_ascii=ascii_only).encode()


def streamed(data: bytes, size: int, *, trusted: bool = False) -> frozenset[int]:
    words = ResultWords(KEY, trusted=trusted)
    found: set[int] = set()
    for at in range(0, len(data), size):
        added = words.feed(data[at : at + size])
        assert not added & found
        found |= added
    last = words.finish()
    assert not last & found
    return frozenset(found | last)


TEXT = (
    'Dear all,\nthe "zanzibarian" ledger: https://ledger.example/q3/unpublishedfigures, ask Bjørn <bjorn@corp.example>.'
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_words_are_the_same_wherever_the_chunks_end(size: int, ascii_only: bool):  # noqa: FBT001 - a table
    data = message(TEXT, ascii_only=ascii_only)

    assert streamed(data, size) == streamed(data, len(data))
    assert digests(distinctive(TEXT), KEY) <= streamed(data, size)


@pytest.mark.parametrize("size", [1, 40, 10_000])
@pytest.mark.parametrize("text", [TEXT, TEXT * 20, "zanzibarian " + "x" * 2_000])
def test_the_last_chunk_may_come_with_the_end(text: str, size: int):
    before, last = message(text)[:-size], message(text)[-size:]
    words = ResultWords(KEY, trusted=False)

    assert words.feed(before) | words.finish(last) == streamed(before + last, 10_000)


@pytest.mark.parametrize("size", [1, 5, 64, 10_000])
def test_a_trusted_result_gives_its_values(size: int):
    text = 'Contacts:\n- Le Marais Boutique\n- "Bjørn" <BJORN@corp.example>\n- #general\nprice: $1,000.00, phone: +1 (415) 555-0100'
    found = streamed(message(text), size, trusted=True)

    for value, role in (
        ("le marais boutique", Role.DESTINATION),
        ("bjorn@CORP.example", Role.DESTINATION),
        ("general", Role.DESTINATION),
        ("+14155550100", Role.DESTINATION),
        (1000, Role.AMOUNT),
    ):
        assert value_digests(value, role, KEY) <= found
    assert not value_digests("eve@evil.example", Role.DESTINATION, KEY) <= found


@pytest.mark.parametrize("size", [1, 9, 16, 17])
def test_an_address_is_not_cut_short_by_the_end_of_a_chunk(size: int):
    found = streamed(message("write to bob@example.com.evil.example or 1,000,000 now"), size, trusted=True)

    assert not value_digests("bob@example.com", Role.DESTINATION, KEY) <= found
    assert not value_digests(1000, Role.AMOUNT, KEY) <= found
    assert value_digests("bob@example.com.evil.example", Role.DESTINATION, KEY) <= found


def test_a_message_in_a_message_hides_no_word():
    inner = json.dumps({"note": 'the "zanzibarian" ledger'})

    assert digests([b"zanzibarian"], KEY) <= streamed(message(inner), 10)


@pytest.mark.parametrize("mark", [" ", "\t", "<"])
def test_running_text_without_line_breaks_is_read_as_it_comes(mark: str):
    text = mark.join(f"word{number:06}" for number in range(200))
    words = ResultWords(KEY, trusted=False)

    assert words.feed(text.encode())
    for size in (64, 100, 1_000):
        assert streamed(text.encode(), size) == digests(distinctive(text), KEY)


@pytest.mark.parametrize("mark", ["\n", " "])
def test_little_of_what_has_been_read_is_held(mark: str):
    words = ResultWords(KEY, trusted=False)
    for number in range(1_000):
        words.feed(f"word{number:06}{mark}".encode())

    assert len(words._tail) <= 1_024


def test_the_words_of_a_long_last_chunk_are_found_to_its_end():
    words = ResultWords(KEY, trusted=False)

    assert words.finish(b"and so on " * 100 + b"zanzibarian") == digests([b"zanzibarian"], KEY)


@pytest.mark.parametrize("size", [64, 1_000])
def test_a_list_of_numbers_is_read_as_it_comes(size: int):
    text = ",".join(str(number) for number in range(100_000, 101_000))

    assert streamed(text.encode(), size) == streamed(text.encode(), len(text))


def test_numbers_in_groups_are_found_wherever_running_text_is_cut():
    for before in range(480, 620, 3):
        lead = "x" * (before % 10) + " and so on" * (before // 10)
        text = f"{lead} GB82 WEST 1234 5698 7654 32 and 1,000,000 {'go on ' * 200}".encode()
        found = streamed(text, 64, trusted=True)

        assert digests([b"gb82west12345698765432"], KEY) <= streamed(text, 64), before
        assert value_digests(1_000_000, Role.AMOUNT, KEY) <= found, before
        assert not value_digests(1_000, Role.AMOUNT, KEY) <= found, before


def test_a_word_without_an_end_is_held_only_at_its_beginning():
    words = ResultWords(KEY, trusted=False)
    for _ in range(100):
        words.feed(b"q" * 4_096)

    assert len(words._tail) <= 1_024
    assert words.feed(b'" zanzibarian ') | words.finish() == digests([b"zanzibarian"], KEY)


@pytest.mark.parametrize("mark", ["\n", '"', " ", "\t", "<", ","])
def test_after_a_word_without_an_end_all_words_are_read_again(mark: str):
    words = ResultWords(KEY, trusted=False)
    words.feed(b"q" * 4_096)
    found = words.feed(f"{mark}zanzibarian{mark} unpubli".encode()) | words.feed(b"shedfigures ") | words.finish()

    assert found == digests([b"zanzibarian", b"unpublishedfigures"], KEY)


def test_of_a_word_without_an_end_its_beginning_counts_and_nothing_else():
    endless = "".join(f"{number:x}" for number in range(20_000))

    assert streamed(endless.encode(), 1_000) == digests([endless[:256].encode()], KEY)


def test_what_stands_before_a_word_without_an_end_is_read():
    text = " ".join(f"word{number:06}" for number in range(100)) + " " + "q" * 4_096

    assert streamed(text.encode(), 10_000) == digests(distinctive(text), KEY)


def test_a_large_result_keeps_an_even_sample_whatever_its_chunks():
    text = " ".join(f"identifier{number}" for number in range(10_000))
    expected = frozenset(sorted(digests(distinctive(text), KEY))[:MAX_WORDS])

    words = ResultWords(KEY, trusted=False)
    for at in range(0, len(text), 4_096):
        words.feed(text[at : at + 4_096].encode())
    words.finish()

    assert words._kept == expected


def test_a_trusted_directory_keeps_more():
    text = "\n".join(f"person{number}@corp.example" for number in range(3_000))

    assert len(streamed(text.encode(), 4_096, trusted=True)) >= 3_000
    assert MAX_MENTIONS >= 3_000


def test_words_go_on_into_what_is_sent_on():
    secret = "the unpublishedfigures of zanzibarian"

    assert digests(distinctive(f"body={secret}"), KEY) & streamed(message(secret), 11)
    assert not digests(distinctive("good morning to all of you"), KEY) & streamed(message(secret), 11)


def credential(fingerprint: str) -> Finding:
    return Finding(fingerprint, "github-pat", "format", form="base64", shingles=frozenset({1, 2}), ordinary=True)


class Scanner:
    """Finds the word `ghp`, and one credential more at the end. Of a `flood` it cannot tell all."""

    incomplete = False

    def feed(self, chunk: bytes, /) -> Sequence[Finding]:
        self.incomplete = self.incomplete or b"flood" in chunk
        return [credential("f1")] if b"ghp" in chunk else []

    def finish(self, chunk: bytes = b"", /) -> Sequence[Finding]:
        return [*self.feed(chunk), credential("f2")]


def test_words_and_credentials_come_together():
    inspector = ResultInspector(ResultWords(KEY, trusted=False), Scanner())

    assert inspector.feed(b'"a b c"') is None
    assert inspector.feed(b'"ghp zanzibarian"') == ResultContent(
        (Sighting("f1", "github-pat", form="base64"),), digests([b"zanzibarian"], KEY)
    )
    last = inspector.finish()
    assert last == ResultContent((Sighting("f2", "github-pat", form="base64"),))
    assert last is not None
    assert (last.sightings[0].shingles, last.sightings[0].ordinary) == ({1, 2}, True)


def test_that_there_are_more_credentials_than_are_told_apart_is_said_once():
    inspector = ResultInspector(ResultWords(KEY, trusted=False), Scanner())

    assert inspector.feed(b'"flood"') == ResultContent(complete=False)
    assert inspector.feed(b'"flood"') is None
    assert inspector.feed(b'"ghp"') == ResultContent((Sighting("f1", "github-pat", form="base64"),))
    assert inspector.feed(b'"flood"') is None
    last = inspector.finish()
    assert last is not None
    assert last.complete


def test_without_a_scanner_there_are_words_alone():
    inspector = ResultInspector(ResultWords(KEY, trusted=False))

    assert inspector.feed(b"zanzibarian") is None
    assert inspector.finish() == ResultContent(tokens=digests([b"zanzibarian"], KEY))


def test_any_bytes_can_stream():
    source = random.Random(3)

    for trusted in (True, False):
        data = bytes(source.choices(b'ab1 \\"u\n\xff\xc3@.:/,', k=5_000))
        assert isinstance(streamed(data, 37, trusted=trusted), frozenset)


def test_the_values_of_a_trusted_text_are_its_mentions():
    text = "alpha, beta\ngamma"

    assert streamed(text.encode(), 3, trusted=True) == digests(mentions(text), KEY)


# --- links -------------------------------------------------------------------------------------------


def sent(data: bytes, size: int, *, trusted: bool = False, links: bool = True) -> frozenset[int]:
    words = ResultWords(KEY, trusted=trusted, links=links)
    inspector = ResultInspector(words)
    parts = [inspector.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return frozenset(link for part in (*parts, inspector.finish()) if part is not None for link in part.links)


@pytest.mark.parametrize("size", [1, 3, 64, 10_000])
def test_links_are_found_whole_however_the_result_is_cut(size: int):
    text = 'See www.a.example.\nOr "https://b.example/x" - not https://c.example/?q=1, nor file.py' + " filler" * 300

    assert sent(message(text), size) == digests({b"www.a.example", b"b.example/x"}, KEY)


def test_links_are_looked_for_only_where_they_count():
    assert sent(message("see www.a.example"), 64, links=False) == frozenset()
    assert sent(message("see www.a.example"), 64, trusted=True) == frozenset()


def test_a_result_of_nothing_but_a_link_is_news():
    content = ResultInspector(ResultWords(KEY, trusted=False, links=True)).feed(b'"a.io/x"')

    assert content == ResultContent(links=digests([b"a.io/x"], KEY))


def test_parts_are_put_together_and_nothing_stays_nothing():
    one = ResultContent((Sighting("a", "jwt"),), frozenset({1}), links=frozenset({7}))
    other = ResultContent((Sighting("b", "jwt"),), frozenset({1, 2}), complete=False)

    assert together([None, None]) is None
    assert together([None, one]) is one
    assert together([one, None, other]) == ResultContent(
        (*one.sightings, *other.sightings), frozenset({1, 2}), complete=False, links=frozenset({7})
    )
