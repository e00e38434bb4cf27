"""The check of signed votes from the journal alone: whoever has the entries verifies each signature again. Pure.

It takes no word of the gateway for a vote. The key is in the entry of its registration, and the challenge is made again from the
entries of question and vote. `opagate journal verify` tells whether the entries are as they were written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from gateway.authority.approvals.model import Vote
from gateway.authority.approvals.passkey import EVENT, InvalidPasskeyError, Passkey, challenge_of_vote
from gateway.authority.approvals.passkey_checks import verify_signature
from gateway.authority.approvals.state import KIND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model.wire import JsonObject


class VoteProblem(NamedTuple):
    """A vote that does not verify. `question` is the id of its question."""

    question: str
    person: str
    problem: str


class _Asked(NamedTuple):
    shown: str
    at: float
    needs_passkey: bool


class _Checked(NamedTuple):
    """A verified vote: the key before it, and the key with the count of its signature."""

    before: Passkey
    after: Passkey


@dataclass(slots=True)
class SignedVotes:
    """The votes so far. Entries are added in the order of the journal."""

    verified: int = 0
    problems: list[VoteProblem] = field(default_factory=list[VoteProblem])
    _keys: dict[str, Passkey] = field(default_factory=dict[str, Passkey])
    _asked: dict[str, _Asked] = field(default_factory=dict[str, _Asked])
    _latest: dict[str, _Checked] = field(default_factory=dict[str, _Checked])

    def add(self, entry: JsonObject) -> None:
        """Take an entry of any kind. Raise `KeyError` and `msgspec.MsgspecError` for a damaged one."""
        fields = cast("Mapping[str, Any]", entry)
        if fields["kind"] == EVENT:
            self._note_key(fields)
        elif fields["kind"] == KIND and fields["event"] == "asked":
            needs = fields["rule"].get("assurance") == "passkey"
            self._asked[fields["id"]] = _Asked(fields["shown"], fields["at"], needs)
        elif fields["kind"] == KIND and fields["event"] == "overtaken":
            self._take_back(fields["id"])
        elif fields["kind"] == KIND and "vote" in fields:
            self._latest.pop(fields["id"], None)
            self._check(fields["id"], msgspec.convert(fields["vote"], Vote))

    def _note_key(self, fields: Mapping[str, Any]) -> None:
        if fields["event"] == "registered":
            key = msgspec.convert(fields["key"], Passkey)
            self._keys[key.id] = key
        elif fields["event"] == "removed":
            self._keys.pop(fields["id"], None)

    def _check(self, question: str, vote: Vote) -> None:
        asked = self._asked.get(question)
        if vote.signature is None:
            if asked is not None and asked.needs_passkey:
                self._fail(question, vote, "the question wants a passkey, and no passkey signed the vote")
            return
        key = self._keys.get(vote.signature.key)
        if asked is None:
            self._fail(question, vote, "the journal lacks the entry of the question")
        elif key is None or not key.is_of(vote.person):
            self._fail(question, vote, "the journal has no such passkey of the person at the time of the vote")
        elif key.registered >= asked.at:
            self._fail(question, vote, "the passkey was registered after the question was asked")
        else:
            self._verify(question, asked, vote, key)

    def _verify(self, question: str, asked: _Asked, vote: Vote, key: Passkey) -> None:
        assert vote.signature is not None  # noqa: S101 - the caller has looked
        try:
            challenge = challenge_of_vote(question, asked.shown, vote)
            self._keys[key.id] = used = verify_signature(vote.signature, challenge, key)
        except InvalidPasskeyError as error:
            self._fail(question, vote, str(error))
        else:
            self.verified += 1
            self._latest[question] = _Checked(key, used)

    def _take_back(self, question: str) -> None:
        """Forget a vote that another gateway was faster than: its next entry has the same signature."""
        checked = self._latest.pop(question, None)
        if checked is None:
            return
        self.verified -= 1
        if self._keys.get(checked.after.id) is checked.after:
            self._keys[checked.after.id] = checked.before

    def _fail(self, question: str, vote: Vote, problem: str) -> None:
        self.problems.append(VoteProblem(question, vote.person.id, problem))
