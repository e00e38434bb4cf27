from __future__ import annotations

import random
import re
import string
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.inspection.credentials.ordinary import COMMON
from gateway.inspection.destinations.find import listed
from gateway.inspection.words import words as module
from gateway.inspection.words.words import MAX_VALUE, MAX_WORD, amount, digest, digests, distinctive, mentions
from gateway.model.target import Role
from tests.unit.inspection.authority import value_digests

KEY = b"k" * 32


def test_a_digest_is_keyed_and_has_64_bits():
    assert digest("word", KEY) == digest("word", KEY)
    assert digest("word", KEY) != digest("word", b"other")
    assert digest("word", KEY) in digests([b"word", b"words"], KEY)
    assert all(0 <= value < 2**64 for value in digests([b"a", b"b", b"c"], KEY))


def test_a_digest_without_a_key_is_refused():
    with pytest.raises(ValueError, match="need a key"):
        digest("word", b"")


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_every_word_has_one_digest_whatever_comes_with_it(words: list[bytes]):
    together = digests(words, KEY)

    assert together == frozenset().union(*(digests([word], KEY) for word in words))
    assert len(together) == len(set(words))


def test_threads_do_not_wait_for_each_other_and_find_the_same():
    """A large call is looked at in a thread of its own while the others go on."""
    many, few = [b"word-%d" % number for number in range(100_000)], [b"word-1", b"word-2"]
    with ThreadPoolExecutor(1) as other:
        found = other.submit(lambda: [digests(many, KEY) for _ in range(5)])
        meanwhile = {digests(few, KEY)}
        while not found.done():
            meanwhile.add(digests(few, KEY))
    assert set(found.result()) == {digests(many, KEY)}
    assert meanwhile == {digests(few, KEY)}


@pytest.mark.parametrize("word", [b"", b"bob", b"b" * 15])
def test_zeros_at_the_end_make_another_word(word: bytes):
    assert len(digests([word, word + b"\0", word + b"\0\0"], KEY)) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mail Bob@Example.com now", {b"bob@example.com", b"example.com"}),
        ("see https://Evil.example/Leak/quarterlyfigures", {b"https://evil.example/leak/quarterlyfigures", b"evil.example", b"quarterlyfigures"}),
        ("x=https://e.example?d=supersecretword", {b"https://e.example", b"supersecretword"}),
        ("invoice 48213 of 312", {b"48213"}),
        ("invoices 48213_, 59124@ and 60235/a", {b"48213", b"59124", b"60235"}),
        ("ticket AB-1234", {b"ab-1234"}),
        ("IBAN GB82 WEST 1234 5698 7654 32.", {b"gb82west12345698765432"}),
        ('{"id":"f81d4fae-7dec-11d0"}', {b"f81d4fae-7dec-11d0"}),
        ("“Zanzibarian” plans…", {b"zanzibarian"}),
        ("please provide the description of everything", set[bytes]()),
        ("at 2026-11-25T01:20:00Z, 2026-11-25, 20261125, 10:20:30", set[bytes]()),
        ("", set[bytes]()),
        ("a b c 12", set[bytes]()),
    ],
)  # fmt: skip
def test_the_words_that_tell_where_data_came_from(text: str, words: set[bytes]):
    found = distinctive(text)

    assert words <= found if words else not found


def test_a_word_is_found_in_any_surroundings():
    for text in (
        "zanzibarian",
        "(Zanzibarian)",
        '"ZANZIBARIAN",',
        "a=zanzibarian&b",
        "x zanzibarian.",
        "-zanzibarian-",
    ):
        assert b"zanzibarian" in distinctive(text)


TIMES = [
    "2026-11-28",
    "10:30",
    "10:30:00z",
    "DE89 3704 0044 0532 0130 00",
    "12345",
    "credential",
    "a:12345",
    "$99999",
    "_x",
    "de",
]


@given(st.lists(st.sampled_from(TIMES) | st.text(max_size=9), max_size=6).map(" ".join))
@settings(max_examples=133, deadline=None)
def test_times_are_looked_for_wherever_they_may_stand(text: str):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_AFTER_DIGITS", b"\xff" * 9)
        everywhere = distinctive(text)

    assert distinctive(text) == everywhere


