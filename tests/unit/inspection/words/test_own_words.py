"""Words that are not foreign to a task, and the domains of its operator."""

from __future__ import annotations

import pytest

from gateway.inspection.destinations.directory import DirectoryEntry, directory_of
from gateway.inspection.destinations.normalise import is_inside, normalise
from gateway.inspection.words.words import foreign, identity_of, parts_of
from gateway.model.call import Call
from gateway.model.caller import Actor, AuthMethod, Principal, User
from gateway.model.target import Labels, Role, Target
from tests.unit.inspection.analysing import analyse

KEY = b"k" * 32
CALLER = Principal(
    "spiffe://corp.example/agent/triagebot",
    "https://idp.example",
    AuthMethod.JWT,
    user=User("anastasia.kowalski@corp.example", ("reliability-team",)),
    delegation=(Actor("orchestrator-main", "https://idp.example"),),
)


def tokens(text: str, goal: str | None = None, entries: tuple[str, ...] = (), caller: Principal | None = CALLER):
    """Return the digests of the foreign words of a call with a text."""
    call = Call("tools/call", Target("tool", "crm", "use", "crm"), {"text": text})
    known = directory_of(map(DirectoryEntry, entries))
    return analyse(call, key=KEY, goal=goal, contract=None, directory=known, caller=caller).tokens


@pytest.mark.parametrize(
    "text",
    [
        "anastasia.kowalski@corp.example",
        "anastasia.kowalski",
        "reliability-team",
        "triagebot",
        "orchestrator-main",
    ],
)
def test_words_of_the_callers_identity_are_not_foreign(text: str):
    assert tokens(text) == frozenset()
    assert tokens(text, caller=None) != frozenset()


@pytest.mark.parametrize(
    "text", ["reports/northwind.csv", "NORTHWIND-reports", "northwind_reports.csv", "/Northwind/reports"]
)
def test_parts_of_the_goals_paths_and_names_are_not_foreign(text: str):
    assert tokens(text, "Compare Northwind with reports/2024/summary.csv") == frozenset()
    assert tokens(text, "Compare them") != frozenset()


def test_words_of_the_directory_are_not_foreign():
    entries = ("Bartholomew Quimby <bquimby@partner.example>", "*@contractor.example")

    assert tokens("bquimby@partner.example and contractor.example, Bartholomew", entries=entries) == frozenset()


@pytest.mark.parametrize(
    "text", ["reports/exfiltrated.csv", "northwind.evil-host.test", "northwind4711x", "reportsnorthwindcsv"]
)
def test_a_word_with_one_foreign_part_is_foreign(text: str):
    assert tokens(text, "Compare Northwind with reports/summary.csv") != frozenset()


def test_a_word_is_foreign_unless_some_source_has_each_part():
    assert foreign({b"a-b", b"a", b"c.a"}, (parts_of("a"), parts_of("B"))) == {b"c.a"}
    assert foreign({b"a"}, ()) == {b"a"}
    assert "reliability-team" in identity_of(CALLER)


@pytest.mark.parametrize(
    "text", ["bob@corp.example", "Bob <BOB@Corp.Example>", "bob@eu.corp.example", "https://docs.corp.example/a"]
)
def test_addresses_and_hosts_of_own_domains_are_inside(text: str):
    call = Call(
        "tools/call", Target("tool", "m", "use", "m", labels=Labels(roles={"/to": Role.DESTINATION})), {"to": text}
    )
    content = analyse(call, key=KEY, goal=None, contract=None, own_domains=("corp.example",))

    assert content.inside == content.destinations.keys() != set()
    assert analyse(call, key=KEY, goal=None, contract=None).inside == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "bob@notcorp.example",
        "bob@corp.example.evil.test",
        "eve%evil.test@corp.example",
        "eve!bob@corp.example",
        "https://corp.example@evil.test/",
        "https://evil.test/corp.example",
        "#corp.example",
        "b\u043eb@c\u043erp.example",
    ],
)
def test_what_only_looks_like_an_own_domain_is_outside(text: str):
    assert not is_inside(normalise(text), ("corp.example",))


@pytest.mark.parametrize("text", ["4711-2025-0815", "x1-y2-z3-a4-b5", "20-7946-0000-44"])
def test_numbers_and_short_parts_of_the_directory_make_no_word_own(text: str):
    """A long directory has each of them, so any secret could be spelled with them."""
    entries = ("tickets/20/7946/0000/44", "tickets/4711/2025/0815", "x1@a4.example", "y2@b5.example", "z3@c.example")

    assert tokens(text, entries=entries)


def test_a_destination_that_the_goal_names_is_named_and_one_of_the_directory_is_not():
    roles = Labels(roles={"/to": Role.DESTINATION})
    call = Call("tools/call", Target("tool", "m", "use", "m", labels=roles), {"to": ["bob@b.example", "ann@b.example"]})
    known = directory_of([DirectoryEntry("ann@b.example")])
    content = analyse(call, key=KEY, goal="Write to bob@b.example", contract=None, directory=known)

    assert {content.destinations[digest] for digest in content.named} == {"bob@b.example"}
    assert content.grounded == {"/to"}
