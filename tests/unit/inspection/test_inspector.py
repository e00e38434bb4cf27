from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest

from benchmarks.credentials.examples import example
from gateway.inspection.credentials import ruleset, stream
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Suppression, Suppressions
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.inspector import Inspector
from gateway.inspection.words.words import digests, distinctive, mentions
from gateway.model.call import Call
from gateway.model.content import CallContent, Relevance, ResultContent
from gateway.model.target import Effect, Labels, Role, Target
from gateway.model.task import Contract, Task
from gateway.model.wire import JsonObject
from tests.unit.inspection.authority import value_digests

KEY = b"k" * 32
RULES = ruleset.load()
SECRET = example(next(rule.example for rule in RULES.rules if rule.id == "github-pat"), Random(7))
INSPECTOR = Inspector(KEY, Detector(RULES, Fingerprints(b"f" * 32)))
FINGERPRINT = INSPECTOR.detector.find(SECRET)[0]
TARGET = Target("tool", "mail", "send", "mail", labels=Labels(roles={"/to": Role.DESTINATION}))
TASK = Task("t", "implicit", 0.0)


def look(
    arguments: JsonObject,
    task: Task = TASK,
    seen: Mapping[str, frozenset[int]] | None = None,
    inspector: Inspector = INSPECTOR,
) -> CallContent:
    return inspector.call(Call("tools/call", TARGET, arguments), task, seen or {})


def read(
    data: bytes, target: Target = TARGET, inspector: Inspector = INSPECTOR, goal: str | None = None
) -> ResultContent:
    looking = inspector.result(Call("tools/call", target, {}), replace(TASK, goal=goal))
    parts = [part for part in (looking.feed(data), looking.finish()) if part is not None]
    return ResultContent(
        tuple(sighting for part in parts for sighting in part.sightings),
        frozenset(token for part in parts for token in part.tokens),
        links=frozenset(link for part in parts for link in part.links),
    )


def test_the_goal_and_the_contract_of_a_task_ground_a_call():
    arguments = {"to": "ana@corp.example"}

    assert not look(arguments).grounded
    assert look(arguments, replace(TASK, goal="tell ana@corp.example")).grounded == {"/to"}
    contract = Contract(destinations=("ana@corp.example",))
    assert look(arguments, replace(TASK, contract=contract)).grounded == {"/to"}


def test_a_credential_is_found_by_its_form_and_again_in_any_form_once_it_was_seen():
    shown = {FINGERPRINT.fingerprint: FINGERPRINT.shingles}
    halves = {"one": SECRET[:22], "two": SECRET[22:]}

    assert [item.fingerprint for item in look({"body": f"use {SECRET}"}).sightings] == [FINGERPRINT.fingerprint]
    assert look(halves).sightings == ()
    assert {item.fingerprint for item in look(halves, seen=shown).sightings} == {FINGERPRINT.fingerprint}


def test_a_credential_is_found_where_the_signature_of_a_link_would_stand():
    seen = {FINGERPRINT.fingerprint: FINGERPRINT.shingles}
    for known in (seen, {}):
        (sighting,) = look({"to": f"https://evil.example/k?X-Amz-Signature={SECRET}"}, seen=known).sightings
        assert (sighting.fingerprint, sighting.detector) == (FINGERPRINT.fingerprint, "github-pat")


def test_a_signed_link_goes_home_and_its_signature_nowhere_else():
    link = f"https://bucket.example/k?X-Amz-Signature={'fe5f80f77d5fa3beca03' * 2}"
    (signed,) = INSPECTOR.detector.find(link)
    seen = {signed.fingerprint: signed.shingles}

    assert look({"to": link}, seen=seen).sightings == look({"to": link}).sightings == ()
    for elsewhere in (link.replace("bucket.example", "evil.example"), f"https://evil.example/?next={link}"):
        assert signed.fingerprint in {item.fingerprint for item in look({"to": elsewhere}, seen=seen).sightings}


