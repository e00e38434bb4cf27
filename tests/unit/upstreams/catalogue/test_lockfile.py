from __future__ import annotations

import json
import subprocess
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.base.letters import is_hidden
from gateway.config.packages import PackageLock
from gateway.model.errors import ConfigurationError
from gateway.upstreams.catalogue.lockfile import PackagePins, amend, load, parse, render
from gateway.upstreams.catalogue.pins import Definition, Lock, diff, read_definition, read_instructions

if TYPE_CHECKING:
    from pathlib import Path

AT = "2026-11-25T00:00:00Z"


def defined(name: str = "read_file", **fields: Any) -> Definition:
    item = read_definition(
        json.dumps({"name": name, "description": "Read.", "inputSchema": {"type": "object"}, **fields}).encode()
    )
    assert isinstance(item, Definition)
    return item


LOCK = (
    Lock()
    .pinned("mail", "tool", [defined("send")], AT)
    .pinned(
        "files", "tool", [defined("write_file"), defined(description='"# quoted": ünï 📄\nsecond: | line', x=2**64)], AT
    )
)


def test_what_is_written_is_read_again():
    assert parse(render(LOCK)) == LOCK
    assert parse(render(Lock())) == Lock()


PACKAGES = PackageLock("pypi", {"served": "1.0"}, ["served==1.0 --hash=sha256:aa"])
TREE = {"name": "server", "lockfileVersion": 3, "packages": {"": {}, "node_modules/served": {"version": "1.0.0"}}}


def test_locked_packages_are_read_again_and_stay_with_other_pins():
    npm = PackageLock("npm", {"served": "1.0.0"}, TREE)
    lock = LOCK.with_packages("mail", PACKAGES).with_packages("alone", npm)
    assert parse(render(lock)) == lock
    assert (
        lock.pinned("mail", "tool", [defined()], AT).without("files", "tool", ["write_file"]).packages == lock.packages
    )
    assert lock.with_packages("mail", None).with_packages("alone", None) == LOCK


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("served==1.0 ", "served==1.1 "),
        ('"served": "1.0"', '"served": "1.1"'),
        ('"registry": "pypi"', '"registry": "npm"'),
        ("sha256:aa", "sha256:ab"),
    ],
)
def test_packages_that_were_edited_by_hand_are_refused(before: str, after: str):
    text = render(LOCK.with_packages("mail", PACKAGES))
    with pytest.raises(ConfigurationError, match="digest of its packages"):
        parse(text.replace(before, after))


def test_a_lock_of_before_packages_is_read_and_written_anew(tmp_path: Path):
    path = tmp_path / "catalogue.lock"
    path.write_text(render(LOCK).replace('"version": 4', '"version": 3'))
    assert load(path) == LOCK
    amend(path, lambda lock: lock.with_packages("mail", PACKAGES))
    assert json.loads(path.read_bytes())["version"] == 4


def test_packages_follow_the_file_and_outlive_it(tmp_path: Path):
    path = tmp_path / "catalogue.lock"
    pins = PackagePins(path)
    assert pins.find("mail") is None
    amend(path, lambda lock: lock.with_packages("mail", PACKAGES))
    assert pins.find("mail") == PACKAGES
    path.write_text("{")
    assert pins.find("mail") == PACKAGES
    path.unlink()
    assert pins.find("mail") == PACKAGES
    amend(path, lambda lock: lock)
    assert pins.find("mail") is None


def test_prompts_stand_in_a_section_of_their_own():
    prompt = read_definition(json.dumps({"name": "greet", "description": "Greet."}).encode())
    assert isinstance(prompt, Definition)
    lock = LOCK.pinned("mail", "prompt", [prompt], AT)

    assert parse(render(lock)) == lock
    assert json.loads(render(lock))["upstreams"]["mail"].keys() == {"prompts", "tools"}


@pytest.mark.parametrize(
    "name",
    [
        "yes",
        "NO",
        "on",
        "Off",
        "true",
        "False",
        "null",
        "1.0",
        "a b",
        "a: b",
        '"',
        "\\",
        "\u202e",
        "\U000e0041",
        "\n",
        "- x",
        "#",
        "\x85",
        "é",
        "\x7f",
        "@a",
    ],
)
def test_any_name_and_any_character_survives(name: str):
    lock = Lock().pinned("files", "tool", [defined(name, description=f"x{name}y", annotations={name: name})], AT)

    assert parse(render(lock)) == lock
    assert json.loads(render(lock))["upstreams"]["files"]["tools"].keys() == {name}
    assert not [c for c in render(lock) if is_hidden(c) and c != "\n"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=20), st.dictionaries(st.text(), JSON, max_size=4))
def test_any_definition_survives(name: str, fields: dict[str, Any]):
    item = read_definition(json.dumps({**fields, "name": name}, ensure_ascii=False).encode())
    assume(isinstance(item, Definition))
    assert isinstance(item, Definition)
    lock = Lock().pinned("files", "tool", [item], AT)
    text = render(lock)

    assert parse(text) == lock
    assert not [c for c in text if is_hidden(c) and c != "\n"]
    assert not [c for c in diff(None, item) if is_hidden(c) and c != "\n"]


