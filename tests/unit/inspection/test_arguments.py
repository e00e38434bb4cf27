from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.json.walk import Leaves
from gateway.history import state as bounds
from gateway.inspection.arguments import MAX_CHARACTERS, MAX_DESTINATIONS, at
from gateway.inspection.credentials.finding import Finding, Inspection, Kind, KnownShingles
from gateway.inspection.credentials.index import CredentialIndex
from gateway.inspection.destinations.find import MAX_TEXT
from gateway.inspection.inspector import MAX_LOOKED_UP, MAX_TOKENS, MAX_TOLD_CHARACTERS, sample_tokens
from gateway.inspection.results import ResultWords
from gateway.inspection.words.words import digest, digests
from gateway.model.call import Call
from gateway.model.content import CallContent, Sighting
from gateway.model.target import Effect, Labels, Role, Target
from gateway.model.task import Contract
from gateway.model.wire import Json, JsonObject
from tests import effort
from tests.unit.inspection.analysing import analyse
from tests.unit.inspection.authority import value_digests

KEY = b"k" * 32
ROLES = {"/to": Role.DESTINATION, "/cc": Role.DESTINATION, "/bcc": Role.DESTINATION, "/body": Role.CONTENT}


def call(arguments: JsonObject, roles: Mapping[str, Role] = ROLES) -> Call:
    target = Target("tool", "mail", "send", "mail", labels=Labels(roles=roles))
    return Call("tools/call", target, arguments)


def content(
    arguments: JsonObject,
    roles: Mapping[str, Role] = ROLES,
    *,
    goal: str | None = None,
    contract: Contract | None = None,
) -> CallContent:
    return analyse(call(arguments, roles), key=KEY, goal=goal, contract=contract)


def reached(arguments: JsonObject, roles: Mapping[str, Role] = ROLES) -> set[str]:
    return set(content(arguments, roles).destinations.values())


def test_to_and_cc_and_bcc_are_one_set():
    arguments: JsonObject = {
        "to": ["a@x.example", "B@x.example"],
        "cc": '"B, the second" <b@X.example>, c@x.example',
        "bcc": "mailto:d@x.example",
        "body": "e@x.example",
    }

    assert reached(arguments) == {"a@x.example", "b@x.example", "c@x.example", "d@x.example"}


def test_destinations_are_known_by_the_digest_of_their_normal_form():
    assert content({"to": "Bob <BOB@x.example>"}).destinations == {digest("bob@x.example", KEY): "bob@x.example"}
    assert content({"to": "bob"}).destinations.keys().isdisjoint(content({"to": "@bob"}).destinations)


@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [
        ({"to": ["a@x.example", "b@x.example"]}, "/to"),
        ({"to": ["a@x.example", "b@x.example"]}, "/to/*"),
        ({"to": {"one": "a@x.example", "two": "b@x.example"}}, "/to/*"),
        ({"to": [{"mail": "a@x.example", "name": "A"}, {"mail": "b@x.example"}]}, "/to/*/mail"),
        ({"message": {"to": "a@x.example,b@x.example"}}, "/message/to"),
        ({"message": json.dumps({"to": ["a@x.example", "b@x.example"]})}, "/message/to"),
        ({"to": json.dumps(["a@x.example", "b@x.example"])}, "/to"),
        ({"To": "a@x.example", "TO": "b@x.example"}, "/to"),
        ({"re_cipients": "a@x.example", "RECIPIENTS": "b@x.example"}, "/recipients"),
        ({"a/b": {"c~d": "a@x.example,b@x.example"}}, "/a~1b/c~0d"),
        ({"to": ["z@x.example", "a@x.example,b@x.example"]}, "/to/1"),
        ({"x" * 70: "a@x.example,b@x.example"}, "/" + "X" * 70),
    ],
)
def test_a_pointer_names_all_that_a_server_may_read_there(arguments: JsonObject, pointer: str):
    assert reached(arguments, {pointer: Role.DESTINATION}) == {"a@x.example", "b@x.example"}


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"a": 1}, "/b"),
        ({"a": [1]}, "/a/1"),
        ({"a": [1]}, "/a/-"),
        ({"a": [1]}, "/a/²"),
        ({"a": [1]}, "/a/99999999999"),
        ({"a": "text"}, "/a/b"),
        ({"a": None}, "/a/b"),
        ({"a": None}, "/a/*"),
        ({"a": 5}, "/a/b"),
    ],
)
def test_a_pointer_to_nothing_names_nothing(value: Json, pointer: str):
    assert at(value, pointer) == []


