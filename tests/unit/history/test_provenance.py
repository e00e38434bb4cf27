from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.history.provenance import DENIALS, Provenance
from gateway.model.content import CallContent, CredentialPiece, ResultContent, Sighting
from gateway.model.errors import HistoryError
from gateway.model.target import Effect, Role, Sensitivity
from gateway.model.task import Contract, Task
from tests.requirements import requirement
from tests.unit.history.lives import CALLS, CONTENTS, RESULTS, sources
from tests.unit.history.recording import stream
from tests.unit.history.sessions import AGENT, Session, holding, showing, target

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject

    from gateway.model.wire import JsonObject

DAMAGES: list[dict[str, Any]] = [
    {"history": None},
    {"history": {"event": "settled", "call": "c1"}},
    {"target": {}},
    {"principal": None},
    {"found": {"credentials": [{}]}},
    {"found": {"ungrounded": 1}},
]


@pytest.fixture
def session() -> Session:
    return Session()


# --- the facts ---------------------------------------------------------------------------------------


def _step(data: DataObject, session: Session, opened: list[str]) -> None:
    match data.draw(
        st.sampled_from(["begin", "begin", "deny", "ask", "fail", "show", "show", "settle", "endorse", "read"])
    ):
        case "begin":
            opened.append(session.begin(data.draw(CALLS).target, data.draw(CONTENTS)))
        case "deny":
            session.deny(data.draw(CALLS).target, data.draw(CONTENTS))
        case "ask":
            session.refuse(data.draw(CALLS).target, data.draw(CONTENTS), effect="ask")
        case "fail":
            session.refuse(data.draw(CALLS).target, data.draw(CONTENTS), undecided=True)
        case "read":
            of = data.draw(st.none() | st.sampled_from(opened)) if opened else None
            past_call = (
                None
                if of is None
                else session.history.ledger.past_call(session.task, of, target("a"), Sensitivity.PUBLIC)
            )
            session.read(replace(data.draw(sources()), past_call=past_call), data.draw(RESULTS))
        case "endorse":
            session.write(
                "task", session.history.ledger.endorse(session.task, data.draw(st.frozensets(st.integers(0, 9))))
            )
        case "show" if opened:
            session.show(data.draw(st.sampled_from(opened)), data.draw(RESULTS))
        case "settle" if opened:
            call_id = opened.pop(data.draw(st.integers(0, len(opened) - 1)))
            session.settle(call_id, data.draw(st.none() | RESULTS))
        case _:
            pass


@given(st.data())
def test_the_facts_are_those_of_the_decision(data: DataObject):
    session, opened = Session(), list[str]()
    for _ in range(data.draw(st.integers(1, 20))):
        _step(data, session, opened)

    for call_id, then in session.facts.items():
        explanation = session.explain(call_id)
        assert explanation.facts == structs.replace(then, call_destinations=None)
        assert explanation.destinations == (None if then.call_destinations is None else explanation.destinations)
        assert explanation.missing == 0


def test_a_credential_that_another_task_was_shown_stays_that_systems(session: Session):
    item = Sighting("s", "named", "/token", Role.CREDENTIAL, shown_by="vault")
    last = session.call(target("a"), CallContent(sightings=(item,), grounded=frozenset({"/token"})))

    held = session.explain(last).facts.credentials
    assert held is not None
    assert [(credential.fingerprint, credential.origin.audience) for credential in held] == [
        (item.fingerprint, "vault")
    ]


def test_a_plain_word_stays_one(session: Session):
    shown = ResultContent((Sighting("s", "named-token", ordinary=True),))
    session.call(target("tickets"), CallContent(), shown)
    item = Sighting("s", "seen", "/id", word=7, in_goal=True)
    last = session.call(target("a"), CallContent(sightings=(item,)))

    held = session.explain(last).facts.credentials
    assert held is not None
    assert [credential.plain_word for credential in held] == [True]
    assert held == session.facts[last].credentials


def test_a_credential_that_the_user_gave_stays_one(session: Session):
    item = Sighting("s", "named", "/token", Role.CREDENTIAL)
    last = session.call(target("a"), CallContent(sightings=(item,), grounded=frozenset({"/token"})))

    held = session.explain(last).facts.credentials
    assert held is not None
    assert [(credential.fingerprint, credential.origin.kind) for credential in held] == [(item.fingerprint, "user")]


def test_a_link_that_was_followed_is_told(session: Session):
    session.call(target("chat"), CallContent(follows_goal=True), ResultContent(links=frozenset({1})))
    last = session.call(target("web"), CallContent(links={"/url": 1}))

    assert session.explain(last).facts.followed == session.facts[last].followed == ("/url",)


