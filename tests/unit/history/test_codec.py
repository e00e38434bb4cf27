from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from msgspec import structs

from gateway.history.events import Event
from gateway.history.fold import apply
from gateway.history.state import TaskState, Undecided
from gateway.history.states import decode_state, encode_state
from tests.unit.history.lives import Life, lives


@given(lives())
def test_a_state_is_loaded_as_it_was_dumped(life: Life):
    assert decode_state(encode_state(life.state)) == life.state


def test_a_fresh_state_can_be_dumped():
    assert decode_state(encode_state(TaskState())) == TaskState()


def stored(**changes: object) -> bytes:
    """Return a fresh state with other fields."""
    return msgspec.msgpack.encode({**msgspec.msgpack.decode(encode_state(TaskState())), **changes})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        encode_state(TaskState())[:-1],
        msgspec.msgpack.encode([]),
        stored(trusted=b"123"),
        stored(tokens=[1, 2]),
        stored(confidentiality="other"),
        stored(open={"c": {"event": "settled", "call": "c"}}),
        stored(credentials={"fp": ["elsewhere"]}),
    ],
)
def test_anything_else_is_an_error(data: bytes):
    with pytest.raises(ValueError, match="no state of a task"):
        decode_state(data)


@given(lives(), lives())
def test_a_loaded_state_goes_on_as_the_state_that_was_stored(life: Life, more: Life):
    loaded = decode_state(encode_state(life.state))

    for event in more.events:
        outcomes = [folded(state, event) for state in (loaded, life.state)]
        assert outcomes[0] == outcomes[1]

    assert loaded == life.state


def folded(state: TaskState, event: Event) -> str | None:
    """Fold an event. Return the failure of an event that cannot be folded."""
    try:
        apply(state, event)
    except ValueError as error:
        return str(error)
    return None


@given(lives())
def test_a_fact_that_is_false_or_empty_takes_no_room(life: Life):
    names = msgspec.msgpack.decode(encode_state(life.state)).keys()

    assert "sampled" not in names or life.state.sampled
    assert "trusted" not in names or life.state.trusted


def test_names_on_disk_are_those_of_earlier_snapshots():
    """A renamed field without its older name would be lost at the start after an upgrade: unknown fields are ignored."""
    names = {field.encode_name for field in structs.fields(TaskState)}
    undecided = {field.encode_name for field in structs.fields(Undecided)}

    assert names >= {"said", "uttered", "wordy", "told", "flood", "unkept"}
    assert undecided == {"calls", "touched", "destinations", "inside", "carried_to", "flood"}
    assert decode_state(stored(said={7: 1}, wordy=3, unkept=["a"])) == TaskState(
        told_to_trusted={7: 1}, words_overflowed_at=3, partial_sources={"a"}
    )