@settings(deadline=None)
@given(st.text())
def test_any_instructions_survive_and_stand_in_lines(text: str):
    item = read_instructions(json.dumps(text).encode())
    assume(isinstance(item, Definition))
    assert isinstance(item, Definition)
    lock = LOCK.pinned("files", "instructions", [item], AT)
    written = render(lock)

    assert parse(written) == lock
    assert not [c for c in written if is_hidden(c) and c != "\n"]
    assert len(written.splitlines()) == len(render(LOCK).splitlines()) + 6 + len(text.split("\n"))


def test_instructions_come_first_and_a_changed_line_of_them_is_two_changed_lines_of_the_file():
    first, second = (read_instructions(json.dumps(f"Use it.\n{end}").encode()) for end in ("Ask.", "Send.\u200b"))
    assert isinstance(first, Definition)
    assert isinstance(second, Definition)
    locks = [LOCK.pinned("files", "instructions", [item], AT) for item in (first, second)]
    before, after = (render(lock).splitlines() for lock in locks)
    assert [parse(render(lock)) for lock in locks] == locks

    start = before.index('    "files": {')
    assert before[start + 1 : start + 8] == [
        '      "instructions": {',
        f'        "digest": "{first.digest}",',
        f'        "pinned": "{AT}",',
        '        "text": [',
        '          "Use it.",',
        '          "Ask."',
        "        ]",
    ]
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [f'        "digest": "{second.digest}",', r'          "Send.\u200b"']


INSTRUCTED = """{
  "about": [],
  "version": 3,
  "upstreams": {
    "files": {
      "instructions": {
        "digest": "sha256:0",
        "pinned": "2026-11-25T00:00:00Z",
        "text": ["Use it."]
      }
    }
  }
}
"""


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("", ""), ", at files/instructions, has a digest that is not the digest of its definition"),
        (('["Use it."]', '"Use it."'), "Expected `array`, got `str` - at `$.upstreams[...].instructions.text`"),
        (('["Use it."]', '[["Use it."]]'), "Expected `str`, got `array`"),
        (('["Use it."]', r'["\ud800"]'), "cannot be read"),
        (('"text"', '"words"'), "unknown field `words`"),
        (('["Use it."]', '["Use it."'), ", line 10, cannot be read"),
    ],
)
def test_instructions_that_were_edited_are_refused_and_the_place_named(change: tuple[str, str], problem: str):
    with pytest.raises(ConfigurationError) as caught:
        parse(INSTRUCTED.replace(*change, 1))

    assert problem in caught.value.message


def test_the_text_does_not_depend_on_the_order_of_pinning():
    other = (
        Lock()
        .pinned("files", "tool", [defined(description='"# quoted": ünï 📄\nsecond: | line', x=2**64)], AT)
        .pinned("files", "tool", [defined("write_file")], AT)
        .pinned("mail", "tool", [defined("send")], AT)
    )

    assert render(other) == render(LOCK)


def test_the_text_does_not_depend_on_the_order_in_which_an_upstream_writes_a_definition():
    one, other = (
        read_definition(json.dumps(fields).encode()) for fields in ({"name": "a", "x": 1}, {"x": 1, "name": "a"})
    )
    assert isinstance(one, Definition)
    assert isinstance(other, Definition)

    assert render(Lock().pinned("files", "tool", [one], AT)) == render(Lock().pinned("files", "tool", [other], AT))


def test_the_text_says_what_it_is_and_shows_hidden_characters():
    text = render(Lock().pinned("files", "tool", [defined(description="a\u200b\u202e\U000e0041é\x7f")], AT))

    assert json.loads(text)["about"][0].startswith("What this gateway trusts of its upstreams")
    assert "opagate catalogue pin" in text
    assert r'"description": "a\u200b\u202e\udb40\udc41é\u007f"' in text