def test_what_was_declared_is_told():
    session = Session()
    session.task = Task("t-1", "declared", 1000.0, 2000.0, "mend it", contract=Contract(frozenset({"a"})))
    session.write("task", session.history.tasks.open(AGENT, session.task, ResultContent()))
    call_id = session.begin(target("a"))

    declared: Any = session.explain(call_id).declared
    assert declared["goal"] == "mend it"
    assert declared["contract"]["audiences"] == ["a"]


def test_calls_at_the_same_time_are_told_though_their_entries_come_later(session: Session):
    """The facts were those of the moment when the call was counted."""
    slow, entry = session.count(target("a"))
    quick = session.begin(target("b"))
    after, later = session.count(target("c"))
    session.write("call", later)
    session.write("call", entry)
    session.settle(slow)
    session.settle(quick)

    assert session.explain(quick).facts == structs.replace(session.facts[quick], call_destinations=None)
    assert session.causes(quick, "audiences") == [
        (slow, "was the first to touch a"),
        (quick, "was the first to touch b"),
    ]
    assert session.causes(quick, "in_flight") == [(slow, "was open"), (quick, "was open")]
    assert session.explain(after).facts.audiences == {"a", "b", "c"}


def test_calls_of_another_gateway_count_whatever_numbers_its_journal_has(session: Session):
    first = session.call(target("a"))
    last = session.call(target("b"))
    elsewhere = [entry if entry.get("id") == last else {**entry, "seq": 9_000} for entry in session.entries]

    found = session.explain(last, elsewhere)
    assert found.missing == 0
    assert found.facts == session.explain(last).facts
    assert [cause.call.id for cause in found.causes["audiences"]] == [first, last]


def test_nothing_is_read_beyond_what_matters(session: Session):
    calls = [session.call(target("a")) for _ in range(3)]
    provenance = Provenance(next(entry for entry in session.entries if entry.get("id") == calls[1]))

    taken = [provenance.take(entry) for entry in session.entries]
    assert taken.index(False) == next(n for n, entry in enumerate(session.entries) if entry.get("id") == calls[1])


def test_calls_that_the_journal_has_no_more_are_counted(session: Session):
    session.call(target("a"))
    session.call(target("b"))
    last = session.call(target("c"))

    explanation = session.explain(last, [entry for entry in session.entries if entry.get("id") != "c1"])
    assert explanation.missing == 1
    assert explanation.facts.audiences == {"b", "c"}


@pytest.mark.parametrize(
    "damage",
    [
        {"history": None},
        {"history": {"event": "settled", "call": "c1"}},
        {"history": {"event": "reserved", "call": "c1"}},
        {"target": None},
    ],
)
def test_a_damaged_entry_of_an_earlier_call_is_a_sentence(session: Session, damage: dict[str, Any]):
    session.call(target("a"), holding("s"))
    other = session.begin(target("b"))

    with pytest.raises(HistoryError, match="of the journal cannot be read"):
        session.explain(other, [{**session.entries[0], **damage}])


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_damaged_entry_of_the_decision_is_a_sentence(session: Session, damage: dict[str, Any]):
    session.call(target("a"), holding("s"))

    with pytest.raises(HistoryError, match="entry 1 of the journal cannot be read"):
        Provenance({**session.entries[0], **damage}).explanation()


# --- what made them ----------------------------------------------------------------------------------


@requirement("explain/causes")
def test_fan_out_names_the_calls_that_first_touched_each_system(session: Session):
    session.call(target("a"))
    session.call(target("a", Effect.WRITE, tenant="x", environment="test"))
    session.deny(target("d", Effect.WRITE))
    session.call(target("b"))
    last = session.deny(target("c", Effect.WRITE, tenant="x"))

    assert session.causes(last, "audiences") == [
        ("c1", "was the first to touch a"),
        ("c4", "was the first to touch b"),
        (last, "was the first to touch c"),
    ]
    assert session.causes(last, "write_audiences") == [
        ("c2", "was the first to change a"),
        (last, "was the first to change c"),
    ]
    assert session.causes(last, "tenants") == [("c2", "was the first in tenant x")]
    assert session.causes(last, "environments") == [("c2", "was the first in environment test")]
    assert [
        (cause.call.number, cause.call.time, cause.call.target) for cause in session.explain(last).causes["audiences"]
    ][:2] == [(1, "T1", "a/use"), (4, "T7", "b/use")]


