"""Notices of answered questions: bounded, and each on one stream."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from msgspec import structs

from gateway.authority.approvals.index import PER_CALLER
from gateway.authority.approvals.model import Approval, State
from gateway.calls.pipeline.people import KEPT, CompletionNotices
from tests.unit.authority.approvals.making import question


class Watched:
    """A desk that tells of what the test says."""

    def watch(self, tell: Callable[[Approval], None]) -> Callable[[], None]:
        self.tell = tell
        return partial(print)


def answered(session: str, number: int = 0) -> Approval:
    asked = question()
    requester = structs.replace(asked.requester, session=session)
    return Approval(structs.replace(asked, id=f"{session}-{number}", requester=requester), state="denied")


def test_sessions_without_a_stream_lose_the_oldest_notices():
    desk: Any = Watched()
    notices, heard = CompletionNotices(desk), list[bytes]()
    for number in range(KEPT + 1):
        desk.tell(answered(f"s{number}"))
    for number in range(PER_CALLER + 1):
        desk.tell(answered("s1", number))
    for session in ("s0", "s1", f"s{KEPT}"):
        notices.listen(session, heard.append)

    assert [text.count(b"elicitationId") for text in heard] == [PER_CALLER, 1]


def test_the_newest_stream_of_a_session_gets_the_notice_until_it_ends():
    desk: Any = Watched()
    notices, old, new = CompletionNotices(desk), list[bytes](), list[bytes]()
    end_old = notices.listen("s", old.append)
    end_new = notices.listen("s", new.append)
    desk.tell(answered("s", 1))
    end_new()
    desk.tell(answered("s", 2))
    end_old()
    desk.tell(answered("s", 3))

    assert [b"s-1" in text for text in new] == [True]
    assert [b"s-2" in text for text in old] == [True]


@pytest.mark.parametrize(
    ("state", "granted", "is_told"),
    [
        ("pending", None, False),
        ("granted", 1.0, True),
        *((state, None, True) for state in ("denied", "expired", "withdrawn", "unreachable")),
        *((state, 1.0, False) for state in ("used", "lapsed", "withdrawn", "void", "superseded")),
    ],
)
def test_the_first_change_after_which_people_are_not_waited_for_is_told(
    state: State, granted: float | None, is_told: Any
):
    desk: Any = Watched()
    notices, heard = CompletionNotices(desk), list[bytes]()
    notices.listen("s", heard.append)
    desk.tell(structs.replace(answered("s"), state=state, granted=granted))

    assert len(heard) == is_told


def test_a_question_without_a_session_has_no_notice():
    desk: Any = Watched()
    notices, heard = CompletionNotices(desk), list[bytes]()
    notices.listen("", heard.append)
    desk.tell(answered(""))

    assert heard == []
