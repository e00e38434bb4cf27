from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.config import CatalogueSettings
from gateway.model.errors import ConfigurationError
from gateway.model.target import Effect, Labels, Pin, Role, Sensitivity
from gateway.upstreams.catalogue import lockfile
from gateway.upstreams.catalogue.catalogue import Catalogue
from gateway.upstreams.catalogue.pins import Lock, PinChange
from tests.unit.upstreams.catalogue.scripted import tool
from tests.unit.upstreams.catalogue.world import EVIL, GOOD, NOON, World, defined

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.model.wire import UpstreamReply, UpstreamRequest
    from gateway.upstreams.catalogue.catalogue import TargetType


def test_the_highest_sensitivity_of_an_upstream_is_that_of_its_most_sensitive_tool(world: World):
    """A tool without a label counts as internal."""
    catalogue = world.catalogue()
    assert catalogue.highest("files") is Sensitivity.INTERNAL
    assert catalogue.highest("mail") is Sensitivity.RESTRICTED


async def test_starting_lists_every_upstream_and_pins_what_it_finds(world: World):
    catalogue = world.catalogue()
    await catalogue.start()
    await catalogue.stop()

    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH
    assert catalogue.target("mail", "tool", "send").labels.roles == {"/to": Role.DESTINATION}
    lock = lockfile.load(world.lock)
    assert lock.upstreams.keys() == {"files", "mail"}
    pin = lock.of("files", "tool").get("read_file")
    assert pin is not None
    assert pin.definition == defined(GOOD)
    assert pin.at == "2026-11-25T12:00:00Z"
    assert {(change.kind, change.upstream) for change in world.changes} == {("added", "files"), ("added", "mail")}


async def test_a_changed_definition_is_refused_after_a_restart_and_its_pin_kept(world: World):
    await world.catalogue().refresh()
    before = world.lock.read_bytes()
    world.files = [EVIL]
    catalogue = world.catalogue()
    await catalogue.refresh()

    assert catalogue.target("files", "tool", "read_file").pin is Pin.CHANGED
    assert world.lock.read_bytes() == before
    assert catalogue.changes() == (PinChange("changed", "files", "tool", "read_file", defined(GOOD), defined(EVIL)),)
    assert catalogue.changes("mail") == ()


async def test_a_definition_that_passes_by_takes_effect_before_the_answer_goes_on(world: World):
    catalogue = world.catalogue()
    await catalogue.refresh()
    await catalogue.observe("files", "tool", [EVIL], complete=True)

    assert catalogue.target("files", "tool", "read_file").pin is Pin.CHANGED


async def test_a_locked_catalogue_writes_nothing(world: World):
    catalogue = world.catalogue("locked")
    await catalogue.start()
    await catalogue.stop()

    assert catalogue.target("files", "tool", "read_file").pin is Pin.UNREVIEWED
    assert not world.lock.exists()
    assert [change.kind for change in catalogue.changes("files")] == ["unpinned"]


async def test_an_upstream_that_is_down_is_a_warning_and_its_tools_are_unknown(world: World):
    world.down = True
    catalogue = world.catalogue()
    await catalogue.start()

    assert catalogue.target("files", "tool", "read_file").pin is Pin.UNKNOWN
    assert catalogue.target("mail", "tool", "send").pin is Pin.MATCH
    files, mail = catalogue.status()
    assert (files.listed, files.error, files.revision) == (False, "upstream files cannot be reached: refused", None)
    assert (mail.listed, mail.error, mail.revision, mail.refreshed) == (True, None, "2026-07-28", NOON)
    assert mail.states == {("tool", "send"): Pin.MATCH}
    await catalogue.stop()


async def test_a_call_to_an_upstream_that_was_never_listed_has_it_listed_once(world: World):
    catalogue = world.catalogue()
    await asyncio.gather(*(catalogue.ensure("files") for _ in range(50)))

    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH
    assert world.ports["files"].methods == ["server/discover", "tools/list"]
    await catalogue.ensure("files")
    assert len(world.ports["files"].requests) == 2


async def test_calls_do_not_hammer_an_upstream_that_is_down(world: World):
    world.down = True
    catalogue = world.catalogue()
    for _ in range(20):
        await catalogue.ensure("files")
    assert len(world.ports["files"].requests) == 1

    world.now += 1.0
    world.down = False
    await catalogue.ensure("files")
    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH


async def test_an_upstream_that_asks_the_gateway_is_listed_once_the_gateway_listens(world: World):
    world.down = True
    catalogue = world.catalogue()
    await catalogue.refresh()
    world.down = False

    catalogue.retry()
    await catalogue.ensure("files")

    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH
    requests = len(world.ports["files"].requests)
    catalogue.retry()
    await catalogue.ensure("files")
    assert len(world.ports["files"].requests) == requests