def test_what_a_call_tells_a_trusted_system_is_looked_for_where_it_is_wanted():
    call = Call("tools/call", replace(TARGET, trust="trusted"), {"body": "eve@evil.example"})

    assert INSPECTOR.call(call, TASK, {}).told_values
    assert not INSPECTOR.call(call, TASK, {}, relevance=Relevance(told=False)).told_values


def test_the_words_of_a_result_are_looked_for_where_they_are_wanted_or_links_are():
    page = b'{"text": "zanzibarian https://site.example/page"}'

    def seen(goal: str | None, *, words: bool) -> ResultContent | None:
        call = Call("tools/call", replace(TARGET, labels=Labels(effect=Effect.READ)), {})
        return INSPECTOR.result(call, replace(TASK, goal=goal), words=words).finish(page)

    everything = seen("read the news", words=True)
    assert everything is not None
    assert everything.tokens
    assert everything.links
    assert seen("read the news", words=False) == everything
    assert seen(None, words=False) is None


def test_the_digests_are_of_the_key():
    arguments = {"to": "ana@corp.example", "body": "zanzibarian"}

    other = look(arguments, inspector=Inspector(b"o" * 32, INSPECTOR.detector))
    assert look(arguments).tokens.isdisjoint(other.tokens)
    assert look(arguments).destinations.keys().isdisjoint(other.destinations)


def test_of_a_result_words_and_credentials_are_kept_by_whether_it_is_trusted():
    text = f"zanzibarian of ana@corp.example {base64.b64encode(SECRET.encode()).decode()}"
    data = json.dumps({"text": text}).encode()

    untrusted, trusted = read(data), read(data, replace(TARGET, trust="trusted"))
    assert digests(distinctive("zanzibarian"), KEY) <= untrusted.tokens
    assert digests(mentions("ana@corp.example"), KEY) <= trusted.tokens
    assert untrusted.tokens != trusted.tokens
    for content in (untrusted, trusted):
        assert [(item.fingerprint, item.form) for item in content.sightings] == [(FINGERPRINT.fingerprint, "base64")]
    assert read(data, inspector=Inspector(b"o" * 32, INSPECTOR.detector)).tokens.isdisjoint(untrusted.tokens)


def test_a_completion_of_a_trusted_system_is_no_ground():
    """It is what it was told, with an end to it. Credentials are found in it all the same."""
    prompt = Target("prompt", "mail", "travel", "mail", trust="trusted", labels=Labels(effect=Effect.READ))
    data = json.dumps({"values": ["eve@evil.example", SECRET]}).encode()
    got, completion = Call("prompts/get", prompt, {}), Call("completion/complete", prompt, {})
    untrusted = Call("completion/complete", replace(prompt, trust="untrusted"), {})
    for call, words in ((got, True), (completion, False), (untrusted, True)):
        content = INSPECTOR.result(call, TASK).finish(data)
        assert content is not None
        assert (bool(content.tokens), len(content.sightings)) == (words, 1)


def test_links_are_looked_for_in_what_is_read_for_a_goal():
    data, reads = b'"see www.site.example "', replace(TARGET, labels=Labels(effect=Effect.READ))

    assert read(data, reads, goal="look").links == digests({b"www.site.example"}, KEY)
    assert read(data, reads).links == read(data, goal="look").links == frozenset()


def test_the_spots_of_a_text_are_counted_in_characters():
    text = f"é 😀 {SECRET} \ud800 and {SECRET}."

    found = INSPECTOR.spots(text)
    assert [text[start:end] for start, end, _ in found] == [SECRET, SECRET]
    assert {name for _, _, name in found} == {f"github-pat:{FINGERPRINT.fingerprint}"}


def test_two_credentials_in_one_place_are_one_spot():
    """A value and what it is in base64."""
    text = "password: aHVudGVyMng= and password: hunter3x"

    assert [text[start:end] for start, end, _ in INSPECTOR.spots(text)] == ["aHVudGVyMng=", "hunter3x"]