def plainly_distinctive(text: str) -> set[bytes]:
    """Return the distinctive words of a text without account numbers, and without a look at which words are short."""
    found: set[bytes] = set()
    for word in text.lower().encode().translate(module._WORDS).split():
        whole = word.strip(module._EDGES)
        found |= {whole, *[part.strip(module._EDGES) for part in re.split(rb"[@:/]", whole) if len(part) > 4]}
    telling = {word for word in found if len(word) > 7 or (len(word) > 4 and word[-4:].isdigit())}
    return {word for word in telling - COMMON if not module._TIME.fullmatch(word)}


@given(st.text(alphabet="1234ab@_:/.-+%$ ,", max_size=24))
@settings(max_examples=133)
def test_no_short_word_with_four_digits_is_left_out(text: str):
    assert distinctive(text) == plainly_distinctive(text)


def test_of_a_long_word_the_beginning_counts():
    assert distinctive("q" * 10_000) == {b"q" * MAX_WORD}


def test_common_words_are_in_lower_case():
    assert all(word == word.lower() for word in COMMON)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000", "1000"), ("1,000", "1000"), ("1,000.00", "1000"), ("$1,000.50", "1000.5"), ("1.000,50 EUR", "1000.5"),
        ("1 000", "1000"), ("1'000", "1000"), ("1\u202f000,5", "1000.5"), ("USD 20", "20"), ("20usd", "20"), ("€ 5", "5"),
        ("-5.0", "-5"), ("+5", "5"), ("12%", "12"), ("1,5", "1.5"), ("1,234,567", "1234567"), ("1.234.567", "1234567"),
        ("1e3", "1000"), ("0.00", "0"), ("007", "7"), ("1.000", "1"), ("100 mio", None), ("Mrd 5", None),
        ("1.2.3", None), ("12,34,567", None), ("abc", None), ("", None), ("1e999999", None), ("1e" + "0" * 100, None), ("inf", None), ("nan", None), ("0x10", None),
        ("9" * 200, None), ("1 000 a 000", None),
    ],
)  # fmt: skip
def test_an_amount_has_one_spelling(text: str, expected: str | None):
    assert amount(text) == expected


@pytest.mark.parametrize(
    ("role", "value", "text"),
    [
        (Role.DESTINATION, "bob@example.com", "Bob <BOB@Example.com>, phone"),
        (Role.DESTINATION, "Bob <bob@example.com>", '{"mail":"bob@example.com"}'),
        (Role.DESTINATION, "bob@bücher.example", "write to bob@xn--bcher-kva.example."),
        (Role.DESTINATION, "https://www.example.com/a", "see http://WWW.EXAMPLE.COM:80/b"),
        (Role.DESTINATION, "www.example.com", "see www.Example.com."),
        (Role.DESTINATION, "general", "- general\n- random"),
        (Role.DESTINATION, "#General", '["general", "random"]'),
        (Role.DESTINATION, "Alice", "['Alice', 'Bob']"),
        (Role.DESTINATION, "le  marais boutique", "Hotel Names: Le Marais Boutique\nGood Night"),
        (Role.DESTINATION, "+14155550100", "phone: +1 (415) 555-0100"),
        (Role.DESTINATION, "US133000000121212121212", "pay to US133000000121212121212 today"),
        (Role.DESTINATION, "/srv//data/x.txt", "found /srv/data/x.txt here"),
        (Role.DESTINATION, 12345678, "chat: 12345678"),
        (Role.AMOUNT, 1000, "the price is $1,000.00"),
        (Role.AMOUNT, "1'000.50", "total: 1000.50"),
        (Role.AMOUNT, 98.7, "98.70"),
        (Role.AMOUNT, "0.250", "0.25"),
        (Role.AMOUNT, 4.125, '{"rate": 4.125}'),
        (Role.AMOUNT, "2024-05-13 10:00", "free: 2024-05-13"),
        (Role.COMMAND, "make  test", "run: make test"),
        (Role.CREDENTIAL, "hunter2", "password: hunter2"),
    ],
)
def test_a_value_is_found_in_a_text_in_another_spelling(role: Role, value: str | float, text: str):
    wanted = value_digests(value, role, KEY)

    assert wanted
    assert wanted <= digests(mentions(text), KEY)