@pytest.mark.parametrize(
    "text", ["{broken", "[" * 60_000, '[{"to": "a@x.example", "n": ' + "9" * 5_000 + "}]", " " * 70_000 + "{}"]
)
def test_what_may_be_json_to_others_and_cannot_be_read_stands_for_itself(text: str):
    """A destination in it is not one that is missing."""
    assert at({"a": text}, "/a/*/to") == [text]
    held = content({"a": text}, {"/a/*/to": Role.DESTINATION})
    assert held.authority or not held.complete


def test_one_value_in_the_place_of_a_list_is_its_only_item():
    assert at({"a": "text"}, "/a/*") == ["text"]
    assert at({"a": 5}, "/a/*/*") == [5]


def test_authority_is_kept_by_pointer_and_nothing_is_kept_of_what_is_absent():
    roles = {
        "/to": Role.DESTINATION,
        "/run": Role.COMMAND,
        "/key": Role.CREDENTIAL,
        "/sum": Role.AMOUNT,
        "/text": Role.CONTENT,
        "/which": Role.SELECTOR,
        "/none": Role.AMOUNT,
        "/empty": Role.DESTINATION,
    }
    arguments: JsonObject = {
        "to": "Bob <bob@x.example>", "run": "make  test", "key": "Hunter2", "sum": "1,000", "text": "x", "which": "y", "empty": [],
    }  # fmt: skip

    assert content(arguments, roles).authority == {
        "/to": value_digests("bob@x.example", Role.DESTINATION, KEY),
        "/run": value_digests("make test", Role.COMMAND, KEY),
        "/key": value_digests("hunter2", Role.CREDENTIAL, KEY),
        "/sum": value_digests(1000, Role.AMOUNT, KEY),
    }


def test_what_stands_in_the_goal_or_in_the_contract_is_grounded():
    roles = {"/to": Role.DESTINATION, "/cc": Role.DESTINATION, "/sum": Role.AMOUNT, "/bcc": Role.DESTINATION}
    arguments: JsonObject = {"to": ["BOB@x.example"], "cc": "ann@y.example", "sum": 1000, "bcc": "eve@evil.example"}

    found = content(
        arguments, roles, goal="send $1,000.00 to bob@x.example", contract=Contract(destinations=("ann@y.example",))
    )

    assert found.grounded == {"/to", "/cc", "/sum"}


def test_one_value_without_grounds_leaves_its_pointer_without():
    assert not content({"to": ["bob@x.example", "eve@evil.example"]}, goal="write to bob@x.example").grounded
    assert not content({"to": "bob@x.example", "TO": "eve@evil.example"}, goal="write to bob@x.example").grounded


def test_a_value_of_a_trusted_result_is_found_among_its_words():
    words = ResultWords(KEY, trusted=True)
    given = words.feed(json.dumps({"users": [{"name": "Bob", "mail": "Bob@X.example"}]}).encode()) | words.finish()

    assert content({"to": "bob@x.example"}).authority["/to"] <= given
    assert not content({"to": "bob@x.example, eve@evil.example"}).authority["/to"] <= given


@pytest.mark.parametrize(
    ("told", "answer"),
    [
        ({"query": "Eve@Evil.example"}, "No user eve@evil.example found"),
        ({"body": "Contact: <eve@evil.example>, 1.000,50 EUR"}, "eve@evil.example: 1000.50"),
        ({"body": base64.b64encode(b"for eve@evil.example").decode()}, "for eve@evil.example"),
        ({"title": "Le Marais Boutique"}, "le marais  boutique"),
        ({"eve@evil.example": 1000.5}, '{"eve@evil.example": 1000.5}'),
        ({"site": "https://evil.example/x?y"}, "see evil.example"),
    ],
)
def test_what_a_call_tells_a_trusted_system_is_known_as_its_answer_would_have_it(told: JsonObject, answer: str):
    words = ResultWords(KEY, trusted=True)
    given = words.feed(json.dumps({"text": answer}).encode()) | words.finish()
    chosen = given & digests([b"eve@evil.example", b"1000.5", b"evil.example", b"le marais boutique"], KEY)
    target = Target("tool", "wiki", "read", "wiki", trust="trusted")

    found = [
        analyse(Call("tools/call", to, told), key=KEY, goal=None, contract=None).told_values
        for to in (target, replace(target, trust="untrusted"))
    ]

    assert chosen
    assert chosen <= found[0]
    assert not found[1]