def test_one_changed_line_of_a_definition_is_two_changed_lines_of_the_file():
    before = render(LOCK).split("\n")
    after = render(LOCK.pinned("mail", "tool", [defined("send", description="Send.")], AT)).split("\n")

    assert len([1 for old, new in zip(before, after, strict=True) if old != new]) == 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (('"version": 4', '"version": 2'), " has version 2; this gateway reads version 4"),
        (('"version": 4,', "<<<<<<< HEAD"), ", line 7, cannot be read"),
        (('  "version": 4,\n', ""), "missing required field `version`"),
        (('"version": 4', '"version": [1]'), "Expected `int`"),
        (('"version": 4', '"version": 4, "extra": 2'), "unknown field `extra`"),
        (('"mail": {', '"files": {'), " has 'files' twice in one object"),
        (('"send": {', '"sent": {'), ", at mail/sent, has the definition of 'send'"),
        (('"digest": "sha256:', '"digest": "sha256:0'), ", at files/read_file, has a digest"),
        ((f'"pinned": "{AT}"', '"pinned": "yesterday"'), ", at files/read_file, has a time that is not RFC 3339"),
        (('"description": "Read."', '"description": "Read. And send."'), ", at files/write_file, has a digest"),
        (('"name": "read_file"', '"name": "read_file", "name": "read_file"'), " has 'name' twice in one object"),
        (('"name": "read_file"', '"name": 7'), "has a definition that cannot be read"),
        (('"x": 18446744073709551616', '"x": 1e999'), "has a definition that cannot be read"),
        (('"x": 18446744073709551616', '"x": NaN'), "cannot be read"),
        (('"x": 18446744073709551616', f'"x": {"9" * 5000}'), "cannot be read"),
        (('"x": 18446744073709551616', f'"x": {"[" * 9000}{"]" * 9000}'), "cannot be read"),
        (('"mail": {', '"mail": null, "other": {'), "Expected `object`, got `null`"),
        (('"tools": {', '"tool": {'), "unknown field `tool`"),
    ],
)
def test_a_malformed_lock_is_refused_and_the_place_named(change: tuple[str, str], problem: str):
    text = render(LOCK)
    assert change[0] in text

    with pytest.raises(ConfigurationError) as caught:
        parse(text.replace(*change, 1), "catalogue.lock")

    assert caught.value.message.startswith("the catalogue lock catalogue.lock")
    assert problem in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "[]", "text", '"text"', "null", "version: 2\nupstreams: {}\n...\n"]
)
def test_what_is_no_lock_is_refused(text: str):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        parse(text)


def test_a_file_that_is_not_there_has_no_pins(tmp_path: Path):
    assert load(tmp_path / "catalogue.lock") == Lock()


def test_a_file_that_is_not_text_is_refused(tmp_path: Path):
    path = tmp_path / "catalogue.lock"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path)


def test_amending_replaces_the_file_whole(tmp_path: Path):
    path = tmp_path / "how" / "deep" / "catalogue.lock"

    assert amend(path, lambda _: LOCK) == LOCK
    assert load(path) == LOCK
    assert [item.name for item in path.parent.iterdir()] == ["catalogue.lock"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_lock_of_no_pins_is_written_where_there_is_none(tmp_path: Path):
    path = tmp_path / "catalogue.lock"
    amend(path, lambda lock: lock)

    assert parse(path.read_text("utf-8")) == Lock()


def test_amending_keeps_the_mode_and_does_not_touch_an_unchanged_file(tmp_path: Path):
    path = tmp_path / "catalogue.lock"
    amend(path, lambda _: LOCK)
    path.chmod(0o640)
    before = path.stat()

    amend(path, lambda lock: lock)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino

    amend(path, lambda lock: lock.without("mail", "tool", ["send"]))
    assert path.stat().st_mode & 0o777 == 0o640


NINTH = '{"about": [], "version": 9, "upstreams": {}}'


def test_a_malformed_file_is_never_overwritten(tmp_path: Path):
    path = tmp_path / "catalogue.lock"
    path.write_text(NINTH, encoding="utf-8")

    with pytest.raises(ConfigurationError, match="version 9"):
        amend(path, lambda _: LOCK)

    assert path.read_text(encoding="utf-8") == NINTH


def test_a_failed_change_leaves_the_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "catalogue.lock"
    amend(path, lambda _: LOCK)

    def fail(lock: Lock) -> Lock:
        raise OSError(28, "No space left on device")

    with pytest.raises(ConfigurationError, match="No space left"):
        amend(path, fail)

    assert load(path) == LOCK
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failed_write_leaves_the_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "catalogue.lock"
    amend(path, lambda _: LOCK)

    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ConfigurationError, match="No space left"):
        amend(path, lambda _: Lock())

    assert load(path) == LOCK
    assert len(list(tmp_path.iterdir())) == 1


def _pin(lock: Lock, tool: str) -> Lock:
    return lock.pinned("files", "tool", [defined(tool)], AT)


def test_two_that_amend_at_once_lose_nothing(tmp_path: Path):
    path = tmp_path / "catalogue.lock"
    threads = [
        threading.Thread(target=amend, args=(path, partial(_pin, tool=f"tool_{number}"))) for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert load(path).of("files", "tool").keys() == {f"tool_{n}" for n in range(16)}


def test_a_process_that_is_killed_while_it_writes_leaves_a_whole_file(tmp_path: Path):
    """What it leaves is the file before a pin, or the file with the pin: never a part, and never fewer pins."""
    path = tmp_path / "catalogue.lock"
    amend(path, lambda _: LOCK)
    script = f"""
from pathlib import Path
from gateway.upstreams.catalogue.lockfile import amend
from gateway.upstreams.catalogue.pins import read_definition
number = 0
while True:
    number += 1
    item = read_definition(b'{{"name":"tool_%d","description":"%s"}}' % (number % 50, b"x" * 20000))
    amend(Path({str(path)!r}), lambda lock: lock.pinned("killed", "tool", [item], "{AT}"))
    print(number, flush=True)
"""
    for _ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        last = [writer.stdout.readline() for _ in range(7)][-1]
        writer.kill()
        writer.communicate()

        lock = load(path)
        assert lock.of("files", "tool") == LOCK.of("files", "tool")
        assert len(lock.of("killed", "tool")) >= int(last)
