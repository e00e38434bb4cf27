"""What an upstream says of itself: asked for with its tools, pinned, and compared with what its clients are told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gateway.config import Upstream
from gateway.model.errors import ConfigurationError
from gateway.model.target import Pin
from gateway.upstreams.catalogue import lockfile
from gateway.upstreams.catalogue.lister import inventory
from gateway.upstreams.catalogue.pins import Definition, PinChange, Pinned, UnpinnableDefinition, read_instructions
from tests.unit.upstreams.catalogue.folding import Case
from tests.unit.upstreams.catalogue.scripted import Scripted, error, method, result

if TYPE_CHECKING:
    from gateway.model.wire import UpstreamRequest
    from tests.unit.upstreams.catalogue.scripted import Answer
    from tests.unit.upstreams.catalogue.world import World

AT, LATER = "2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"
SETTINGS = Upstream(url="http://127.0.0.1:1/mcp", audience="files.example")
ASK, SEND = b'"Ask first."', b'"Send all first."'


def said(raw: bytes) -> Definition:
    item = read_instructions(raw)
    assert isinstance(item, Definition)
    return item


def greeting(**more: object) -> Scripted:
    """A server of the handshake era, without tools."""

    def answer(request: UpstreamRequest) -> Answer:
        if method(request) == "initialize":
            return result(request, protocolVersion="2025-06-18", capabilities={}, **more)
        return error(request, -32601)

    return Scripted(answer)


@pytest.mark.parametrize(
    ("more", "found"),
    [({}, ()), ({"instructions": None}, ()), ({"instructions": "Ask first."}, (ASK,)), ({"instructions": 7}, (b"7",))],
)
async def test_instructions_are_asked_for_in_either_era(more: dict[str, object], found: tuple[bytes, ...]):
    modern = Scripted(lambda request: result(request, supportedVersions=["2026-07-28"], capabilities={}, **more))

    assert (await inventory("files", modern)).instructions == found
    assert (await inventory("files", greeting(**more))).instructions == found


async def test_instructions_are_pinned_beside_the_tools(world: World):
    world.said = "Ask first."
    await world.catalogue().refresh()

    pin = lockfile.load(world.lock).of("files", "instructions")["instructions"]
    assert (pin.definition, pin.at) == (said(ASK), "2026-11-25T12:00:00Z")
    assert lockfile.load(world.lock).of("mail", "instructions") == {}


async def test_instructions_that_were_changed_meanwhile_match_no_more_until_they_are_pinned(world: World):
    world.said = "Ask first."
    await world.catalogue().refresh()
    before, world.said = world.lock.read_bytes(), "Send all first."
    catalogue = world.catalogue()
    await catalogue.refresh()

    change = PinChange("changed", "files", "instructions", "instructions", said(ASK), said(SEND))
    assert catalogue.changes() == (change,)
    assert await catalogue.instructions("files", SEND) is Pin.CHANGED
    assert await catalogue.instructions("files", ASK) is Pin.MATCH
    assert catalogue.status()[0].states["instructions", "instructions"] is Pin.CHANGED
    assert world.lock.read_bytes() == before

    assert await catalogue.pin("files", "instructions") == (change,)
    assert await catalogue.instructions("files", SEND) is Pin.MATCH
    assert await catalogue.instructions("files", ASK) is Pin.CHANGED
    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH


async def test_what_only_a_client_is_told_changes_the_state_until_the_same_is_pinned_again(world: World):
    world.said = "Ask first."
    catalogue = world.catalogue()
    await catalogue.refresh()
    assert await catalogue.instructions("files", SEND) is Pin.CHANGED
    await catalogue.refresh()

    assert [change.new for change in catalogue.changes()] == [said(SEND)]
    assert catalogue.state("files", "instructions", "instructions") is Pin.CHANGED
    await catalogue.pin("files")
    assert catalogue.changes() == ()
    assert catalogue.state("files", "instructions", "instructions") is Pin.MATCH


async def test_instructions_that_the_gateway_was_not_told_are_not_trusted_on_first_use(world: World):
    catalogue = world.catalogue()
    await catalogue.refresh()

    assert await catalogue.instructions("files", ASK) is Pin.UNPINNED
    assert await catalogue.instructions("files", ASK) is Pin.UNPINNED
    world.said = "Ask first."
    await catalogue.refresh()
    assert await catalogue.instructions("files", ASK) is Pin.MATCH


async def test_under_a_locked_catalogue_instructions_wait_for_a_person(world: World):
    world.said = "Ask first."
    catalogue = world.catalogue("locked")
    await catalogue.refresh()

    assert await catalogue.instructions("files", ASK) is Pin.UNREVIEWED
    assert {change.kind for change in catalogue.changes("files")} == {"unpinned"}
    await catalogue.pin("files")
    assert await catalogue.instructions("files", ASK) is Pin.MATCH


async def test_instructions_that_a_reviewed_upstream_adds_are_a_difference(world: World):
    await world.catalogue().refresh()
    world.said = "Send all first."
    catalogue = world.catalogue("locked")
    await catalogue.refresh()

    assert [(change.kind, change.subject) for change in catalogue.changes()] == [("added", "instructions")]


async def test_an_upstream_that_was_never_asked_is_asked_before_its_instructions_are_shown(world: World):
    world.said = "Ask first."
    catalogue = world.catalogue()

    assert await catalogue.instructions("files", ASK) is Pin.MATCH
    world.down = True
    assert await world.catalogue("locked").instructions("files", ASK) is Pin.UNKNOWN


async def test_instructions_that_are_no_text_are_never_pinned(world: World):
    world.said = ["Ask first."]
    catalogue = world.catalogue()
    await catalogue.refresh()

    assert await catalogue.instructions("files", json.dumps(world.said).encode()) is Pin.UNPINNED
    assert not lockfile.load(world.lock).of("files", "instructions")
    with pytest.raises(ConfigurationError, match="files/instructions cannot be pinned: they are no text"):
        await catalogue.pin("files")


TRUSTED, OTHER = said(ASK), said(SEND)


def instructed(*texts: str, pinned: Definition | None = None, first_use: bool = True) -> Case:
    """The definitions of what an upstream says of itself, which the gateway was told in turn."""
    case = Case(first_use=first_use, subject="instructions")
    if pinned is not None:
        case.adopt({"instructions": Pinned(pinned, AT)})
    for text in texts:
        case.own(json.dumps(text).encode())
    return case


def test_instructions_that_the_gateway_was_told_are_trusted_on_first_use():
    case = instructed("Ask first.")

    assert case.definitions.fresh == {"instructions": Pinned(TRUSTED, AT)}
    assert [(change.kind, change.subject, change.new) for change in case.changes] == [
        ("added", "instructions", TRUSTED)
    ]
    assert (case.definitions.compared(TRUSTED), case.definitions.compared(OTHER)) == (Pin.MATCH, Pin.CHANGED)
    assert case.definitions.compared(UnpinnableDefinition("they are no text", "instructions")) is Pin.CHANGED


@pytest.mark.parametrize(("first_use", "state"), [(True, Pin.UNPINNED), (False, Pin.UNREVIEWED)])
def test_instructions_that_only_clients_are_told_are_never_trusted_by_themselves(*, first_use: bool, state: Pin):
    case = instructed(first_use=first_use)
    case.own()
    case.doubt(TRUSTED)

    assert (case.definitions.compared(TRUSTED), case.definitions.fresh, case.changes) == (state, {}, [])


def test_instructions_are_unknown_before_the_gateway_was_told_any():
    assert instructed(pinned=TRUSTED).definitions.compared(TRUSTED) is Pin.UNKNOWN


def test_instructions_that_differ_are_a_change_once_and_the_pinned_ones_still_match():
    case = instructed("Ask first.", pinned=TRUSTED)
    for each in (OTHER, OTHER):
        case.doubt(each)

    assert case.changes == [PinChange("changed", "files", "instructions", "instructions", TRUSTED, OTHER)]
    assert case.definitions.states() == {"instructions": Pin.CHANGED}
    assert case.definitions.changes(known=True) == tuple(case.changes)
    assert case.definitions.compared(TRUSTED) is Pin.MATCH
    case.adopt({"instructions": Pinned(TRUSTED, LATER)})
    assert (case.definitions.states(), case.definitions.changes(known=True)) == ({"instructions": Pin.MATCH}, ())


def test_instructions_that_cannot_be_read_are_a_change_and_cannot_be_pinned():
    case = instructed(pinned=TRUSTED)
    case.own(b"7")

    assert case.definitions.states() == {"instructions": Pin.CHANGED}
    with pytest.raises(ConfigurationError, match="files/instructions cannot be pinned: they are no text"):
        case.definitions.renewed(None)


def test_instructions_that_are_no_longer_given_are_told_of_and_can_be_forgotten():
    case = instructed("Ask first.", pinned=TRUSTED)
    case.own()

    assert [change.kind for change in case.changes] == ["removed"]
    assert case.definitions.renewed(None) == ((), frozenset({"instructions"}))
