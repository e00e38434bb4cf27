"""The difference between the configuration in force and a changed file."""

from __future__ import annotations

import pytest

from gateway.config import InvalidSettings
from gateway.config.changes import compare
from tests.unit.configuring import parse

FILES = "upstreams: {files: {url: 'https://files.example/mcp', audience: files%s}}\n"
LEASED = FILES % ", credential: {kind: gateway, scopes: {read: [r]}}%s"


def test_the_same_file_changes_nothing():
    change = compare(parse(FILES % ""), parse(FILES % ""))

    assert change.is_empty
    assert change.waiting == ()


def test_upstreams_are_added_removed_changed_and_rebuilt():
    before = parse("upstreams: {a: {url: 'https://a/mcp', audience: a}, b: {url: 'https://b/mcp', audience: b}}")
    after = parse(
        "upstreams: {b: {url: 'https://c/mcp', audience: b, trust: trusted}, c: {url: 'https://c/mcp', audience: c}}"
    )
    change = compare(before, after)

    assert (change.added, change.removed, change.rebuilt) == (("c",), ("a",), ("b",))
    assert change.changed == {"b": ("url", "trust")}
    assert change.after == after


def test_words_about_an_upstream_need_no_other_way_to_it():
    change = compare(parse(FILES % ""), parse(FILES % ", trust: trusted, headers: [X-A], tools: {a: {effect: read}}"))

    assert change.rebuilt == ()
    assert set(change.changed["files"]) == {"trust", "headers", "tools"}


def test_the_order_of_patterns_is_a_change():
    one = FILES % ", tools: {'a*': {effect: read}, '*b': {effect: write}}"
    other = FILES % ", tools: {'*b': {effect: write}, 'a*': {effect: read}}"

    assert compare(parse(one), parse(other)).changed == {"files": ("tools",)}


def test_a_section_that_waits_is_named_and_stays_as_it_was():
    change = compare(parse(FILES % ""), parse(f"errors: protocol\nlimits: {{connect: 9s}}\n{FILES % ''}"))

    assert change.waiting == ("errors",)
    assert change.limits == ("connect",)
    assert (change.after.errors, change.after.limits.connect.seconds) == ("result", 9)


def test_limits_of_tasks_count_at_once_but_not_those_of_an_opa():
    limits = "limits: {task: {audiences: {soft: 1, hard: 2}}}\n"
    here = compare(parse(FILES % ""), parse(limits + FILES % ""))
    opa = "policy: {engine: {kind: opa, url: 'unix:///run/opa.sock'}}\n"
    there = compare(parse(opa + FILES % ""), parse(opa + limits + FILES % ""))

    assert (here.limits, here.waiting) == (("task",), ())
    assert here.after.policy.limits == here.after.limits.task
    assert (there.limits, there.waiting) == ((), ("limits.task",))
    assert there.after.policy.limits == {}


@pytest.mark.parametrize("changed", [LEASED % ", url: 'https://other/mcp'", LEASED.replace("[r]", "[s]") % ""])
def test_an_upstream_with_a_leased_credential_takes_labels_and_waits_with_the_rest(changed: str):
    changed = changed.replace("url: 'https://files.example/mcp', ", "", changed.count("other"))
    labelled = compare(parse(LEASED % ""), parse(LEASED % ", tools: {a: {effect: read}}"))
    waits = compare(parse(LEASED % ""), parse(changed))

    assert (labelled.changed, labelled.waiting) == ({"files": ("tools",)}, ())
    assert (waits.changed, waits.waiting) == ({}, ("upstreams.files",))
    assert waits.after.upstreams == parse(LEASED % "").upstreams


def test_a_new_upstream_with_a_leased_credential_waits():
    change = compare(parse(""), parse(LEASED % ""))

    assert (change.added, change.waiting) == ((), ("upstreams.files",))


def test_observe_mode_without_an_end_does_not_come_to_a_public_gateway_by_another_address_in_the_file():
    public = "listen: 0.0.0.0:8080\npublic_url: https://gateway.example\n"
    running = parse(public + FILES % "")

    with pytest.raises(InvalidSettings, match="observe_until"):
        compare(running, parse("enforce: false\n" + FILES % ""))


def test_the_search_among_tools_changes_without_a_restart():
    change = compare(parse(FILES % ""), parse("tool_search: {above: 7}\n" + FILES % ""))

    assert change.after.tool_search is not None
    assert change.after.tool_search.above == 7
    assert (change.search, change.is_empty, change.waiting) == (True, False, ())


def test_observe_mode_begins_without_a_restart():
    change = compare(parse(FILES % ""), parse("enforce: false\n" + FILES % ""))

    assert change.observing
    assert not change.is_empty
    assert change.waiting == ()
