"""An index of questions in memory: by id, by digest of the call, by decision id of the use, and by caller."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final

from gateway.authority.approvals import state
from gateway.authority.approvals.model import OPEN, Approval
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.authority.approvals.model import Question

PER_CALLER: Final = 100
"""Questions of one caller that may wait for people at once."""
REMEMBERED_PER_CALLER: Final = 1_000
REMEMBERED: Final = 20_000
"""Questions in all, answered ones included: some 3 KB each."""

_ANSWERING: Final = frozenset({"pending", "granted", "denied", "expired", "unreachable"})
UNHEARD: Final = frozenset({"expired", "unreachable"})
"""States without an answer of a person. The caller is told once, and its next call asks anew."""


def _time_of(entry: tuple[float, str]) -> float:
    return entry[0]


class QuestionIndex:
    """Questions by their four keys."""

    def __init__(self) -> None:
        self._all: dict[str, Approval] = {}
        self._by_call: dict[str, str] = {}
        self._by_use: dict[str, str] = {}
        self._by_act: dict[str, str] = {}
        """Granted approvals that wait for their call."""
        self._of_caller: dict[str, dict[str, None]] = {}
        self._of_subject: dict[tuple[str, str], set[str]] = {}
        self._lines: dict[str, list[tuple[float, str]]] = {}
        """Line → its waiting questions, each with its time. The order is the same at all gateways, and after a restart."""

    def __iter__(self) -> Iterator[Approval]:
        return iter(tuple(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def get(self, identifier: str) -> Approval | None:
        """Return an approval by its id."""
        return self._all.get(identifier)

    def has_questions(self, caller: str) -> bool:
        """Return whether a caller (`Principal.key`) has a remembered question."""
        return caller in self._of_caller

    def has_questions_about(self, caller: str, subject: str) -> bool:
        """Return whether a caller has a remembered question about a target (`digest_subject`)."""
        return (caller, subject) in self._of_subject

    def put(self, approval: Approval) -> None:
        """Keep an approval in the place of its earlier state."""
        question = approval.question
        self._all[approval.id] = approval
        self._of_caller.setdefault(question.requester.key, {})[approval.id] = None
        self._of_subject.setdefault((question.requester.key, question.subject), set()).add(approval.id)
        if approval.state in _ANSWERING and not self._is_asked_anew(question):
            self._by_call[question.call] = approval.id
        else:
            self.let_ask_anew(approval)
        for decision in approval.calls:
            self._by_use.pop(decision, None)
        if approval.calls:
            self._by_use[approval.calls[-1]] = approval.id
        if approval.state == "granted":
            self._by_act[question.act] = approval.id
        elif self._by_act.get(question.act) == approval.id:
            del self._by_act[question.act]
        self._place_in_line(approval, is_waiting=approval.state == "pending")

    def _place_in_line(self, approval: Approval, *, is_waiting: bool) -> None:
        """Put a waiting question into its line, and take another one out of it."""
        question = approval.question
        line, entry = self._lines.setdefault(question.line, []), (question.asked, approval.id)
        begin, end = (find(line, question.asked, key=_time_of) for find in (bisect_left, bisect_right))
        is_there = entry in line[begin:end]
        if is_waiting and not is_there:
            line.insert(end, entry)
        elif is_there and not is_waiting:
            line.remove(entry)
        if not line:
            del self._lines[question.line]

    def _is_asked_anew(self, question: Question) -> bool:
        """Return whether there is a later question about the same call."""
        known = self._by_call.get(question.call)
        return known is not None and self._all[known].question.asked > question.asked

    def let_ask_anew(self, approval: Approval) -> None:
        """Let the next equal call make a new question."""
        if self._by_call.get(approval.question.call) == approval.id:
            del self._by_call[approval.question.call]

    def remove(self, approval: Approval) -> None:
        """Forget an approval."""
        del self._all[approval.id]
        self._place_in_line(approval, is_waiting=False)
        self.let_ask_anew(approval)
        if self._by_act.get(approval.question.act) == approval.id:
            del self._by_act[approval.question.act]
        for decision in approval.calls:
            self._by_use.pop(decision, None)
        caller = approval.question.requester.key
        del self._of_caller[caller][approval.id]
        if not self._of_caller[caller]:
            del self._of_caller[caller]
        about = self._of_subject[caller, approval.question.subject]
        about.discard(approval.id)
        if not about:
            del self._of_subject[caller, approval.question.subject]

    def answering(self, call: str, now: float) -> Approval | None:
        """Return the approval for an equal call at `now`: open, refused, or ended without the caller's knowledge. Another call
        may have claimed it."""
        found = self._by_call.get(call)
        if found is None:
            return None
        approval = state.end_of_time(self._all[found], now)
        if approval.state in UNHEARD:
            return approval
        return approval if approval.state in _ANSWERING and now < approval.until else None

    def granted_otherwise(self, act: str, call: str, now: float) -> Approval | None:
        """Return the granted approval that waits for a call with other parts beside the arguments than this `call`."""
        found = self._by_act.get(act)
        approval = None if found is None else self._all[found]
        is_other = approval is not None and approval.question.call != call and approval.claim is None
        return approval if is_other and approval is not None and now < approval.until else None

    def continued(self, operation: str, earlier: str, now: float) -> Approval | None:
        """Return the approval used by the call with the decision id `earlier`, if this call is a later round of that
        call."""
        used = self._by_use.get(earlier)
        approval = None if used is None else self._all[used]
        is_next = approval is not None and approval.claim is None and approval.question.operation == operation
        return approval if is_next and approval is not None and now < approval.until else None

    def object_to_question(self, question: Question) -> Reason | None:
        """Return the reason against a question to people: too many questions wait already."""
        ids = self._of_caller.get(question.requester.key, {})
        waiting = sum(self._all[one].state == "pending" for one in ids)
        is_full = len(ids) >= REMEMBERED_PER_CALLER or len(self._all) >= REMEMBERED
        return reasons.APPROVAL_BUDGET.reason() if is_full or waiting >= PER_CALLER else None

    def waits_in_line(self, approval: Approval, per_task: int) -> bool:
        """Return whether so many earlier questions of the same task, or of its tree, wait for people already."""
        question = approval.question
        first = self._lines.get(question.line, ())[:per_task]
        return approval.state == "pending" and (question.asked, approval.id) not in first

    def over(self, now: float, remember: float) -> list[Approval]:
        """Return the approvals with an end more than `remember` seconds ago."""
        return [one for one in self if one.state not in OPEN and now >= one.until + remember]