async def test_a_caller_that_gives_up_does_not_end_the_listing_of_the_others(world: World):
    catalogue = world.catalogue()
    asked = asyncio.Event()
    go_on = asyncio.Event()
    send = world.ports["files"].send

    async def held(request: UpstreamRequest) -> UpstreamReply:
        asked.set()
        await go_on.wait()
        return await send(request)

    world.ports["files"].send = held
    first, second = (asyncio.create_task(catalogue.ensure("files")) for _ in range(2))
    await asked.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    go_on.set()
    await second

    assert first.cancelled()
    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH


async def test_an_upstream_is_listed_again_and_again(world: World):
    catalogue = world.catalogue(refresh=timedelta(milliseconds=10))
    await catalogue.start()
    world.files = [EVIL]
    await world.until(lambda: catalogue.target("files", "tool", "read_file").pin is Pin.CHANGED)
    world.files = []
    await world.until(lambda: catalogue.target("files", "tool", "read_file").pin is Pin.UNKNOWN)
    await catalogue.stop()

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_listing_that_fails_leaves_what_was_known(world: World):
    catalogue = world.catalogue()
    await catalogue.refresh()
    world.down = True
    await catalogue.refresh("files")

    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH
    assert catalogue.status()[0].error is not None
    world.down = False
    await catalogue.refresh("files")
    assert catalogue.status()[0].error is None


async def test_a_tool_that_first_appears_in_an_answer_to_a_client_is_listed_and_pinned_at_once(world: World):
    catalogue = world.catalogue()
    await catalogue.start()
    world.files = [GOOD, tool("new", title="New")]
    await catalogue.observe("files", "tool", [GOOD, tool("new")], complete=True)

    assert catalogue.target("files", "tool", "new").pin is Pin.MATCH
    await world.until(lambda: any(change.name == "new" for change in world.changes))
    await catalogue.stop()
    pin = lockfile.load(world.lock).of("files", "tool").get("new")
    assert pin is not None
    assert pin.definition == defined(tool("new", title="New"))


async def test_pinning_one_tool_makes_it_usable_again_and_leaves_the_others(world: World):
    world.files = [GOOD, tool("other")]
    await world.catalogue().refresh()
    world.files = [EVIL, tool("other", "Changed too.")]
    catalogue = world.catalogue()
    await catalogue.refresh()

    changed = await catalogue.pin("files", "read_file")

    assert changed == (PinChange("changed", "files", "tool", "read_file", defined(GOOD), defined(EVIL)),)
    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH
    assert catalogue.target("files", "tool", "other").pin is Pin.CHANGED
    pin = lockfile.load(world.lock).of("files", "tool").get("read_file")
    assert pin is not None
    assert pin.definition == defined(EVIL)


async def test_pinning_a_whole_upstream_also_forgets_what_is_gone(world: World):
    world.files = [GOOD, tool("gone")]
    await world.catalogue().refresh()
    world.files = [EVIL, tool("new")]
    catalogue = world.catalogue("locked")
    await catalogue.refresh()

    changed = await catalogue.pin("files")

    assert [(change.kind, change.name) for change in changed] == [
        ("removed", "gone"),
        ("added", "new"),
        ("changed", "read_file"),
    ]
    assert lockfile.load(world.lock).of("files", "tool").keys() == {"read_file", "new"}
    assert lockfile.load(world.lock).of("mail", "tool").keys() == {"send"}
    assert catalogue.changes() == ()


async def test_a_flapping_definition_is_usable_again_only_after_pinning(world: World):
    catalogue = world.catalogue()
    await catalogue.refresh()
    await catalogue.observe("files", "tool", [EVIL], complete=True)
    await catalogue.refresh()
    assert catalogue.target("files", "tool", "read_file").pin is Pin.CHANGED

    await catalogue.pin("files", "read_file")
    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH


async def test_pinning_a_whole_upstream_trusts_nothing_that_is_not_shown_to_have_changed(world: World):
    """Such as what a running gateway has seen otherwise in between."""
    world.files = [GOOD, tool("other")]
    running = world.catalogue()
    await running.refresh()
    await running.observe("files", "tool", [EVIL], complete=False)
    world.files, world.now = [GOOD, tool("other", "Changed too.")], world.now + 60
    command = world.catalogue("locked")
    await command.refresh()

    assert [change.name for change in await command.pin("files")] == ["other"]
    await running.reload()
    await running.refresh()
    assert running.target("files", "tool", "read_file").pin is Pin.CHANGED
    assert running.target("files", "tool", "other").pin is Pin.MATCH

    world.now += 60
    await command.pin("files", "read_file")
    await running.reload()
    assert running.target("files", "tool", "read_file").pin is Pin.MATCH


