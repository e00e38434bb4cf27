"""The new labels of a changed configuration, for the history of open tasks."""

from __future__ import annotations

from gateway.config import Configuration
from gateway.config.changes import compare
from gateway.history.events import NewLabels
from gateway.model.target import Sensitivity
from gateway.surfaces.app.relabelling import find_new_labels
from tests.unit.configuring import parse


def configured(upstream: str) -> Configuration:
    return parse(f"upstreams: {{files: {{url: 'https://files.example/mcp', audience: files, {upstream}}}}}")


def found(before: str, after: str, *listed: str) -> dict[str, NewLabels]:
    running = configured(before)
    return find_new_labels(compare(running, configured(after)), running.upstreams, {"files": listed})


def test_a_label_says_whether_a_tool_writes_and_a_label_that_goes_is_assumed_the_worst():
    read = "tools: {r*: {effect: read}}"

    assert found("tools: {}", read, "run", "send") == {
        "files/r*": NewLabels(write=False),
        "files/run": NewLabels(write=False),
    }
    assert found(read, "tools: {}", "run")["files/run"] == NewLabels(write=True, assumed=True)


def test_a_changed_case_counts_as_the_worst_of_its_tool():
    whole = "tools: {query: {effect: write, cases: [%s]}}"
    case = "{when: {/sql: {equals: a}}, effect: read}"

    assert found(whole % case, whole % "")["files/query"] == NewLabels(write=True)
    assert found(whole % case, whole % case) == {}


def test_sensitivity_and_trust_grow_stricter_alone():
    mild, strict = "tools: {a: {sensitivity: public}}", "tools: {a: {sensitivity: restricted}}"

    assert found(mild, strict)["files/a"].sensitivity is Sensitivity.RESTRICTED
    assert found(strict, mild)["files/a"].sensitivity is Sensitivity.PUBLIC
    assert found("trust: trusted", "trust: untrusted", "a") == {
        "files/a": NewLabels(untrusted=True),
        "files/": NewLabels(untrusted=True),
    }
    assert found("trust: untrusted", "trust: trusted", "a") == {}
    raised = found("resources: {'x://*': public}", "resources: {'x://*': confidential}")
    assert raised == {"files/": NewLabels(sensitivity=Sensitivity.CONFIDENTIAL)}


def test_words_about_an_upstream_that_are_no_labels_judge_nothing_anew():
    assert found("aliases: [tickets]", "aliases: [ticket system]", "a") == {}
