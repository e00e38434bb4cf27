"""The passkeys of approvers, and the invitations to register one: among the durable records, and in the journal for the record.

An operator invites a person, and the person registers the passkey at the console. So a login that somebody took over registers none.
Each use reads the records anew, so gateways that share their records have the same passkeys.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from msgspec import Struct, structs, to_builtins

from gateway.authority.approvals.passkey import (
    EVENT,
    InvalidPasskeyError,
    Passkey,
    RepeatedCountError,
    challenge_of_registration,
    challenge_of_vote,
    creation_options,
    find_passkey_problem,
    origin_of,
    request_options,
)
from gateway.base.concurrency.background import to_the_end
from gateway.base.control.operations import NoFields, Operation
from gateway.base.store.engine import ABSENT, Change
from gateway.base.store.records import RecordKind
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from gateway.authority.approvals.model import Person, Question, Vote
    from gateway.base.control.operations import Control, OperatorName
    from gateway.base.store.records import SealedStore
    from gateway.model.wire import JsonObject

log = structlog.get_logger("gateway.approvals")

PER_PERSON: Final = 10
INVITATION_SECONDS: Final = 24 * 3600.0
LONGEST_NAME: Final = 64
_CODE_BYTES: Final = 15


class Invitation(Struct, frozen=True):
    """An invitation of a person to register one passkey. Its record has the digest of the code as its id."""

    person: str
    issuer: str
    expires: float


KEYS: Final = RecordKind("passkey", Passkey, "the person registers another passkey")
INVITATIONS: Final = RecordKind("invitation to a passkey", Invitation, "an operator invites the person again")


class Passkeys:
    """`address` is the public address of the gateway, and `append` writes to the journal. `now` gives seconds since the epoch.

    Each method with a wait raises `StoreError` and `JournalError`.
    """

    def __init__(
        self,
        store: SealedStore,
        address: str,
        *,
        append: Callable[[str, JsonObject], Awaitable[None]],
        now: Callable[[], float],
    ) -> None:
        self.origin = origin_of(address)
        self._store = store
        self._keys, self._invitations = store.of(KEYS), store.of(INVITATIONS)
        self._append = append
        self._now = now
        self._registering = asyncio.Lock()

    def find_problem(self) -> Reason | None:
        """Return the reason why this gateway takes no passkeys, `None` if it does."""
        problem = find_passkey_problem(self.origin)
        return None if problem is None else reasons.PASSKEY_UNAVAILABLE.reason(problem=problem)

    # --- registration --------------------------------------------------------------------------------

    async def invite(self, person: str, issuer: str, by: OperatorName) -> tuple[str, Invitation]:
        """Return a new invitation with its code, which works once and for this person alone."""
        await self._invitations.expire()
        code = secrets.token_hex(_CODE_BYTES)
        invitation = Invitation(person, issuer, self._now() + INVITATION_SECONDS)
        fields = {"event": "invited", "id": _digest(code), "by": by.describe(), **to_builtins(invitation)}
        await self._append(EVENT, fields)
        await self._invitations.add(_digest(code), invitation, expires=invitation.expires)
        return code, invitation

    async def begin_registration(self, person: Person, code: str) -> dict[str, Any] | Reason:
        """Return the options with which the person's browser makes a passkey."""
        if (problem := self.find_problem()) is not None:
            return problem
        if not await self._is_invited(person, code):
            return reasons.PASSKEY_INVITATION.reason()
        keys = await self.list_of(person)
        if len(keys) >= PER_PERSON:
            return reasons.PASSKEY_MANY.reason(most=PER_PERSON)
        return creation_options(challenge_of_registration(code, person), self.origin, person, keys)

    async def register(self, person: Person, code: str, name: str, answer: str) -> Passkey | Reason:
        """Keep the passkey that the person's browser made, and end the invitation. The answer to a second use is a refusal."""
        begun = await self.begin_registration(person, code)
        if isinstance(begun, Reason):
            return begun
        from gateway.authority.approvals.passkey_checks import verify_registration  # noqa: PLC0415 - an extra

        try:
            made = verify_registration(answer, challenge_of_registration(code, person), self.origin)
        except InvalidPasskeyError as error:
            return reasons.PASSKEY_INVALID.reason(problem=str(error))
        label = name.strip()[:LONGEST_NAME] or "passkey"
        key = Passkey(
            made.id, person.id, person.issuer, label, made.public_key, made.signatures, self.origin, self._now()
        )
        return await to_the_end(self._keep(key, code))

    async def _keep(self, key: Passkey, code: str) -> Passkey | Reason:
        """Keep a new passkey and end its invitation, all or nothing. The journal has it before it can sign a vote.

        A form that was sent twice registers once. Between gateways the journal takes the later registration back.
        """
        async with self._registering:
            invitation, version = (await self._invitations.load_versions()).get(_digest(code), (None, ABSENT))
            if invitation is None or await self._keys.get(key.id) is not None:
                return reasons.PASSKEY_INVITATION.reason()
            ended = Change(INVITATIONS.name, _digest(code), None, version)
            await self._append(EVENT, {"event": "registered", "key": to_builtins(key), "invitation": _digest(code)})
            if await self._store.change(self._keys.changed(key.id, key, version=ABSENT), ended) is not None:
                return key
            by: JsonObject = {"id": "gateway", "cause": "the invitation was used already"}
            await self._append(EVENT, _removal(key, by))
            return reasons.PASSKEY_INVITATION.reason()

    async def _is_invited(self, person: Person, code: str) -> bool:
        found = await self._invitations.get(_digest(code))
        if found is None or self._now() >= found.expires:
            return False
        return (found.person, found.issuer) == (person.id, person.issuer)

    async def list_of(self, person: Person) -> list[Passkey]:
        """Return the passkeys of a person, the oldest first."""
        return [key for key in await self.list_all() if key.is_of(person)]

    async def list_all(self) -> list[Passkey]:
        """Return all passkeys, the oldest first."""
        return sorted((await self._keys.load()).values(), key=lambda key: key.registered)

    async def remove(self, identifier: str, by: JsonObject, owner: Person | None = None) -> Passkey | Reason:
        """Remove and return a passkey, by its id or the only beginning of one. `owner`: only a passkey of this person."""
        found = [key for key in await self.list_all() if key.id.startswith(identifier) and identifier]
        if len(found) != 1 or (owner is not None and not found[0].is_of(owner)):
            return reasons.PASSKEY_UNKNOWN.reason()
        (key,) = found
        await self._keys.remove(key.id)
        await self._append(EVENT, _removal(key, by))
        return key

    # --- votes ---------------------------------------------------------------------------------------

    async def find_signers(self, person: Person, question: Question) -> list[Passkey]:
        """Return the person's passkeys that sign votes on a question: they were registered before the question was asked."""
        if self.find_problem() is not None:
            return []
        return [key for key in await self.list_of(person) if _may_sign(key, person, question)]

    async def begin_vote(self, question: Question, vote: Vote) -> dict[str, Any] | Reason:
        """Return the options with which the person's browser signs a vote."""
        if (problem := self.find_problem()) is not None:
            return problem
        keys = await self.find_signers(vote.person, question)
        challenge = challenge_of_vote(question.id, question.shown, vote)
        return request_options(challenge, self.origin, keys) if keys else reasons.VOTE_PASSKEY_UNKNOWN.reason()

    async def sign(self, question: Question, vote: Vote, answer: str) -> Vote | Reason:
        """Return the vote as signed, or the reason why the browser's answer does not sign it.

        The new count of the passkey is kept before the vote counts. Of two signatures with one count, one is refused.
        """
        if (problem := self.find_problem()) is not None:
            return problem
        from gateway.authority.approvals.passkey_checks import read_signature, verify_signature  # noqa: PLC0415 - an extra

        try:
            signature = read_signature(answer)
            key, version = (await self._keys.load_versions()).get(signature.key, (None, 0))
            if key is None or not _may_sign(key, vote.person, question):
                return reasons.VOTE_PASSKEY_UNKNOWN.reason()
            used = verify_signature(signature, challenge_of_vote(question.id, question.shown, vote), key)
        except RepeatedCountError as error:
            return await self._refuse_copy(error.key, question, vote, str(error))
        except InvalidPasskeyError as error:
            return reasons.VOTE_PASSKEY_INVALID.reason(problem=str(error))
        used = structs.replace(used, used=self._now())
        if await self._store.change(self._keys.changed(key.id, used, version=version)) is None:
            return reasons.VOTE_PASSKEY_INVALID.reason(problem="the passkey was used or removed meanwhile")
        return structs.replace(vote, person=structs.replace(vote.person, assurance="passkey"), signature=signature)

    async def _refuse_copy(self, key: str, question: Question, vote: Vote, problem: str) -> Reason:
        log.error("passkey.copied", key=key, person=vote.person.id, problem=problem)
        fields = {"event": "copied", "id": key, "question": question.id, "person": vote.person.id, "problem": problem}
        await self._append(EVENT, fields)
        return reasons.VOTE_PASSKEY_COPIED.reason(problem=problem)


