"""A lock file that goes away, comes back, is cut off or is somewhere else while a gateway runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.model.errors import ConfigurationError
from gateway.model.target import Pin
from gateway.upstreams.catalogue import lockfile
from gateway.upstreams.catalogue.pins import Lock
from tests.unit.upstreams.catalogue.scripted import prompt, tool
from tests.unit.upstreams.catalogue.world import EVIL, GOOD, World, defined


async def test_a_lock_file_that_is_gone_leaves_the_pins_in_force_and_is_not_begun_anew(world: World):
    """A checkout, or a volume, takes it away for a while; the next process begins anew."""
    catalogue = world.catalogue()
    await catalogue.refresh()
    trusted = world.lock.read_text("utf-8")
    world.lock.unlink()
    world.files = [EVIL, tool("new")]
    with capture_logs() as logs:
        for _ in range(2):
            await catalogue.reload()
            await catalogue.refresh()

    assert catalogue.target("files", "tool", "read_file").pin is Pin.CHANGED
    assert not world.lock.exists()
    assert [entry["event"] for entry in logs] == ["catalogue.lock-unusable"]
    assert "is gone" in logs[0]["problem"]
    assert any("is gone" in warning for warning in catalogue.status()[0].warnings)

    world.lock.write_text(trusted, "utf-8")
    await catalogue.reload()
    await catalogue.flush()
    assert catalogue.status()[0].warnings == ()
    lock = lockfile.load(world.lock)
    assert lock.of("files", "tool")["read_file"].definition == defined(GOOD)
    assert lock.of("files", "tool")["new"].definition == defined(tool("new"))


async def test_pins_that_are_made_anew_while_the_file_is_gone_come_into_force(world: World):
    catalogue = world.catalogue()
    await catalogue.refresh()
    world.lock.unlink()
    await catalogue.reload()
    world.files = [EVIL]
    command = world.catalogue("locked")
    await command.refresh()
    await command.pin("files")
    await catalogue.reload()
    await catalogue.refresh("files")

    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH


async def test_a_lock_file_that_is_a_link_stays_one(world: World, tmp_path: Path):
    real = tmp_path / "reviewed" / "catalogue.lock"
    real.parent.mkdir()
    world.lock.symlink_to(real)
    catalogue = world.catalogue()
    await catalogue.refresh()

    assert world.lock.is_symlink()
    assert lockfile.load(real).upstreams.keys() == {"files", "mail"}
    assert [each.name for each in real.parent.iterdir()] == ["catalogue.lock"]


def test_a_lock_file_that_was_cut_off_is_refused_wherever_it_was_cut():
    lock = Lock().pinned("files", "tool", [defined(GOOD), defined(tool("b"))], "2026-11-25T12:00:00Z")
    lock = lock.pinned("files", "prompt", [defined(prompt("greet"))], "2026-11-25T12:00:00Z")
    text = lockfile.render(lock.pinned("mail", "tool", [defined(tool("send"))], "2026-11-25T12:00:00Z"))
    for length in range(len(text) - 1):
        with pytest.raises(ConfigurationError):
            lockfile.parse(text[:length])


@pytest.mark.parametrize("ours", range(0, 60, 7))
def test_a_lock_file_with_the_marks_of_a_merge_is_refused_wherever_they_stand(ours: int):
    lock = Lock().pinned("files", "tool", [defined(GOOD), defined(tool("b"))], "2026-11-25T12:00:00Z")
    lines = lockfile.render(lock).splitlines()
    ours = min(ours, len(lines) - 1)
    marked = [*lines[:ours], "<<<<<<< HEAD", lines[ours], "=======", lines[ours], ">>>>>>> theirs", *lines[ours + 1 :]]
    with pytest.raises(ConfigurationError):
        lockfile.parse("\n".join(marked) + "\n")


async def test_commands_that_pin_at_once_lose_no_pin_of_each_other(world: World):
    world.files = [tool(f"t{number}") for number in range(8)]
    commands = [world.catalogue("locked") for _ in world.files]
    await asyncio.gather(*(command.refresh("files") for command in commands))
    await asyncio.gather(*(command.pin("files", f"t{number}") for number, command in enumerate(commands)))

    assert lockfile.load(world.lock).of("files", "tool").keys() == {f"t{number}" for number in range(8)}
