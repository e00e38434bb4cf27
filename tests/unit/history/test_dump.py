from __future__ import annotations

import msgspec
import pytest
from hypothesis import given

from gateway.history.dump import VERSION, dump, load
from gateway.history.state import TaskState
from tests.unit.history.lives import Life, lives


@given(lives())
def test_a_state_is_loaded_as_it_was_dumped(life: Life):
    assert load(dump(life.state)) == life.state


def test_a_fresh_state_can_be_dumped():
    assert load(dump(TaskState())) == TaskState()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        dump(TaskState())[:-1],
        msgspec.msgpack.encode({"version": VERSION}),
        msgspec.msgpack.encode({**msgspec.msgpack.decode(dump(TaskState())), "trusted": b"123"}),
        msgspec.msgpack.encode({**msgspec.msgpack.decode(dump(TaskState())), "tokens": (b"12345678", [])}),
        msgspec.msgpack.encode({**msgspec.msgpack.decode(dump(TaskState())), "confidentiality": "other"}),
    ],
)
def test_anything_else_is_an_error(data: bytes):
    with pytest.raises(ValueError):
        load(data)


def test_another_version_is_an_error():
    other = msgspec.msgpack.encode({**msgspec.msgpack.decode(dump(TaskState())), "version": VERSION + 1})

    with pytest.raises(ValueError, match=f"version {VERSION + 1}"):
        load(other)