def _may_sign(key: Passkey, person: Person, question: Question) -> bool:
    """Return whether a passkey signs a person's votes on a question. A key made for an open question signs nothing on it."""
    return key.is_of(person) and key.registered < question.asked


def _removal(key: Passkey, by: JsonObject) -> JsonObject:
    names = {"id": key.id, "registered": key.registered, "person": key.person, "issuer": key.issuer}
    return {"event": "removed", **names, "by": by}


def _digest(code: str) -> str:
    return hashlib.sha256(code.strip().lower().encode("utf-8", "replace")).hexdigest()


# --- operations --------------------------------------------------------------------------------------

_NEED: Final = "`approvals:` with `console:`"


class InvitedPerson(Struct, frozen=True, forbid_unknown_fields=True):
    """A person to invite, by the id and the issuer of its logins."""

    person: str
    issuer: str = "local"


class IssuedInvitation(Struct, frozen=True):
    """A new invitation. The gateway keeps no copy of the code."""

    code: str
    person: str
    issuer: str
    expires: float


class PasskeyName(Struct, frozen=True, forbid_unknown_fields=True):
    """The id of a passkey, or its beginning."""

    id: str


class ListedPasskeys(Struct, frozen=True):
    """All passkeys, the oldest first."""

    passkeys: list[Passkey]