def test_a_burst_names_the_latest_calls_within_the_window(session: Session):
    session.call(target("old"))
    session.now += 100
    session.call(target("a"))
    session.call(target("a"))
    last = session.deny(target("b"))

    assert session.causes(last, "audiences_in_window") == [("c3", "touched a"), (last, "touched b")]


def test_destinations_are_counted_by_the_call_that_first_reached_them(session: Session):
    session.call(target("a"), CallContent(destinations={1: "x"}))
    session.call(target("a"), CallContent(destinations={1: "x"}))
    last = session.deny(target("a"), CallContent(destinations={1: "x", 2: "y", 3: "z"}))

    assert session.causes(last, "destinations") == [
        ("c1", "was the first to reach one destination"),
        (last, "was the first to reach 2 destinations"),
    ]
    assert session.explain(last).destinations == 3


@requirement("explain/causes")
def test_a_credential_names_the_call_whose_result_showed_it_and_what_led_there(session: Session):
    session.call(target("vault"), result=showing("first"))
    session.call(target("vault"), result=showing("other"))
    session.call(target("vault"), holding("first"), showing("second", "first"))
    last = session.deny(target("mail"), holding("second", "other"))

    assert session.causes(last, "credentials/0") == [
        ("c1", "showed a credential that was used on the way there"),
        ("c3", "showed the credential in its result"),
    ]
    assert session.causes(last, "credentials/1") == [("c2", "showed the credential in its result")]


@requirement("explain/causes")
def test_a_credential_in_pieces_names_the_calls_that_carried_them(session: Session):
    shingles = frozenset(number << 16 | number - 1 for number in range(1, 16))
    session.call(target("vault"), result=ResultContent((Sighting("first", "jwt", shingles=shingles),)))

    def carrying(first: int, last: int) -> CallContent:
        grams = frozenset(number << 16 for number in range(first + 1, last - 4))
        return CallContent(pieces=(CredentialPiece("first", shingles, grams),))

    session.call(target("mail"), carrying(0, 9))
    session.call(target("chat"), carrying(0, 9))
    last = session.deny(target("mail"), carrying(9, 20))

    assert session.causes(last, "credentials/0") == [
        ("c1", "showed the credential in its result"),
        ("c2", "carried a part of the credential there"),
    ]


@requirement("explain/causes", "history/read-elsewhere")
def test_a_credential_names_the_reading_that_showed_it(session: Session):
    session.call(target("vault"))
    session.read(stream("crm"), ResultContent(tokens=frozenset({1})))
    session.read(stream("crm"), showing("first"))
    begun = session.begin(target("vault"), holding("first"))
    past_call = session.history.ledger.past_call(session.task, begun, target("vault"), Sensitivity.PUBLIC)
    session.settle(begun)
    session.read(replace(stream("vault"), past_call=past_call), showing("second"))
    last = session.deny(target("mail"), holding("second"))

    explanation = session.explain(last)
    found = [
        (cause.call.number, cause.call.reading, cause.call.target, cause.how)
        for cause in explanation.causes["credentials/0"]
    ]
    assert found == [
        (3, True, "crm a stream", "showed a credential that was used on the way there"),
        (4, True, "vault a stream, the late result of call 4,", "showed the credential"),
    ]
    assert explanation.missing == 0
    assert session.causes(last, "labels/untrusted") == [("c1", "was the first to read something untrusted")]


def test_words_of_a_reading_name_it(session: Session):
    session.read(stream("issues"), showing(tokens=frozenset({1})))
    session.call(target("chat"), CallContent(tokens=frozenset({1})))
    last = session.deny(target("mail"), CallContent(tokens=frozenset({1})))

    assert [how for _, how in session.causes(last, "spread")] == [
        "read the untrusted data",
        "carried words of it to chat",
        "carried words of it to mail",
    ]
    assert {call for call, _ in session.causes(last, "labels")} == {"r0"}


def test_what_was_read_after_the_call_was_counted_is_not_told(session: Session):
    last, entry = session.count(target("mail"))
    session.read(stream("issues", sensitivity=Sensitivity.RESTRICTED), showing("late"))
    session.write("call", entry)

    explanation = session.explain(last)
    assert explanation.facts == structs.replace(session.facts[last], call_destinations=None)
    assert explanation.missing == 0


def test_parts_of_a_reading_count_once(session: Session):
    session.read(stream("crm"), showing("first"))
    session.read(stream("crm"), showing("second"), number=1)
    last = session.deny(target("mail"), holding("second"))

    assert session.explain(last).missing == 0