async def test_pinning_a_tool_trusts_none_of_the_same_name_elsewhere(world: World):
    world.mail = [GOOD]
    catalogue = world.catalogue()
    await catalogue.refresh()
    for upstream in ("files", "mail"):
        await catalogue.observe(upstream, "tool", [EVIL], complete=True)
    await catalogue.refresh()

    await catalogue.pin("files", "read_file")

    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH
    assert catalogue.target("mail", "tool", "read_file").pin is Pin.CHANGED


async def test_pinning_one_tool_forgets_none_that_is_gone(world: World):
    world.files = [GOOD, tool("gone")]
    await world.catalogue().refresh()
    world.files = [GOOD]
    catalogue = world.catalogue("locked")
    await catalogue.refresh()

    await catalogue.pin("files", "read_file")

    assert lockfile.load(world.lock).of("files", "tool").keys() == {"read_file", "gone"}


async def test_what_was_not_listed_or_not_reviewed_cannot_be_pinned(world: World):
    world.down = True
    catalogue = world.catalogue()
    with pytest.raises(ConfigurationError, match="nobody asked it yet"):
        await catalogue.pin("files")
    await catalogue.refresh()
    with pytest.raises(ConfigurationError, match="cannot be reached"):
        await catalogue.pin("files")
    with pytest.raises(ConfigurationError, match="lists no 'nothing'"):
        await catalogue.pin("mail", "nothing")


async def test_a_pin_that_another_process_made_takes_effect(world: World):
    catalogue = world.catalogue()
    await catalogue.refresh()
    await catalogue.observe("files", "tool", [EVIL], complete=True)
    other = world.catalogue()
    world.files = [EVIL]
    await other.refresh()
    world.now += 60
    await other.pin("files", "read_file")

    await catalogue.refresh()
    assert catalogue.target("files", "tool", "read_file").pin is Pin.CHANGED
    await catalogue.reload()
    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH
    assert catalogue.target("mail", "tool", "send").pin is Pin.MATCH