@pytest.mark.parametrize("goal", ['tell "ana@corp.example"\nof é\ud800', "line\nana@corp.example"])
def test_what_a_task_declares_is_as_good_as_the_user_saying_it(goal: str):
    content = INSPECTOR.declared(f"{goal} {SECRET}", Contract(destinations=("bob@corp.example",)))

    assert digests(mentions("ana@corp.example"), KEY) <= content.tokens
    assert digests(mentions("bob@corp.example"), KEY) <= content.tokens
    assert [item.fingerprint for item in content.sightings] == [FINGERPRINT.fingerprint]
    assert INSPECTOR.declared(None, None) == INSPECTOR.declared(None, Contract()) == ResultContent()


def test_a_name_in_a_goal_is_one_to_which_the_user_sends():
    known = INSPECTOR.declared('write to "Le Marais Boutique"', None).tokens

    assert value_digests("le marais boutique", Role.DESTINATION, KEY) <= known


def test_the_key_of_the_deployment_is_not_shown():
    assert KEY.decode() not in repr(INSPECTOR)


# --- suppressions --------------------------------------------------------------------------------------


def test_what_is_taken_for_no_credential_is_found_neither_in_calls_nor_in_results():
    suppressions = Suppressions([Suppression("mail", 10.0, detector="github-pat")]).of(TARGET, 0.0)
    call, data = Call("tools/call", TARGET, {"body": SECRET}), json.dumps({"text": SECRET}).encode()

    assert INSPECTOR.call(call, TASK, {}, suppressions=suppressions).sightings == ()
    looking = INSPECTOR.result(call, TASK, suppressions=suppressions)
    found = [part for part in (looking.feed(data), looking.finish()) if part is not None]
    assert [part.sightings for part in found if part.sightings] == []


def test_what_the_task_was_shown_is_found_all_the_same():
    shown = {FINGERPRINT.fingerprint: FINGERPRINT.shingles}
    suppressions = Suppressions([Suppression("*", 10.0, detector="*")]).of(TARGET, 0.0)
    call, data = Call("tools/call", TARGET, {"body": SECRET}), json.dumps({"text": SECRET}).encode()

    assert {item.fingerprint for item in INSPECTOR.call(call, TASK, shown, suppressions=suppressions).sightings} == set(
        shown
    )
    looking = INSPECTOR.result(call, TASK, suppressions=suppressions, seen=shown)
    found = [part for part in (looking.feed(data), looking.finish()) if part is not None]
    assert [item.fingerprint for part in found for item in part.sightings] == list(shown)


@pytest.mark.parametrize("once", [True, False])
def test_of_a_result_nothing_is_taken_for_no_credential_but_what_is_suppressed(*, once: bool):
    suppressions = Suppressions([Suppression("mail", 10.0, detector="jwt")]).of(TARGET, 0.0)
    looking = INSPECTOR.result(Call("tools/call", TARGET, {}), TASK, suppressions=suppressions)
    data = json.dumps({"text": SECRET}).encode()
    parts = (looking.finish(data),) if once else (looking.feed(data), looking.finish())
    found = [part for part in parts if part is not None]

    assert [item.fingerprint for part in found for item in part.sightings] == [FINGERPRINT.fingerprint]
    assert all(part.complete for part in found)


def test_with_suppressions_too_a_result_may_have_more_credentials_than_are_told_apart(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream, "MAX_FINDINGS", 1)
    suppressions = Suppressions([Suppression("mail", 10.0, detector="github-pat")]).of(TARGET, 0.0)
    other = example(next(rule.example for rule in RULES.rules if rule.id == "github-pat"), Random(8))
    looking = INSPECTOR.result(Call("tools/call", TARGET, {}), TASK, suppressions=suppressions)
    content = looking.finish(json.dumps([SECRET, other]).encode())

    assert content is not None
    assert (content.sightings, content.complete) == ((), False)
