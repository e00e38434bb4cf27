"""Passkeys of approvers: registration by an invitation, signed votes, and attempts to sign without the person."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gateway.authority.approvals.model import ApproverRule, Person, Question, Vote
from gateway.authority.approvals.passkey import Passkey, find_relying_party, origin_of
from gateway.authority.approvals.passkeys import INVITATION_SECONDS, PER_PERSON, Passkeys
from gateway.authority.approvals.state import ask, count_vote
from gateway.base.control.operations import OperatorName
from gateway.model.decision import Reason
from gateway.model.wire import JsonObject
from tests.authenticator import Authenticator, decode, encode
from tests.unit.authority.approvals.making import ALICE, BOB, Recorder, no, question, yes
from tests.unit.base.store.keeping import sealed_store
from tests.unit.clock import Clock

ORIGIN = "https://gateway.example"
OPERATOR = OperatorName("olga", "https://idp.example")
RULE = ApproverRule(seconds=900.0, assurance="passkey", scopes=("once", "destination"))


@dataclass
class Desk:
    """Passkeys with what surrounds these."""

    passkeys: Passkeys
    recorder: Recorder
    clock: Clock

    async def register(self, person: Person = BOB, authenticator: Authenticator | None = None) -> Authenticator:
        made = authenticator or Authenticator(ORIGIN)
        code, _ = await self.passkeys.invite(person.id, person.issuer, OPERATOR)
        options = await self.passkeys.begin_registration(person, code)
        assert isinstance(options, dict)
        key = await self.passkeys.register(person, code, "laptop", made.make(options))
        assert isinstance(key, Passkey)
        return made

    async def options(self, asked: Question, vote: Vote) -> dict[str, Any]:
        found = await self.passkeys.begin_vote(asked, vote)
        assert isinstance(found, dict)
        return found

    async def refusal(self, asked: Question, vote: Vote, answer: str) -> str:
        found = await self.passkeys.sign(asked, vote, answer)
        assert isinstance(found, Reason)
        return f"{found.code}: {found.message}"


@pytest.fixture
def there(tmp_path: Path) -> Desk:
    recorder, clock = Recorder(), Clock(900.0)
    return Desk(
        Passkeys(sealed_store(tmp_path, clock=clock), f"{ORIGIN}/", append=recorder.append, now=clock), recorder, clock
    )


def signed_question(identifier: str = "q1", **changes: Any) -> Question:
    return question(identifier, rule=RULE, **changes)


async def test_a_signed_vote_counts_where_no_other_does(there: Desk):
    authenticator, asked = await there.register(), signed_question()
    signed = await there.passkeys.sign(asked, yes(), authenticator.sign(await there.options(asked, yes())))
    assert isinstance(signed, Vote)

    refused = count_vote(ask(asked), yes(), asked.shown, grant=300.0, remember=900.0)
    counted = count_vote(ask(asked), signed, asked.shown, grant=300.0, remember=900.0)

    assert isinstance(refused, Reason)
    assert (refused.code, "/console/approvals/q1" in refused.remedy) == ("vote/passkey", True)
    assert not isinstance(counted, Reason)
    assert counted.state == "granted"
    assert counted.votes[0].signature is not None
    assert there.recorder.events == ["invited", "registered"]


@pytest.mark.parametrize(
    ("other", "vote"),
    [
        pytest.param(signed_question("q2"), yes(), id="another question"),
        pytest.param(signed_question(shown="sha256:changed"), yes(), id="the question as changed"),
        pytest.param(signed_question(), no(), id="another answer"),
        pytest.param(signed_question(), yes(scopes=("once", "destination")), id="a wider yes"),
        pytest.param(signed_question(), no(end_task=True), id="the end of the task"),
    ],
)
async def test_a_signature_signs_no_other_vote(there: Desk, other: Question, vote: Vote):
    authenticator, asked = await there.register(), signed_question()
    answer = authenticator.sign(await there.options(asked, yes()))

    assert "not expected challenge" in await there.refusal(other, vote, answer)


async def test_a_signature_serves_no_other_person(there: Desk):
    authenticator, asked = await there.register(), signed_question()
    answer = authenticator.sign(await there.options(asked, yes()))
    same_name = structs.replace(BOB, issuer="https://other.example")

    for person in (ALICE, same_name):
        assert "vote/passkey: This passkey is not yours" in await there.refusal(asked, yes(person), answer)
        assert isinstance(await there.passkeys.begin_vote(asked, yes(person)), Reason)


async def test_a_signature_works_once_where_the_authenticator_counts(there: Desk):
    authenticator, asked = await there.register(), signed_question()
    answer = authenticator.sign(await there.options(asked, yes()))
    assert isinstance(await there.passkeys.sign(asked, yes(), answer), Vote)

    assert "A copy of this passkey may exist" in await there.refusal(asked, yes(), answer)
    assert there.recorder.events[-1] == "copied"


async def test_a_copied_authenticator_is_told_by_its_count(there: Desk):
    authenticator = await there.register()
    copy = Authenticator(ORIGIN, key=authenticator.key)
    for number, device in enumerate((authenticator, authenticator, copy)):
        asked = signed_question(f"q{number}")
        found = await there.passkeys.sign(asked, yes(), device.sign(await there.options(asked, yes())))
        assert isinstance(found, Reason) == (device is copy)


async def test_an_authenticator_that_never_counts_signs_many_votes(there: Desk):
    authenticator = await there.register(authenticator=Authenticator(ORIGIN, counts=False))
    for number in range(3):
        asked = signed_question(f"q{number}")
        found = await there.passkeys.sign(asked, yes(), authenticator.sign(await there.options(asked, yes())))
        assert isinstance(found, Vote)


async def test_two_signatures_at_once_with_one_count_sign_one_vote(there: Desk):
    authenticator = await there.register()
    first, second = signed_question("q1"), signed_question("q2")
    answers = list[str]()
    for asked in (first, second):
        authenticator.count = 4
        answers.append(authenticator.sign(await there.options(asked, yes())))
    found = await asyncio.gather(
        there.passkeys.sign(first, yes(), answers[0]), there.passkeys.sign(second, yes(), answers[1])
    )

    assert sum(isinstance(one, Vote) for one in found) == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"origin": "https://gateway.example.evil.example"}, "origin"),
        ({"origin": "http://gateway.example"}, "origin"),
        ({"crossOrigin": True}, "a page inside a page of others"),
        ({"type": "webauthn.create"}, "type"),
    ],
)
async def test_a_signature_of_another_page_or_kind_is_refused(there: Desk, change: dict[str, Any], problem: str):
    authenticator, asked = await there.register(), signed_question()
    options = await there.options(asked, yes())

    assert problem in await there.refusal(asked, yes(), authenticator.sign(options, **change))


async def test_a_signature_of_another_relying_party_or_without_its_person_is_refused(there: Desk):
    authenticator, asked = await there.register(), signed_question()
    options = await there.options(asked, yes())
    elsewhere = Authenticator("https://evil.example", key=authenticator.key, count=9)
    unverified = Authenticator(ORIGIN, key=authenticator.key, count=9, verifies=False)
    foreign_key = Authenticator(ORIGIN, count=9)

    assert "RP ID" in await there.refusal(asked, yes(), elsewhere.sign(options, origin=ORIGIN))
    assert "not verified" in await there.refusal(asked, yes(), unverified.sign(options))
    assert "vote/passkey" in await there.refusal(asked, yes(), foreign_key.sign(options))


async def test_changed_authenticator_data_are_refused(there: Desk):
    authenticator, asked = await there.register(), signed_question()
    authenticator.verifies = False
    answer = json.loads(authenticator.sign(await there.options(asked, yes())))
    data = bytearray(decode(answer["response"]["authenticatorData"]))
    data[32] |= 0x04
    answer["response"]["authenticatorData"] = encode(bytes(data))

    assert "signature" in await there.refusal(asked, yes(), json.dumps(answer))


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{}",
        "[]",
        "\ud800",
        '{"id": "?", "response": {"authenticatorData": "", "clientDataJSON": "", "signature": ""}}',
    ],
)
async def test_a_foreign_text_is_no_signature(there: Desk, answer: str):
    await there.register()

    assert (await there.refusal(signed_question(), yes(), answer)).startswith("vote/passkey")


@pytest.mark.parametrize("part", ["authenticatorData", "clientDataJSON", "signature"])
@pytest.mark.parametrize("text", ["", "AAAA", "%%%", "bnVsbA"])
async def test_a_damaged_part_is_refused(there: Desk, part: str, text: str):
    authenticator, asked = await there.register(), signed_question()
    answer = json.loads(authenticator.sign(await there.options(asked, yes())))
    answer["response"][part] = text

    assert (await there.refusal(asked, yes(), json.dumps(answer))).startswith("vote/passkey")


async def test_a_removed_passkey_signs_nothing(there: Desk):
    authenticator, asked = await there.register(), signed_question()
    answer = authenticator.sign(await there.options(asked, yes()))
    (key,) = await there.passkeys.list_of(BOB)
    assert isinstance(await there.passkeys.remove(key.id[:6], OPERATOR.describe()), Passkey)

    assert "was removed" in await there.refusal(asked, yes(), answer)
    assert there.recorder.events[-1] == "removed"
    assert await there.passkeys.find_signers(BOB, asked) == []


async def test_a_passkey_registered_after_the_question_signs_nothing_on_it(there: Desk):
    there.clock.now = 1_000.5
    authenticator, asked = await there.register(), signed_question()
    later = signed_question(asked=1_001.0)
    options = await there.options(later, yes())

    assert isinstance(await there.passkeys.begin_vote(asked, yes()), Reason)
    assert "registered after" in await there.refusal(asked, yes(), authenticator.sign(options))
    assert isinstance(await there.passkeys.sign(later, yes(), authenticator.sign(options)), Vote)


async def test_an_invitation_registers_one_passkey_of_its_person(there: Desk):
    code, _ = await there.passkeys.invite(BOB.id, BOB.issuer, OPERATOR)
    refused = await there.passkeys.begin_registration(ALICE, code)
    options = await there.passkeys.begin_registration(BOB, code)
    assert isinstance(options, dict)
    made = [Authenticator(ORIGIN, id=name).make(options) for name in (b"first", b"second")]
    found = await asyncio.gather(*(there.passkeys.register(BOB, code, "", one) for one in made))

    assert isinstance(refused, Reason)
    assert sum(isinstance(one, Passkey) for one in found) == 1
    assert [key.name for key in await there.passkeys.list_of(BOB)] == ["passkey"]
    assert isinstance(await there.passkeys.begin_registration(BOB, code), Reason)
    kept = {key.id for key in await there.passkeys.list_all()}
    registered = {entry["key"]["id"] for entry in there.recorder.entries if entry["event"] == "registered"}
    removed = {entry["id"] for entry in there.recorder.entries if entry["event"] == "removed"}
    assert registered - removed == kept


async def test_an_invitation_that_ends_while_it_is_used_registers_no_further_passkey(
    there: Desk, monkeypatch: pytest.MonkeyPatch
):
    code, _ = await there.passkeys.invite(BOB.id, BOB.issuer, OPERATOR)
    options = await there.passkeys.begin_registration(BOB, code)
    assert isinstance(options, dict)
    first, second = (Authenticator(ORIGIN, id=name).make(options) for name in (b"first", b"second"))
    begin = there.passkeys.begin_registration

    async def begin_before_another_ends(person: Person, given: str) -> JsonObject | Reason:
        begun = await begin(person, given)
        monkeypatch.setattr(there.passkeys, "begin_registration", begin)
        assert isinstance(await there.passkeys.register(BOB, code, "", second), Passkey)
        return begun

    monkeypatch.setattr(there.passkeys, "begin_registration", begin_before_another_ends)

    assert isinstance(await there.passkeys.register(BOB, code, "", first), Reason)
    assert len(await there.passkeys.list_all()) == 1


async def test_no_registration_without_an_open_invitation(there: Desk):
    code, _ = await there.passkeys.invite(BOB.id, BOB.issuer, OPERATOR)
    there.clock.now += INVITATION_SECONDS

    for name in (code, "", "0" * 30):
        assert isinstance(await there.passkeys.begin_registration(BOB, name), Reason)


async def test_a_passkey_of_another_page_or_without_its_person_is_not_registered(there: Desk):
    code, _ = await there.passkeys.invite(BOB.id, BOB.issuer, OPERATOR)
    options = await there.passkeys.begin_registration(BOB, code)
    assert isinstance(options, dict)
    for authenticator in (Authenticator("https://evil.example"), Authenticator(ORIGIN, verifies=False)):
        found = await there.passkeys.register(BOB, code, "x", authenticator.make(options))
        assert isinstance(found, Reason)
        assert found.code == "passkey/invalid"

    assert await there.passkeys.list_all() == []


async def test_a_passkey_that_the_journal_does_not_take_is_none(there: Desk):
    code, _ = await there.passkeys.invite(BOB.id, BOB.issuer, OPERATOR)
    options = await there.passkeys.begin_registration(BOB, code)
    assert isinstance(options, dict)
    there.recorder.failing = True
    with pytest.raises(Exception, match="disk is full"):
        await there.passkeys.register(BOB, code, "x", Authenticator(ORIGIN).make(options))

    assert await there.passkeys.list_all() == []


async def test_a_passkey_is_registered_once_and_for_one_person(there: Desk):
    authenticator = await there.register()
    code, _ = await there.passkeys.invite(ALICE.id, ALICE.issuer, OPERATOR)
    options = await there.passkeys.begin_registration(ALICE, code)
    assert isinstance(options, dict)

    assert isinstance(await there.passkeys.register(ALICE, code, "x", authenticator.make(options)), Reason)
    assert [key.person for key in await there.passkeys.list_all()] == ["bob"]
    assert there.recorder.events == ["invited", "registered", "invited"]


async def test_a_form_sent_twice_registers_one_passkey(there: Desk):
    code, _ = await there.passkeys.invite(BOB.id, BOB.issuer, OPERATOR)
    options = await there.passkeys.begin_registration(BOB, code)
    assert isinstance(options, dict)
    made = Authenticator(ORIGIN).make(options)
    found = await asyncio.gather(*(there.passkeys.register(BOB, code, "", made) for _ in range(3)))

    assert sum(isinstance(one, Passkey) for one in found) == 1
    assert there.recorder.events == ["invited", "registered"]


async def test_a_person_has_a_bounded_number_of_passkeys(there: Desk):
    for number in range(PER_PERSON):
        await there.register(authenticator=Authenticator(ORIGIN, id=b"key %d" % number))
    code, _ = await there.passkeys.invite(BOB.id, BOB.issuer, OPERATOR)
    found = await there.passkeys.begin_registration(BOB, code)

    assert isinstance(found, Reason)
    assert found.code == "passkey/many"


async def test_only_the_owner_and_operators_remove_a_passkey(there: Desk):
    await there.register()
    (key,) = await there.passkeys.list_all()

    assert isinstance(await there.passkeys.remove(key.id, {}, ALICE), Reason)
    assert isinstance(await there.passkeys.remove("", {}), Reason)
    assert isinstance(await there.passkeys.remove(key.id, {}, BOB), Passkey)


@pytest.mark.parametrize(
    ("address", "origin", "party"),
    [
        ("https://gateway.example", "https://gateway.example", "gateway.example"),
        ("https://Gateway.example:443/base/", "https://gateway.example", "gateway.example"),
        ("https://gateway.example:8443", "https://gateway.example:8443", "gateway.example"),
        ("http://localhost:8080", "http://localhost:8080", "localhost"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", None),
        ("https://192.0.2.1", "https://192.0.2.1", None),
        ("http://gateway.example", "http://gateway.example", None),
    ],
)
def test_browsers_give_passkeys_to_names_over_https_and_to_localhost(address: str, origin: str, party: str | None):
    assert (origin_of(address), find_relying_party(origin_of(address))) == (origin, party)


async def test_a_gateway_without_a_name_takes_no_passkeys(tmp_path: Path):
    passkeys = Passkeys(sealed_store(tmp_path), "http://127.0.0.1:1", append=Recorder().append, now=Clock(0.0))
    found = await passkeys.begin_vote(signed_question(), yes())

    assert isinstance(found, Reason)
    assert found.code == "passkey/unavailable"
    assert await passkeys.find_signers(BOB, signed_question()) == []