async def test_a_pin_that_another_process_makes_right_after_a_write_is_not_missed(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    catalogue = world.catalogue()
    amend = lockfile.amend

    def overtaken(path: Path, change: Callable[[Lock], Lock], *, existing: bool) -> Lock:
        written = amend(path, change, existing=existing)
        amend(path, lambda lock: lock.pinned("files", "tool", [defined(EVIL)], "2026-11-25T13:00:00Z"))
        return written

    monkeypatch.setattr(lockfile, "amend", overtaken)
    await catalogue.refresh("files")
    await catalogue.reload()

    assert catalogue.target("files", "tool", "read_file").pin is Pin.CHANGED


async def test_an_unchanged_lock_file_is_not_read_again(world: World, monkeypatch: pytest.MonkeyPatch):
    catalogue = world.catalogue()
    await catalogue.refresh()
    await catalogue.reload()
    monkeypatch.delattr(lockfile, "load")
    await catalogue.reload()

    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH


async def test_a_lock_file_that_was_rewritten_in_its_size_and_given_its_old_time_is_read_again(world: World):
    catalogue = world.catalogue()
    await catalogue.refresh()
    await catalogue.reload()
    before = world.lock.stat()
    world.lock.write_text(world.lock.read_text("utf-8").replace("digest", "dugest"), "utf-8")
    while (
        world.lock.stat().st_ctime_ns == before.st_ctime_ns
    ):  # the file system's clock may tick once in some milliseconds
        os.utime(world.lock, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(world.lock, ns=(before.st_atime_ns, before.st_mtime_ns))
    with capture_logs() as logs:
        await catalogue.reload()

    assert [entry["event"] for entry in logs] == ["catalogue.lock-unusable"]


async def test_first_use_never_replaces_a_pin_that_another_process_made(world: World):
    catalogue = world.catalogue()
    lockfile.amend(world.lock, lambda lock: lock.pinned("files", "tool", [defined(EVIL)], "2026-11-25T11:59:00Z"))
    await catalogue.refresh()

    pin = lockfile.load(world.lock).of("files", "tool").get("read_file")
    assert pin is not None
    assert pin.definition == defined(EVIL)
    assert catalogue.target("files", "tool", "read_file").pin is Pin.CHANGED
    assert lockfile.load(world.lock).of("mail", "tool").get("send") is not None


async def test_a_lock_file_that_breaks_later_is_reported_and_the_pins_stay_in_force(world: World):
    catalogue = world.catalogue()
    await catalogue.refresh()
    world.lock.write_text("<<<<<<< HEAD\n", encoding="utf-8")
    with capture_logs() as logs:
        await catalogue.reload()
        await catalogue.reload()
    assert [entry["event"] for entry in logs] == ["catalogue.lock-unusable"]
    assert "line 1" in logs[0]["problem"]
    await catalogue.observe("files", "tool", [EVIL], complete=True)

    assert catalogue.target("files", "tool", "read_file").pin is Pin.CHANGED
    assert catalogue.target("mail", "tool", "send").pin is Pin.MATCH
    assert any("line 1" in warning for warning in catalogue.status()[0].warnings)


async def test_a_lock_file_that_cannot_be_written_is_reported_and_the_pins_are_kept(world: World):
    catalogue = world.catalogue()
    world.lock.mkdir()
    with capture_logs() as logs:
        await catalogue.refresh()
        await catalogue.flush()

    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("catalogue.lock-unusable", "error")]
    assert catalogue.target("mail", "tool", "send").pin is Pin.MATCH
    assert "cannot be read" in catalogue.status()[0].warnings[0]
    world.lock.rmdir()
    await catalogue.stop()
    assert lockfile.load(world.lock).upstreams.keys() == {"files", "mail"}
    assert catalogue.status()[0].warnings == ()


async def test_an_upstream_that_comes_up_later_is_found(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.upstreams.catalogue.listings._BACK_OFF", (0.01,))
    world.down = True
    catalogue = world.catalogue()
    await catalogue.start()
    world.down = False
    await world.until(lambda: catalogue.target("files", "tool", "read_file").pin is Pin.MATCH)
    await catalogue.stop()


async def test_a_running_gateway_notices_a_pin_of_another_process(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.upstreams.catalogue.lock_keeper._LOCK_POLL_SECONDS", 0.01)
    catalogue = world.catalogue()
    await catalogue.start()
    lockfile.amend(world.lock, lambda lock: lock.pinned("files", "tool", [defined(EVIL)], "2026-11-25T13:00:00Z"))
    await world.until(lambda: catalogue.target("files", "tool", "read_file").pin is Pin.CHANGED)
    await catalogue.stop()


def test_a_malformed_lock_file_stops_the_start(world: World):
    world.lock.write_text("version: 7\n", encoding="utf-8")

    with pytest.raises(ConfigurationError, match="line 1"):
        world.catalogue()


async def test_resources_have_no_pin_and_they_and_prompts_are_read_with_fail_closed_labels_for_the_rest(world: World):
    catalogue = world.catalogue()

    expected: dict[TargetType, Pin | None] = {"resource": None, "prompt": Pin.UNKNOWN}
    for type_, pin in expected.items():
        target = catalogue.target("files", type_, "file:///etc/passwd")
        assert target.pin is pin
        assert target.labels == Labels(effect=Effect.READ)
        assert (target.type, target.audience, target.environment) == (type_, "files.example", "staging")


def test_a_resource_is_as_sensitive_as_what_the_tools_of_its_upstream_read(world: World):
    """Else who may not carry what a tool reads would read it as a resource."""
    catalogue = world.catalogue()

    assert catalogue.target("mail", "resource", "mail://inbox/1").labels == Labels(
        effect=Effect.READ, sensitivity=Sensitivity.RESTRICTED
    )
    assert catalogue.target("mail", "resource", "").labels.sensitivity is Sensitivity.INTERNAL
    assert catalogue.target("mail", "prompt", "mail://inbox/1").labels.sensitivity is Sensitivity.INTERNAL


def test_an_upstream_that_is_not_configured_has_no_targets(world: World):
    with pytest.raises(KeyError):
        world.catalogue().target("nowhere", "tool", "read_file")
    with pytest.raises(KeyError):
        world.catalogue().target("nowhere", "prompt", "x")


async def test_stopping_while_an_upstream_hangs_ends_at_once(world: World):
    hanging = asyncio.Event()

    async def hang(request: UpstreamRequest) -> UpstreamReply:
        hanging.set()
        await asyncio.Event().wait()
        raise AssertionError

    world.ports["files"].send = hang
    catalogue = world.catalogue()
    starting = asyncio.create_task(catalogue.start())
    await hanging.wait()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await catalogue.stop()

    assert catalogue.target("files", "tool", "read_file").pin is Pin.UNKNOWN


def test_the_catalogue_of_no_upstreams_is_empty(tmp_path: Path):
    async def scenario() -> None:
        catalogue = Catalogue({}, CatalogueSettings(lock=tmp_path / "l"), {}, clock=lambda: NOON)
        await catalogue.start()
        await catalogue.refresh()
        await catalogue.stop()
        assert catalogue.status() == ()
        assert catalogue.changes() == ()

    asyncio.run(scenario())
    assert lockfile.load(tmp_path / "l") == Lock()
    assert not (tmp_path / "l").exists()
