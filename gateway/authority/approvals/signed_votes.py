"""The check of signed votes from the journal alone: whoever has the entries verifies each signature again. Pure.

It takes no word of the gateway for a vote. The key is in the entry of its registration, and the challenge is made again from the
entries of question and vote. `opagate journal verify` tells whether the entries are as they were written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from gateway.authority.approvals.model import PasskeySignature, Vote
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


@dataclass(slots=True)
class SignedVotes:
    """The votes so far. Entries are added in the order of the journal."""

    verified: int = 0
    problems: list[VoteProblem] = field(default_factory=list[VoteProblem])
    _keys: dict[tuple[str, float], Passkey] = field(default_factory=dict[tuple[str, float], Passkey])
    """Passkeys by id and time of registration. Another person, or a second try, may name an id that is taken; it replaces none."""
    _counted: set[tuple[str, bytes]] = field(default_factory=set[tuple[str, bytes]])
    """The signatures that verified, with what they sign."""
    _asked: dict[str, _Asked] = field(default_factory=dict[str, _Asked])

    def add(self, entry: JsonObject) -> None:
        """Take an entry of any kind. Raise `KeyError` and `msgspec.MsgspecError` for a damaged one."""
        fields = cast("Mapping[str, Any]", entry)
        if fields["kind"] == EVENT:
            self._note_key(fields)
        elif fields["kind"] == KIND and fields["event"] == "asked":
            needs = fields["rule"].get("assurance") == "passkey"
            self._asked[fields["id"]] = _Asked(fields["shown"], fields["at"], needs)
        elif fields["kind"] == KIND and "vote" in fields:
            self._check(fields["id"], msgspec.convert(fields["vote"], Vote))

    def _note_key(self, fields: Mapping[str, Any]) -> None:
        if fields["event"] == "registered":
            key = msgspec.convert(fields["key"], Passkey)
            self._keys[key.id, key.registered] = key
        elif fields["event"] == "removed":
            self._keys.pop((fields["id"], fields["registered"]), None)

    def _check(self, question: str, vote: Vote) -> None:
        asked, signature = self._asked.get(question), vote.signature
        if signature is None:
            if (asked is not None and asked.needs_passkey) or vote.person.assurance == "passkey":
                self._fail(question, vote, "the question or the vote names a passkey, and no passkey signed the vote")
            return
        keys = [key for key in self._keys.values() if key.id == signature.key and key.is_of(vote.person)]
        if asked is None:
            self._fail(question, vote, "the journal lacks the entry of the question")
        elif not keys:
            self._fail(question, vote, "the journal has no such passkey of the person at the time of the vote")
        elif not (earlier := [key for key in keys if key.registered < asked.at]):
            self._fail(question, vote, "the passkey was registered after the question was asked")
        else:
            self._verify(question, asked, vote, signature, earlier[0])

    def _verify(self, question: str, asked: _Asked, vote: Vote, signature: PasskeySignature, key: Passkey) -> None:
        challenge = challenge_of_vote(question, asked.shown, vote)
        if (signature.signature, challenge) in self._counted:
            return  # The gateway wrote the same vote again: another gateway had been first with a change.
        try:
            used = verify_signature(signature, challenge, key)
        except InvalidPasskeyError as error:
            self._fail(question, vote, str(error))
        else:
            self._keys[key.id, key.registered] = used
            self._counted.add((signature.signature, challenge))
            self.verified += 1

    def _fail(self, question: str, vote: Vote, problem: str) -> None:
        self.problems.append(VoteProblem(question, vote.person.id, problem))
