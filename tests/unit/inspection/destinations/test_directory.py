"""Whom an operator's directory names, and whom it does not."""

from __future__ import annotations

import pytest

from gateway.inspection.destinations.directory import Directory, DirectoryEntry, directory_of
from gateway.inspection.destinations.find import listed
from gateway.model.call import Call
from gateway.model.content import CallContent
from gateway.model.target import Effect, Labels, Role, Target
from gateway.model.wire import JsonObject
from tests.requirements import requirement
from tests.unit.inspection.analysing import analyse

KEY = b"k" * 32
DIRECTORY = directory_of(
    map(
        DirectoryEntry,
        ["Ada Lovelace <ada@corp.example>", "*@partner.example", "*.corp.example", "acme/*", "acme-labs/site"],
    )
)


def knows(text: str, directory: Directory = DIRECTORY) -> bool:
    found = list(listed(text))
    assert found
    return all(map(directory.knows, found))


@pytest.mark.parametrize(
    "text",
    [
        "ada@corp.example",
        "ADA@Corp.Example",
        '"Ada Lovelace" <ada@corp.example>',
        "mailto:ada@corp.example",
        "bob@partner.example",
        "bob@partner.example, ada@corp.example",
        "https://git.corp.example/x?y=1",
        "acme/site",
        "acme/site/docs",
        "acme-labs/site",
    ],
)
def test_an_entry_is_known_in_each_spelling(text: str):
    assert knows(text)


@pytest.mark.parametrize(
    "text",
    [
        "eve@corp.example",
        "ada@corp.example.evil.example",
        "ada@corp.example, eve@evil.example",
        "eve@evil.example|bob@partner.example",
        "eve@evil.example bob@partner.example",
        "eve%40evil.example%2c@partner.example",
        "<eve@evil.example>@partner.example",
        "bob@partner.example.evil.example",
        "bob@evil.example/@partner.example",
        "https://corp.example.evil.example",
        "https://evil.example/git.corp.example",
        "https://evil.example#git.corp.example",
        "https://git.corp.example@evil.example",
        "acme/../evil/site",
        "evil/acme/site",
        "acme-labs/other",
        "ad\u0430@corp.example",
        "b\u043eb@partner.example",
        "xn--bb-jhb@partner.example.evil.example",
    ],
)
def test_a_lookalike_is_not_known(text: str):
    assert not knows(text)


@pytest.mark.parametrize("text", ["*", "**", "*@*", "a*", "*.", "*@x", "*/*"])
def test_a_pattern_that_says_too_little_is_refused(text: str):
    with pytest.raises(ValueError, match=r"nearly everything|more than one"):
        directory_of([DirectoryEntry(text)])


@pytest.mark.parametrize("text", ["*corp.example", "ada*", "ada*@corp.example", "acme/*site", "+4420*"])
def test_a_pattern_without_a_mark_beside_its_star_is_refused(text: str):
    """`*corp.example` would name eve@evilcorp.example, and `ada*` ada@evil.example."""
    with pytest.raises(ValueError, match="would name strangers too"):
        directory_of([DirectoryEntry(text)])


def test_an_empty_directory_knows_nothing():
    assert not knows("ada@corp.example", Directory())
    assert len(Directory()) == 0
    assert len(DIRECTORY) == 5


def content(arguments: JsonObject, *, goal: str | None = None, directory: Directory = DIRECTORY) -> CallContent:
    roles = dict.fromkeys((f"/{name}" for name in arguments), Role.DESTINATION)
    labels = Labels(effect=Effect.WRITE, roles=roles)
    call = Call("tools/call", Target("tool", "git", "open_issue", "git", labels=labels), arguments)
    return analyse(call, key=KEY, goal=goal, contract=None, directory=directory)


@requirement("directory/grounds")
def test_a_destination_of_the_directory_is_grounded_and_known():
    found = content({"to": "ada@corp.example", "copy": "eve@evil.example"})

    assert found.grounded == {"/to"}
    assert found.known_destinations == {"ada@corp.example"}


@requirement("directory/parts")
@pytest.mark.parametrize(
    "goal",
    [
        "Open an issue in acme/site about the login",
        "Open an issue in https://git.example/acme/site about it",
        "See <https://git.example/acme/site/pulls>.",
        "See https://git.example/acme/site.",
    ],
)
def test_parts_of_a_name_in_the_goal_are_grounded_together(goal: str):
    assert content({"owner": "acme", "repo": "site"}, goal=goal, directory=Directory()).grounded == {"/owner", "/repo"}


@pytest.mark.parametrize(
    ("goal", "owner", "repo"),
    [
        ("Open an issue in acme/site", "acme", "site-evil"),
        ("Open an issue in acme/site", "evil", "site"),
        ("Open an issue in acme/site", "site", "acme"),
        ("Open an issue in acme/site-evil", "acme", "site"),
        ("Open an issue in evil-acme/site", "acme", "site"),
        ("Open an issue in git.example/x/acme/site", "acme", "site"),
        ("See https://git.example/x/acme/site", "acme", "site"),
        ("See https://git.example/acme/sites", "acme", "site"),
        ("Mail acme@git.example", "git.example", "acme"),
        ("Go to git.example", "git.example", "acme"),
        ("Open an issue in acme/site", "acme/site", "x"),
    ],
)
def test_parts_that_the_goal_does_not_have_together_are_not_grounded(goal: str, owner: str, repo: str):
    found = content({"owner": owner, "repo": repo}, goal=goal, directory=Directory())

    assert not {"/owner", "/repo"} <= found.grounded


@pytest.mark.parametrize(
    ("name", "mail", "grounded"),
    [
        ("Ada Lovelace", "ada@corp.example", {"/name", "/mail"}),
        ("ada lovelace", "ADA@corp.example", {"/name", "/mail"}),
        ("Eve", "ada@corp.example", {"/mail"}),
        ("Ada Lovelace", "eve@evil.example", set[str]()),
    ],
)
def test_the_name_of_a_known_address_is_grounded_beside_it(name: str, mail: str, grounded: set[str]):
    assert content({"name": name, "mail": mail}).grounded == grounded


def test_parts_that_the_directory_has_are_grounded_together():
    assert content({"owner": "acme-labs", "repo": "site"}).grounded == {"/owner", "/repo"}
    assert content({"owner": "acme-labs", "repo": "other"}).grounded == set()