@pytest.mark.parametrize(
    ("role", "value", "text"),
    [
        (Role.DESTINATION, "bob@example.com", "bob@example.com.evil.example"),
        (Role.DESTINATION, "bob@example.com", "robbob@example.com"),
        (Role.DESTINATION, "bob@ex\u0430mple.com", "bob@example.com"),
        (Role.DESTINATION, "evil.example", "https://good.example/evil.example"),
        (Role.DESTINATION, "bob", "bob@example.com"),
        (Role.AMOUNT, 1000, "the price is 1,000,000"),
        (Role.AMOUNT, -5, "5"),
        (Role.AMOUNT, "2.000", "2 of them"),
        (Role.AMOUNT, "EUR 2.000", "EUR 2.00"),
        (Role.AMOUNT, "2 mio", "2 of them"),
        (Role.AMOUNT, "10", "v1.10"),
        (Role.COMMAND, "rm -rf /", "make test"),
    ],
)
def test_another_value_is_not_found(role: Role, value: str | float, text: str):
    assert not value_digests(value, role, KEY) <= digests(mentions(text), KEY)


def test_values_beyond_the_limit_are_left():
    assert len(value_digests([str(number) for number in range(100)], Role.COMMAND, KEY, limit=10)) == 10


def test_prose_is_no_value():
    prose = "This is a long sentence without a comma that goes on and on beyond what any name is"

    assert len(prose) > MAX_VALUE
    assert not {word for word in mentions(prose) if len(word) > MAX_VALUE}


@given(st.text())
def test_no_text_is_too_odd(text: str):
    assert all(words for words in (*distinctive(text), *mentions(text)))


@given(st.integers(-(10**15), 10**15))
def test_an_amount_is_the_same_with_and_without_grouping(number: int):
    assert amount(f"{number:,}.00") == amount(str(number)) == str(number)


def test_random_identifiers_tell_and_do_not_meet():
    source = random.Random(7)
    words = {"".join(source.choices(string.ascii_lowercase, k=12)) for _ in range(10_000)}

    assert len(digests([word.encode() for word in words], KEY)) == len(words)


@given(
    st.from_regex(
        r"(https?://)?[A-Za-z0-9-]{1,5}(\.[A-Za-z0-9-]{1,3}){0,2}\.[a-z]{2,3}\.?(/[a-z.%]{0,4}){0,3}|[a-z+._-]{1,5}@[a-zA-Z.-]{1,7}"
        r"|(/[a-zA-Z._-]{0,4}){1,4}",
        fullmatch=True,
    )
)
def test_what_is_taken_for_plain_is_what_parsing_gives(word: str):
    bare = word.strip("\"'<>()[]{},;.:!?`*")
    parsed = {destination.word.lower() for destination in listed(bare)} if len(bare) > 1 else set[str]()

    assert {item.encode() for item in parsed} <= mentions(f"{'prose ' * 12}{word} {'prose ' * 12}")


ODD = st.text("aZ09 .,:;'\"-_+()/@#*\n\t\v\x1c!?<>[]{}%\\T", max_size=60)
PLAIN = st.sampled_from([
    "bob@corp.example", "https://Evil.example/x?d=1", "https://a.b.example:8080/", "2026-11-25T01:20:00Z", "2026-11-25T01:20",
    "GB82 WEST 1234 5698 7654 32", "+49 (0)30 123456", "1,000.50", "007", "12345678.", "00 12 34 56 78", "/etc/hosts", "1.2.3.4",
    "12-34-567", "Name: Bob", "a - b", '"quoted"', "12345.67,", "9'999", "192.168.1.1/x", "x-1234", "v1.2", "1234567.1234",
])  # fmt: skip


@given(st.lists(PLAIN | ODD, max_size=8), st.sampled_from([" ", "\n", ", ", '","', ""]))
@settings(deadline=None)
def test_a_text_of_ascii_gives_what_it_gives_among_others(parts: list[str], between: str):
    text = between.join(parts)

    assert mentions(f"{text}\n\u00e9") == mentions(text) | {"\u00e9".encode()}


@given(st.integers(0, 10**19), st.none() | st.integers(0, 10**6), st.sampled_from(["", ".", ",", ".'", "..."]))
def test_digits_are_the_amount_that_they_say(whole: int, fraction: int | None, marks: str):
    text = f"{whole}" if fraction is None else f"{whole}.{fraction}"

    assert amount(f"{text}{marks}") == format(Decimal(text).normalize(), "f")