def test_credentials_that_lead_to_one_another_end(session: Session):
    session.call(target("a"), holding("two"), showing("one"))
    session.call(target("a"), holding("one"), showing("two"))
    last = session.deny(target("b"), holding("one"))

    assert len(session.causes(last, "credentials/0")) == 2


def test_a_credential_of_unknown_origin_names_the_call_that_first_had_it(session: Session):
    session.call(target("a"), holding("s"))
    last = session.deny(target("b"), holding("s", "t"))

    assert session.causes(last, "credentials/0") == [("c1", "was the first to carry it")]
    assert session.causes(last, "credentials/1") == []


@requirement("explain/causes")
def test_toxic_flow_names_the_first_untrusted_and_the_most_confidential_read(session: Session):
    session.call(target("wiki", trust="trusted"))
    session.call(target("issues"))
    session.call(target("issues"))
    session.call(target("crm", trust="trusted", sensitivity=Sensitivity.CONFIDENTIAL))
    last = session.deny(target("mail"))

    assert session.causes(last, "labels/untrusted") == [("c2", "was the first to read something untrusted")]
    assert session.causes(last, "labels/confidentiality") == [("c4", "was the first to read something so confidential")]
    assert [call for call, _ in session.causes(last, "labels")] == ["c2", "c4"]
    assert [call for call, _ in session.causes(last, "ungrounded")] == ["c2"]


def test_what_a_call_reads_while_it_is_open_counts(session: Session):
    reading = session.begin(target("issues"))
    session.show(reading, ResultContent())
    last = session.deny(target("mail"))

    assert [call for call, _ in session.causes(last, "labels/untrusted")] == [reading]


@requirement("explain/causes")
def test_spread_names_the_result_and_where_its_words_went(session: Session):
    session.call(target("issues"), result=showing(tokens=frozenset({1})))
    session.call(target("chat"), CallContent(tokens=frozenset({1})))
    session.call(target("chat"), CallContent(tokens=frozenset({1})))
    last = session.deny(target("mail"), CallContent(tokens=frozenset({1})))

    assert session.causes(last, "spread") == [
        ("c1", "read the untrusted data"),
        ("c2", "carried words of it to chat"),
        (last, "carried words of it to mail"),
    ]


def test_words_that_were_looked_for_when_the_answer_was_on_its_way_name_its_call(session: Session):
    session.settle(session.begin(target("issues")), showing(tokens=frozenset({1})))
    last = session.deny(target("mail"), CallContent(tokens=frozenset({1})))

    assert session.causes(last, "spread") == [
        ("c1", "read the untrusted data"),
        (last, "carried words of it to mail"),
    ]


def test_the_words_of_a_call_that_a_crash_cut_off_may_be_any(session: Session):
    call_id = session.begin(target("issues"))
    session.history.ledger.observe(session.task, call_id, ResultContent(complete=False))
    session.history.ledger.settle(session.task, call_id)
    session.write("abandoned", {"id": call_id})
    last = session.deny(target("mail"), CallContent(tokens=frozenset({2})))

    assert session.causes(last, "spread") == [
        ("c1", "read more of issues than is kept apart"),
        (last, "may have carried it to mail"),
    ]


def test_spread_of_what_is_not_kept_apart_names_what_may_have_carried_it(session: Session):
    session.call(target("issues"), result=ResultContent(complete=False))
    session.call(target("chat"), CallContent(tokens=frozenset({1})))
    last = session.deny(target("mail"), CallContent(tokens=frozenset({2})))

    assert session.causes(last, "spread") == [
        ("c1", "read more of issues than is kept apart"),
        ("c2", "may have carried it to chat"),
        (last, "may have carried it to mail"),
    ]


def test_of_the_refused_calls_the_latest_are_named(session: Session):
    for _ in range(DENIALS + 2):
        session.deny(target("a"))
    last = session.deny(target("a"))

    named = session.causes(last, "denials")
    assert [call for call, _ in named] == [f"c{number}" for number in range(3, DENIALS + 3)]
    assert session.explain(last).facts.denials == DENIALS + 2


def test_an_entry_that_comes_twice_changes_nothing(session: Session):
    """As after a crash between two writes."""
    session.call(target("a"))
    last = session.deny(target("b"))
    entries: list[JsonObject] = [{**entry, "seq": 1} for entry in session.entries for _ in range(2)]

    explanation = session.explain(last, entries)
    assert explanation.facts.audiences == {"a", "b"}
    assert [cause.call.id for cause in explanation.causes["labels/untrusted"]] == ["c1"]