INVITE: Final = Operation(
    "passkeys/invite",
    "operator",
    "Invite a person to register a passkey.",
    IssuedInvitation,
    _NEED,
    InvitedPerson,
    ("POST", "/api/passkeys/invite"),
)
LIST: Final = Operation(
    "passkeys/list",
    "operator",
    "List the passkeys of approvers.",
    ListedPasskeys,
    _NEED,
    route=("GET", "/api/passkeys"),
)
REMOVE: Final = Operation(
    "passkeys/remove",
    "operator",
    "Remove a passkey.",
    Passkey,
    _NEED,
    PasskeyName,
    ("POST", "/api/passkeys/remove"),
)
OPERATIONS: Final = (INVITE, LIST, REMOVE)


def add_operations(control: Control, passkeys: Passkeys) -> None:
    """Add the operations of passkeys."""
    control.add(
        {INVITE: partial(_invite, passkeys), LIST: partial(_list, passkeys), REMOVE: partial(_remove, passkeys)}
    )


async def _invite(passkeys: Passkeys, asked: InvitedPerson, by: OperatorName) -> IssuedInvitation | Reason:
    if (problem := passkeys.find_problem()) is not None:
        return problem
    code, invitation = await passkeys.invite(asked.person, asked.issuer, by)
    return IssuedInvitation(code, invitation.person, invitation.issuer, invitation.expires)


async def _list(passkeys: Passkeys, _asked: NoFields, _by: OperatorName) -> ListedPasskeys:
    return ListedPasskeys(await passkeys.list_all())


async def _remove(passkeys: Passkeys, asked: PasskeyName, by: OperatorName) -> Passkey | Reason:
    return await passkeys.remove(asked.id, by.describe())