def test_what_a_call_tells_a_trusted_system_is_too_much_when_it_is_not_looked_through():
    target = Target("tool", "wiki", "read", "wiki", trust="trusted")
    few, many = (
        analyse(Call("tools/call", target, {"body": "word " * size}), key=KEY, goal=None, contract=None).told_values
        for size in (MAX_TOLD_CHARACTERS // 5 - 2, MAX_TOLD_CHARACTERS // 5 + 1)
    )

    assert len(few) < 10
    assert len(many) > bounds.MAX_TOLD_TO_TRUSTED


def test_words_of_all_arguments_are_kept_names_of_members_included():
    found = content({"body": "zanzibarian", "deep": [{"smuggledword": [48213, 1.5, True, None]}], "to": "x"})

    assert digests([b"zanzibarian", b"smuggledword", b"48213"], KEY) <= found.tokens
    assert found.complete


def test_of_many_words_an_even_sample_is_kept():
    body = " ".join(f"identifier{number}" for number in range(5_000))

    assert len(content({"body": body}).tokens) == MAX_TOKENS
    assert sample_tokens(frozenset(range(MAX_TOKENS * 2))) == frozenset(range(MAX_TOKENS))


@pytest.mark.parametrize(
    "arguments",
    [
        {"body": "zanzibarian " * 30_000},
        {"to": [f"u{number}@x.example" for number in range(MAX_DESTINATIONS + 1)]},
        {"to": "a@x.example," * 30_000},
        {"to": "a@x.example," + "x" * MAX_TEXT},
        {"to": "a@x.example," * 5_000, "cc": "a@x.example," * 5_000, "bcc": ["a@x.example," * 5_000] * 3},
    ],
)
def test_too_much_is_called_incomplete_and_grounds_nothing_more(arguments: JsonObject):
    found = content(arguments, goal="a@x.example")

    assert not found.complete
    assert len(found.destinations) <= MAX_DESTINATIONS
    assert "body" in arguments or "/bcc" not in found.grounded


def finding(fingerprint: str, pointer: str = "/body", role: Role | None = Role.CONTENT) -> Finding:
    return Finding(fingerprint, "github-pat", "format", pointer, role, shingles=frozenset({7}))


class Detector:
    """Finds `ghp`, and again whatever it is told of."""

    def word_of(self, _fingerprint: str, _text: str, /) -> str | None:
        return None

    def inspect_leaves(
        self, walked: Leaves, roles: Mapping[str, Role], known: KnownShingles | CredentialIndex | None = None, /
    ) -> Inspection:
        assert roles == ROLES
        new = (finding("f1"),) if b"ghp" in walked.data else ()
        again = tuple(finding(fingerprint) for fingerprint in sorted(known if isinstance(known, Mapping) else ()))
        return Inspection((*new, *again), incomplete=b"too much" in walked.data)


def test_credentials_become_sightings_each_once():
    arguments: JsonObject = {"body": "ghp"}

    first = analyse(call(arguments), key=KEY, goal=None, contract=None, detector=Detector())
    again = analyse(
        call(arguments),
        key=KEY,
        goal=None,
        contract=None,
        detector=Detector(),
        known=dict.fromkeys(("f1", "f2"), frozenset[int]()),
    )

    assert first.sightings == (Sighting("f1", "github-pat", "/body", Role.CONTENT),)
    assert first.sightings[0].shingles == frozenset({7})
    assert first.complete
    assert {sighting.fingerprint for sighting in again.sightings} == {"f1", "f2"}
    assert len(again.sightings) == 2


def test_what_a_detector_could_not_look_at_whole_is_not_complete():
    found = analyse(call({"body": "too much"}), key=KEY, goal=None, contract=None, detector=Detector())

    assert not found.complete


LINK = "https://bucket.example/report?X-Amz-Signature=0123"


class Signed:
    """Finds a signed link wherever it is asked to look."""

    def __init__(
        self, pointer: str, role: Role | None, host: str | None = "bucket.example", kind: Kind = "presigned"
    ) -> None:
        self.finding = Finding("f1", "presigned-url", kind, pointer, role, host=host)

    def word_of(self, _fingerprint: str, _text: str, /) -> str | None:
        return None

    def inspect_leaves(
        self, _walked: Leaves, _roles: Mapping[str, Role], _known: KnownShingles | CredentialIndex | None = None, /
    ) -> Inspection:
        return Inspection((self.finding, Finding("f1", "github-pat", "seen", self.finding.pointer, Role.CONTENT)))


def signed(arguments: JsonObject, detector: Signed) -> tuple[Sighting, ...]:
    return analyse(call(arguments), key=KEY, goal=None, contract=None, detector=detector).sightings


def test_a_signed_link_that_is_where_the_call_goes_is_no_credential_there():
    assert signed({"to": LINK}, Signed("/to", Role.DESTINATION)) == ()


@pytest.mark.parametrize(
    ("arguments", "detector"),
    [
        ({"body": LINK}, Signed("/body", Role.CONTENT)),
        ({"other": LINK}, Signed("/other", None)),
        ({"to": f"see {LINK}"}, Signed("/to", Role.DESTINATION)),
        ({"to": [LINK, "https://evil.example"]}, Signed("/to/0", Role.DESTINATION, "other.example")),
        ({"to": LINK.replace("bucket.example", "bucket.example@evil.example")}, Signed("/to", Role.DESTINATION)),
        ({"to": f"https://evil.example/?next={LINK}"}, Signed("/to", Role.DESTINATION)),
        ({"to": LINK}, Signed("/to", Role.DESTINATION, None)),
        ({"to": LINK}, Signed("/to", Role.DESTINATION, kind="seen")),
        ({"to": LINK, "To": f"https://evil.example/?next={LINK}"}, Signed("/To", Role.DESTINATION)),
        ({"to": LINK.replace("https", "http")}, Signed("/to", Role.DESTINATION)),
    ],
)
def test_a_signed_link_anywhere_else_is_one(arguments: JsonObject, detector: Signed):
    assert signed(arguments, detector) != ()


HOSTILE: list[JsonObject] = [
    {"to": 'a@b."' * 13_000},
    {"to": '"\\' * 32_000 + "@" * 32_000},
    {"to": "(" * 65_000},
    {"to": "<" * 65_000},
    {"to": "[" * 65_000},
    {"to": "a@" * 32_000},
    {"to": "a." * 32_000},
    {"to": ["\u0430" * 2_000 + ".com"] * 100},
    {"to": {str(number): "x" * 40 for number in range(90_000)}},
    {"to": [str(number) for number in range(100_000)]},
    {"body": "abcdefgh " * 450_000},
    {"a": {f"key{number}": number for number in range(100_000)}},
    {"T" + "_" * number + "o": "x" for number in range(2_000)},
]


@pytest.mark.parametrize("arguments", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_arguments_take_bounded_time(arguments: JsonObject):
    with effort.at_most(2):
        found = content(arguments, goal="x " * 8_000)
    assert len(found.destinations) <= MAX_DESTINATIONS
    assert len(found.tokens) <= MAX_TOKENS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.sampled_from(list(Role)), st.text(max_size=30) | st.none())
def test_no_arguments_are_too_odd(value: object, role: Role, goal: str | None):
    arguments = cast("JsonObject", {"to": value})

    found = content(arguments, {"/to": role, "/to/*": role}, goal=goal)

    assert found.grounded <= found.authority.keys()


def test_the_links_of_a_text_need_grounds_and_are_no_destinations():
    goal = "Tell them about https://docs.example/page"
    linked = content({"body": "see https://docs.example/other and www.evil.example"}, goal=goal)

    assert linked.authority == {"/body": digests([b"docs.example", b"www.evil.example"], KEY)}
    assert linked.grounded == frozenset()
    assert linked.destinations == {}
    assert content({"body": "see docs.example/other"}, goal=goal).grounded == {"/body"}
    assert content({"body": "see nothing, bob@evil.example"}, goal=goal).authority == {}


@pytest.mark.parametrize(
    "body",
    [
        " ".join(f"https://h{number}.example/" for number in range(MAX_DESTINATIONS + 1)),
        ["https://docs.example/", "x" * MAX_CHARACTERS],
    ],
)
def test_more_links_than_are_looked_at_are_never_grounded(body: Json):
    given = [f"https://h{number}.example/" for number in range(MAX_DESTINATIONS + 1)]
    linked = content({"body": body}, goal="Tell them about https://docs.example/")

    known = digests([*(f"h{number}.example".encode() for number in range(len(given))), b"docs.example"], KEY)
    assert linked.complete is (not isinstance(body, list))
    assert linked.grounded == frozenset()
    assert not linked.authority["/body"] <= known


# --- what the goal names -------------------------------------------------------------------------------

GOAL = "Summarise what Bob wrote in general, and www.site.example/news"
READS = Labels(effect=Effect.READ, roles={"/channel": Role.SELECTOR, "/url": Role.DESTINATION})


def said(arguments: JsonObject, labels: Labels = READS, goal: str | None = GOAL) -> tuple[bool, bool]:
    """Whether a call says something of its own, and whether it reads what the goal points at."""
    made = Call("tools/call", Target("tool", "chat", "read", "chat", labels=labels), arguments)
    found = analyse(made, key=KEY, goal=goal, contract=None)
    return found.has_off_goal_text, found.follows_goal


@pytest.mark.parametrize(
    "arguments",
    [
        {"channel": "general"},
        {"channel": "General", "limit": 50, "threads": True, "before": None},
        {"url": "www.site.example/news"},
        {"url": "https://www.site.example/news"},
        {"channel": ["general", "Bob"]},
    ],
)
def test_a_read_by_what_the_goal_names_is_directed(arguments: JsonObject):
    assert said(arguments) == (False, True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"channel": "random"},
        {"channel": "general", "note": "secret"},
        {"channel": "general", "filter": {"by": ["secret"]}},
        {"channel": "general", "secret.example/4711": 1},
        {"url": "www.site.example/news/secret"},
        {"url": "www.site.example/news?q=secret"},
        {"channel": "in"},
        {"channel": ["general"] * MAX_LOOKED_UP},
    ],
)
def test_a_text_that_the_goal_does_not_name_is_the_tasks_own(arguments: JsonObject):
    assert said(arguments) == (True, False)


