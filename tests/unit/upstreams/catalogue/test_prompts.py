"""The prompts of an upstream: listed after its tools, pinned as they are, and unknown while they cannot be listed."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Literal

import pytest

from gateway.model.errors import UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.model.target import Pin
from gateway.upstreams.catalogue import lockfile
from gateway.upstreams.catalogue.lister import ListingBounds, inventory
from tests.unit.upstreams.catalogue.scripted import Answer, Scripted, error, method, page, prompt, result, tool
from tests.unit.upstreams.catalogue.world import GOOD

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.wire import UpstreamReply, UpstreamRequest
    from gateway.upstreams.catalogue.catalogue import Catalogue
    from tests.unit.upstreams.catalogue.world import World

GREET, EVIL = prompt("greet"), prompt("greet", "Greets. Also sends it.")


def offering(prompts: Callable[[UpstreamRequest], Answer | UpstreamError], *, handshake: bool = False) -> Scripted:
    """A server with one tool and prompts, of either era."""

    def answer(request: UpstreamRequest) -> Answer | UpstreamError:
        match method(request):
            case "initialize" if handshake:
                return result(request, protocolVersion="2025-11-25", capabilities={"tools": {}, "prompts": {}})
            case "server/discover" if not handshake:
                return result(request, supportedVersions=["2026-07-28"], capabilities={"tools": {}, "prompts": {}})
            case "tools/list":
                return page(request, [GOOD])
            case "prompts/list":
                return prompts(request)
            case "notifications/initialized" | "DELETE":
                return 202, "text/plain", b""
            case _:
                return error(request, -32601)

    return Scripted(answer, session="s1")


def pin(catalogue: Catalogue, name: str) -> Pin | None:
    return catalogue.target("files", "prompt", name).pin


# --- the gateway's own listing -----------------------------------------------------------------------


@pytest.mark.parametrize("handshake", [False, True])
async def test_prompts_are_listed_page_by_page_after_the_tools(*, handshake: bool):
    def pages(request: UpstreamRequest) -> Answer:
        assert request.message is not None
        cursor = request.message.params.get("cursor")
        return page(request, [prompt(f"after_{cursor}")], None if cursor else "a", kind="prompts")

    port = offering(pages, handshake=handshake)
    found = await inventory("files", port)

    assert (found.tools, found.unlisted) == ((GOOD,), None)
    assert [json.loads(item)["name"] for item in found.prompts] == ["after_None", "after_a"]
    asked = [name for name in port.methods if name.endswith("/list")]
    assert asked == ["tools/list", "prompts/list", "prompts/list"]


UNLISTED: list[tuple[Callable[[UpstreamRequest], Answer | UpstreamError], str]] = [
    (lambda request: error(request, -32603), "gave no prompt list that can be read"),
    (lambda request: page(request, [GREET]), "gave no prompt list that can be read"),
    (
        lambda request: page(request, [GREET], "same", kind="prompts"),
        "the same page of its prompt list again and again",
    ),
    (lambda request: page(request, [GREET] * 3, kind="prompts"), "has more than 2 prompts"),
    (lambda request: page(request, [prompt("big", "x" * 9000)], kind="prompts"), "lists of more than 5000 bytes"),
    (lambda _: UpstreamBroken("broke off"), "broke off"),
    (lambda _: UpstreamTimeout("silent"), "silent"),
    (lambda _: UpstreamUnreachable("refused"), "refused"),
]


@pytest.mark.parametrize("handshake", [False, True])
@pytest.mark.parametrize(("prompts", "problem"), UNLISTED)
async def test_a_server_whose_prompts_cannot_be_listed_keeps_its_tools(
    prompts: Callable[[UpstreamRequest], Answer | UpstreamError], problem: str, *, handshake: bool
):
    port = offering(prompts, handshake=handshake)
    found = await inventory("files", port, ListingBounds(items=2, bytes=5000))

    assert (found.tools, found.prompts) == ((GOOD,), ())
    assert problem in (found.unlisted or "")
    assert (port.methods[-1] == "DELETE") is handshake


async def test_a_server_that_promised_prompts_and_does_not_know_the_method_has_none():
    found = await inventory("files", offering(lambda request: error(request, -32601, status=404)))

    assert (found.tools, found.prompts, found.unlisted) == ((GOOD,), (), None)


@pytest.mark.parametrize("bounds", [ListingBounds(prompts=0.01), ListingBounds(seconds=2.05)])
async def test_tools_do_not_wait_for_prompts_that_are_never_listed(bounds: ListingBounds):
    """Neither for the time that prompts have, nor until there is none left for the listing as a whole."""
    port = offering(lambda request: error(request, -32601), handshake=True)
    send = port.send

    async def silent(request: UpstreamRequest) -> UpstreamReply:
        if method(request) == "prompts/list":
            await asyncio.Event().wait()
        return await send(request)

    port.send = silent
    async with asyncio.timeout(1.5):
        found = await inventory("files", port, bounds)

    assert (found.tools, found.prompts) == ((GOOD,), ())
    assert found.unlisted == "upstream files did not list its prompts in time"
    assert port.methods[-1] == "DELETE"


# --- their pins --------------------------------------------------------------------------------------


async def test_prompts_are_pinned_beside_tools_of_the_same_name(world: World):
    world.prompts = [prompt("read_file")]
    catalogue = world.catalogue()
    await catalogue.refresh()

    assert pin(catalogue, "read_file") is Pin.MATCH
    lock = lockfile.load(world.lock)
    assert lock.of("files", "prompt")["read_file"].definition.document["description"] == "Greets."
    assert lock.of("files", "tool")["read_file"].definition.document["description"] == "Does it."
    assert '      "prompts": {\n        "read_file": {\n' in world.lock.read_text("utf-8")


async def test_a_prompt_that_was_changed_meanwhile_is_refused_and_the_tool_of_its_name_is_not(world: World):
    world.prompts = [prompt("read_file")]
    await world.catalogue().refresh()
    before, world.prompts = world.lock.read_bytes(), [prompt("read_file", "Sends it.")]
    catalogue = world.catalogue()
    await catalogue.refresh()

    assert pin(catalogue, "read_file") is Pin.CHANGED
    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH
    assert [(change.kind, change.subject) for change in catalogue.changes()] == [("changed", "prompt")]
    assert world.lock.read_bytes() == before
    await catalogue.pin("files", "read_file")
    assert pin(catalogue, "read_file") is Pin.MATCH


async def test_a_changed_prompt_that_passes_by_takes_effect_and_stays_in_effect(world: World):
    world.prompts = [GREET]
    catalogue = world.catalogue()
    await catalogue.refresh()
    await catalogue.observe("files", "prompt", [EVIL], complete=False)
    assert pin(catalogue, "greet") is Pin.CHANGED

    await catalogue.observe("files", "prompt", [GREET], complete=True)
    await catalogue.refresh()
    assert pin(catalogue, "greet") is Pin.CHANGED


async def test_a_prompt_as_a_client_of_an_earlier_revision_is_shown_it_is_the_pinned_one(world: World):
    whole = prompt("greet", title="Greet", arguments=[{"name": "whom", "title": "Whom"}])
    world.prompts = [whole]
    catalogue = world.catalogue()
    await catalogue.refresh()
    for arguments in ([{"name": "whom"}], [{"name": "whom", "title": "Whom"}]):
        await catalogue.observe("files", "prompt", [prompt("greet", arguments=arguments)], complete=True)
        assert pin(catalogue, "greet") is Pin.MATCH


@pytest.mark.parametrize(
    "arguments",
    [
        [{"name": "who"}],
        [{"name": "whom", "title": "Your password"}],
        [{"name": "whom", "required": True}],
        [{"name": "whom"}, {"name": "password"}],
        [],
        ["whom"],
    ],
)
async def test_a_prompt_with_other_arguments_is_no_view_of_the_pinned_one(world: World, arguments: list[object]):
    world.prompts = [prompt("greet", title="Greet", arguments=[{"name": "whom", "title": "Whom"}])]
    catalogue = world.catalogue()
    await catalogue.refresh()
    await catalogue.observe("files", "prompt", [prompt("greet", arguments=arguments)], complete=True)

    assert pin(catalogue, "greet") is Pin.CHANGED


async def test_a_prompt_on_a_later_page_counts_as_one_on_the_first(world: World):
    world.prompts = [GREET, prompt("part")]
    catalogue = world.catalogue()
    await catalogue.refresh()
    await catalogue.observe("files", "prompt", [prompt("part")], complete=False)
    assert (pin(catalogue, "greet"), pin(catalogue, "part")) == (Pin.MATCH, Pin.MATCH)

    await catalogue.observe("files", "prompt", [prompt("part", "Sends it.")], complete=False)
    assert (pin(catalogue, "greet"), pin(catalogue, "part")) == (Pin.MATCH, Pin.CHANGED)


@pytest.mark.parametrize(
    "name", ["CAFE\u0301", "cafe\u0301", "Caf\u00e9", "caf\u00e9\u200b", "\uff43\uff41\uff46\u00e9"]
)
async def test_a_prompt_whose_name_only_looks_like_that_of_another_is_another(world: World, name: str):
    world.prompts = [prompt("caf\u00e9")]
    await world.catalogue().refresh()
    world.prompts.append(prompt(name))
    catalogue = world.catalogue("locked")
    assert pin(catalogue, name) is Pin.UNKNOWN
    await catalogue.refresh()

    assert (pin(catalogue, "caf\u00e9"), pin(catalogue, name)) == (Pin.MATCH, Pin.UNREVIEWED)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("second", [GREET, EVIL])
async def test_a_prompt_that_is_listed_twice_in_one_list_cannot_be_used(world: World, second: bytes, *, own: bool):
    world.prompts = [GREET]
    catalogue = world.catalogue()
    await catalogue.refresh()
    world.prompts = [GREET, second]
    await (catalogue.refresh() if own else catalogue.observe("files", "prompt", world.prompts, complete=True))

    assert pin(catalogue, "greet") is Pin.CHANGED


async def test_under_a_locked_catalogue_prompts_wait_for_a_person(world: World):
    world.prompts = [GREET]
    catalogue = world.catalogue("locked")
    await catalogue.refresh()

    assert pin(catalogue, "greet") is Pin.UNREVIEWED
    await catalogue.pin("files")
    assert pin(catalogue, "greet") is Pin.MATCH


async def test_a_prompt_that_is_no_longer_listed_is_unknown(world: World):
    world.prompts = [GREET, prompt("part")]
    catalogue = world.catalogue()
    await catalogue.refresh()
    world.prompts = None
    await catalogue.refresh()

    assert (pin(catalogue, "greet"), pin(catalogue, "part")) == (Pin.UNKNOWN, Pin.UNKNOWN)
    assert [change.kind for change in catalogue.changes()] == ["removed", "removed"]


async def test_prompts_that_could_not_be_listed_are_unknown_told_of_and_soon_asked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.upstreams.catalogue.listings._BACK_OFF", (0.01,))
    broken, answer = True, world.ports["files"].answer

    def answers(request: UpstreamRequest) -> Answer | UpstreamError:
        return error(request, -32603) if broken and method(request) == "prompts/list" else answer(request)

    world.ports["files"].answer = answers
    world.prompts = [GREET]
    catalogue = world.catalogue()
    await catalogue.start()

    status = catalogue.status()[0]
    assert (status.listed, status.error) == (True, None)
    assert status.unlisted == "upstream files gave no prompt list that can be read (HTTP 400)"
    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH
    assert pin(catalogue, "greet") is Pin.UNKNOWN

    broken = False
    await world.until(lambda: any(change.subject == "prompt" for change in world.changes))
    assert pin(catalogue, "greet") is Pin.MATCH
    assert catalogue.status()[0].unlisted is None
    await catalogue.stop()


async def test_prompts_that_cannot_be_listed_any_more_keep_their_state_and_their_pins(world: World):
    world.prompts = [GREET]
    catalogue = world.catalogue()
    await catalogue.refresh()
    answer = world.ports["files"].answer
    world.ports["files"].answer = lambda request: (
        UpstreamBroken("broke off") if method(request) == "prompts/list" else answer(request)
    )
    world.files = [GOOD, tool("new")]
    await catalogue.refresh()
    await catalogue.pin("files")

    assert pin(catalogue, "greet") is Pin.MATCH
    assert catalogue.target("files", "tool", "new").pin is Pin.MATCH
    assert lockfile.load(world.lock).of("files", "prompt").keys() == {"greet"}


@pytest.mark.parametrize("trust", ["first_use", "locked"])
async def test_prompts_that_a_server_lists_to_clients_and_not_to_the_gateway_are_unknown(
    world: World, trust: Literal["first_use", "locked"]
):
    answer = world.ports["files"].answer
    world.ports["files"].answer = lambda request: (
        error(request, -32603) if method(request) == "prompts/list" else answer(request)
    )
    world.prompts = [GREET]
    catalogue = world.catalogue(trust)
    await catalogue.refresh()
    await catalogue.observe("files", "prompt", [GREET], complete=True)

    assert pin(catalogue, "greet") is Pin.UNKNOWN


async def test_a_list_that_a_client_gets_first_has_the_gateway_list_before_it_is_judged(world: World):
    world.down = True
    catalogue = world.catalogue()
    await catalogue.observe("files", "tool", [GOOD], complete=True)
    assert catalogue.target("files", "tool", "read_file").pin is Pin.UNKNOWN

    world.down, world.now = False, world.now + 1
    await catalogue.observe("files", "tool", [GOOD], complete=True)
    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH
