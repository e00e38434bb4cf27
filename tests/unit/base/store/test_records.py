"""Sealed records: of their kind and id alone, of each earlier form, and named when they cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from gateway.base.store.records import RecordKind
from gateway.model.errors import StoreError
from tests.unit.base.store.keeping import FILE, edit, sealed_store


class Note(Struct, frozen=True):
    text: str


class LongNote(Struct, frozen=True):
    text: str
    words: tuple[str, ...]


def _with_words(note: dict[str, Any]) -> dict[str, Any]:
    return {**note, "words": note["text"].split()}


NOTES = RecordKind("note", Note, "a note")
VITAL = RecordKind("note", Note, "a note", is_vital=True)
LATER = RecordKind("note", LongNote, "a note", upgrades=(_with_words,))
OTHERS = RecordKind("other", Note, "a note")


async def test_values_are_not_readable_on_disk(tmp_path: Path):
    store = sealed_store(tmp_path)
    await store.of(NOTES).put("a", Note("a secret"))
    store.close()

    assert b"a secret" not in (tmp_path / FILE).read_bytes()
    assert await sealed_store(tmp_path).of(NOTES).load() == {"a": Note("a secret")}


@pytest.mark.parametrize(
    "statement",
    [
        "update records set id = 'b'",
        "update records set kind = 'other'",
        "update records set value = substr(value, 1, length(value) - 1)",
        "update records set value = x'00'",
        "update records set value = (select value from records where id = 'moved')",
    ],
)
async def test_an_edited_or_moved_record_does_not_open(
    tmp_path: Path, statement: str, capsys: pytest.CaptureFixture[str]
):
    store = sealed_store(tmp_path)
    await store.of(NOTES).put("moved", Note("y"))
    await store.of(NOTES).put("a", Note("x"))
    edit(tmp_path, f"{statement} where id = 'a'")

    assert await store.of(NOTES).load() == {"moved": Note("y")}
    assert await store.of(OTHERS).load() == {}
    assert "store.unreadable" in capsys.readouterr().out


async def test_an_unreadable_vital_record_is_an_error_with_its_name(tmp_path: Path):
    await sealed_store(tmp_path).of(VITAL).put("a-lease", Note("x"))

    with pytest.raises(StoreError, match=r"1 records of the kind 'note' cannot be read: a-lease"):
        await sealed_store(tmp_path, b"o" * 32).of(VITAL).load()


async def test_a_record_of_an_earlier_form_is_brought_up_to_date(tmp_path: Path):
    store = sealed_store(tmp_path)
    await store.of(NOTES).put("a", Note("two words"))
    later = store.of(LATER)

    assert await later.load() == {"a": LongNote("two words", ("two", "words"))}
    await later.put("b", LongNote("x", ()))
    assert await later.get("b") == LongNote("x", ())


async def test_a_record_of_a_later_form_is_an_error_and_is_kept(tmp_path: Path):
    store = sealed_store(tmp_path)
    await store.of(LATER).put("a", LongNote("x", ()))

    with pytest.raises(StoreError, match="a later release"):
        await store.of(NOTES).load()
    assert await store.of(LATER).get("a") is not None


async def test_changes_of_several_kinds_are_one_change(tmp_path: Path):
    store = sealed_store(tmp_path)
    notes, others = store.of(NOTES), store.of(OTHERS)
    await store.change(notes.changed("a", Note("x")), others.changed("a", Note("y")))
    assert await store.change(notes.removed("a"), others.changed("a", Note("z"), version=999)) is None

    assert (await notes.get("a"), await others.get("a")) == (Note("x"), Note("y"))
    assert (await notes.count(), await others.count()) == (1, 1)
