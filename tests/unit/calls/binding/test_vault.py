from __future__ import annotations

import secrets
from itertools import count

import pytest

from gateway.calls.binding import vault as module
from gateway.calls.binding.vault import ConcealedText, Vault
from gateway.model.content import Sighting

SEEN = (Sighting("f1", "github-pat"),)


def numbered() -> Vault:
    numbers = count()
    return Vault(lambda size: f"{next(numbers)}-{size}")


def test_a_handle_stands_for_what_was_kept():
    vault = numbered()
    handle = vault.keep("ada", "a", "crm", SEEN, "secret")

    assert handle == "cred://0-8/1-16"
    assert vault.find("a", handle) == ConcealedText(handle, "crm", SEEN, "secret")
    assert "secret" not in repr(vault.find("a", handle))


def test_the_same_text_of_the_same_audience_has_the_same_handle():
    vault = numbered()
    handle = vault.keep("ada", "a", "crm", SEEN, "secret")

    assert vault.keep("ada", "a", "crm", SEEN, "secret") == handle
    others = {vault.keep("ada", "a", "crm", SEEN, "other"), vault.keep("ada", "a", "billing", SEEN, "secret")}
    others.add(vault.keep("ada", "b", "crm", SEEN, "secret"))
    assert len({handle, *others}) == 4
    assert vault.keep("ada", "a", "crm", SEEN, None) != vault.keep("ada", "a", "crm", SEEN, None)


def test_a_handle_is_nothing_in_another_task():
    vault = numbered()
    handle = vault.keep("ada", "a", "crm", SEEN, "secret") or ""
    vault.keep("ada", "b", "crm", SEEN, "secret")

    assert vault.find("b", handle) is None
    assert vault.find("c", handle) is None
    assert vault.find("a", handle + "x") is None


def test_the_name_of_a_task_is_not_in_its_handles():
    handle = Vault(secrets.token_urlsafe).keep("ada", "task-0123456789", "crm", SEEN, "secret") or ""

    assert "task-" not in handle
    assert len(handle.rpartition("/")[2]) == 22


def test_a_task_has_so_many_handles_and_bytes():
    vault = Vault(secrets.token_urlsafe, per_task=2, task_bytes=10)
    kept = [vault.keep("ada", "a", "crm", SEEN, text) for text in ("1234", "12345", "1")]

    assert [handle is None for handle in kept] == [False, False, True]
    assert vault.keep("ada", "a", "crm", SEEN, "1234") == kept[0]
    assert vault.keep("ada", "b", "crm", SEEN, "12345678901") is None
    assert vault.keep("ada", "b", "crm", SEEN, "1234567890") is not None


def test_all_tasks_together_have_so_many():
    vault = Vault(secrets.token_urlsafe, in_all=2, all_bytes=10, share=1)
    assert vault.keep("ada", "a", "crm", SEEN, "123456") is not None
    assert vault.keep("ada", "b", "crm", SEEN, "123456") is None
    assert vault.keep("ada", "b", "crm", SEEN, "1") is not None
    assert vault.keep("ada", "c", "crm", SEEN, "1") is None
    vault.drop("a")
    assert vault.keep("ada", "c", "crm", SEEN, "123456") is not None


def test_one_caller_does_not_fill_it_for_another():
    vault = Vault(secrets.token_urlsafe, in_all=4, all_bytes=40, share=2)
    kept = [vault.keep("mallory", task, "crm", SEEN, "1") for task in "abc"]

    assert [handle is None for handle in kept] == [False, False, True]
    assert vault.keep("bob", "d", "crm", SEEN, "x" * 21) is None
    assert vault.keep("bob", "d", "crm", SEEN, "x" * 20) is not None
    vault.drop("a")
    assert vault.keep("mallory", "c", "crm", SEEN, "1") is not None


def test_callers_that_each_keep_to_their_part_share_what_there_is():
    vault = Vault(secrets.token_urlsafe, in_all=3, all_bytes=30, share=1)
    assert vault.keep("ada", "a", "crm", SEEN, "x" * 16) is not None
    assert vault.keep("bob", "b", "crm", SEEN, "x" * 15) is None
    assert vault.keep("bob", "b", "crm", SEEN, "x" * 14) is not None
    assert vault.keep("eve", "c", "crm", SEEN, None) is not None
    assert vault.keep("mallory", "d", "crm", SEEN, None) is None
    vault.drop("a")
    assert vault.keep("mallory", "d", "crm", SEEN, "x" * 16) is not None


def test_what_ended_is_forgotten_and_leaves_room():
    vault = numbered()
    handles = {task: vault.keep("ada", task, "crm", SEEN, "secret") or "" for task in "abc"}
    vault.drop("a")
    vault.drop("a")
    vault.retain(lambda task: task == "c")

    assert [task for task, handle in handles.items() if vault.find(task, handle)] == ["c"]
    assert len(vault) == 1
    vault.drop("c")
    assert len(vault) == 0


def test_a_caller_is_concealed_from_at_one_upstream(monkeypatch: pytest.MonkeyPatch):
    vault = numbered()
    vault.conceal("ada", "crm")

    assert vault.conceals("ada", "crm")
    assert not vault.conceals("ada", "billing")
    assert not vault.conceals("bob", "crm")
    monkeypatch.setattr(module, "_CALLERS", 1)
    vault.conceal("bob", "crm")
    assert vault.conceals("eve", "crm"), "callers that cannot be told apart are all concealed from"