def test_a_read_without_a_text_says_nothing_and_points_nowhere():
    assert said({}) == (False, False)
    assert said({"limit": 5, "flags": [True, {}]}) == (False, False)


def test_a_call_that_may_change_something_always_says_something():
    assert said({"channel": "general"}, Labels(effect=Effect.WRITE)) == (True, False)
    assert said({}, Labels(effect=Effect.EXEC)) == (True, False)


def test_without_a_goal_nothing_is_pointed_at():
    assert said({"channel": "general"}, goal=None) == (True, False)


def test_a_call_that_is_a_link_is_known_by_its_digest():
    call_of = Call(
        "tools/call", Target("tool", "web", "get", "web", labels=READS), {"url": "https://www.site.example/"}
    )

    assert analyse(call_of, key=KEY, goal=None, contract=None).links == {"/url": digest("www.site.example", KEY)}
    assert content({"to": "www.site.example", "body": "hello"}).links == {}


def test_encoded_words_are_known_again():
    encoded_text = base64.b64encode(b"the zanzibarian ledger").decode()

    assert digests({b"zanzibarian"}, KEY) <= content({"body": f"see {encoded_text}"}).tokens


@pytest.mark.parametrize("count", [1, 4, 5])
def test_few_hosts_of_a_text_have_the_same_digests_as_many(count: int):
    hosts = [f"site{number}.example" for number in range(count)]
    body = " ".join(f"https://{host}/page" for host in hosts)

    assert content({"body": body}).authority["/body"] == digests([host.encode() for host in hosts], KEY)
    assert analyse(call({"body": body}), key=b"o" * 32, goal=None, contract=None).authority["/body"] == digests(
        [host.encode() for host in hosts], b"o" * 32
    )
