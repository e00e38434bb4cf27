from __future__ import annotations

from typing import Any

import pytest

from gateway.history.tasks.tokens import HEADER, META, select_task
from gateway.model.decision import Reason
from gateway.model.wire import Disposition, Era, Headers, Kind, Message
from gateway.wire.protocol.headers import group_headers


def _message(meta: Any = None) -> Message:
    params = {} if meta is None else {"_meta": meta}
    return Message(Kind.REQUEST, Era.STATELESS, Disposition.DECIDE, b"", "tools/call", 1, params)


@pytest.mark.parametrize(
    ("message", "headers", "named"),
    [
        (None, (), None),
        (_message(), ((b"other", b"x"),), None),
        (_message({}), (), None),
        (_message([META]), (), None),
        (None, ((HEADER, b"t1"),), "t1"),
        (None, ((HEADER, b" t1\t"),), "t1"),
        (_message({META: "t1"}), (), "t1"),
        (_message({META: "t1"}), ((HEADER, b"t1"),), "t1"),
        (None, ((HEADER, b"t1"), (HEADER, b"t1")), "t1"),
    ],
)
def test_a_task_is_named_in_the_header_or_in_the_message(message: Message | None, headers: Headers, named: str | None):
    assert select_task(message, group_headers(headers)) == named


@pytest.mark.parametrize(
    ("message", "headers", "code"),
    [
        (_message({META: "t1"}), ((HEADER, b"t2"),), "task/ambiguous"),
        (None, ((HEADER, b"t1"), (HEADER, b"t2")), "task/ambiguous"),
        (_message({META: "t1"}), ((HEADER, b""),), "task/ambiguous"),
        (_message({META: ""}), (), "task/unknown"),
        (None, ((HEADER, b""),), "task/unknown"),
        (_message({META: None}), (), "task/unknown"),
        (_message({META: ["t1"]}), ((HEADER, b"t1"),), "task/unknown"),
        (_message({META: "x" * 4097}), (), "task/unknown"),
    ],
)
def test_two_names_and_what_is_no_name_are_refused(message: Message | None, headers: Headers, code: str):
    refused = select_task(message, group_headers(headers))

    assert isinstance(refused, Reason)
    assert refused.code == code
