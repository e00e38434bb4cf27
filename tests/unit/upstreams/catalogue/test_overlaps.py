from __future__ import annotations

from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.config import ToolLabels, Upstream
from gateway.model.target import Effect, Role, Sensitivity
from gateway.upstreams.catalogue.overlaps import Overlap, is_within, may_both_match, of_resources, of_tools
from tests.unit.upstreams.catalogue.scripted import tool
from tests.unit.upstreams.catalogue.world import World

if TYPE_CHECKING:
    from pathlib import Path

READ, WRITE, EXEC = (ToolLabels(effect=effect) for effect in (Effect.READ, Effect.WRITE, Effect.EXEC))


def test_two_patterns_that_differ_are_named_and_the_later_counts():
    (found,) = of_tools("fs", {"read_*": READ, "*_file": WRITE}, ["read_file", "read_all", "x_file"])

    assert found == Overlap("upstreams.fs.tools", "read_*", "*_file", ("effect",), ("read_file",))
    assert found.sentence == (
        "upstreams.fs.tools: 'read_*' and '*_file' both match 'read_file', and differ in effect;"
        " '*_file' counts, because it stands later"
    )


@pytest.mark.parametrize(
    "patterns",
    [
        {"*": WRITE, "read_*": READ},
        {"*": WRITE, "read_*": READ, "read_f*": EXEC},
        {"*_*": WRITE, "read_*": READ},
        {"?ead_*": WRITE, "read_*": READ},
        {"read_*": READ, "read_file": WRITE},
        {"read_file": WRITE, "read_*": READ},
        {"read_*": READ, "*_file": WRITE, "read_file": WRITE},
        {"read_*": READ, "*_file": READ},
        {"read_*": READ, "*_file": ToolLabels(egress=False)},
        {"read_*": READ, "*_file": ToolLabels()},
        {"read_*": ToolLabels(roles={"/a": Role.CONTENT}), "*_file": ToolLabels(roles={"/b": Role.SELECTOR})},
        {"read_*": READ, "write_*": WRITE},
        {"READ_*": READ, "*_file": WRITE},
        {},
    ],
)
def test_patterns_that_refine_agree_or_say_other_things_are_no_overlap(patterns: dict[str, ToolLabels]):
    assert of_tools("fs", patterns, ["read_file"]) == ()


@pytest.mark.parametrize(
    "patterns",
    [
        {"read_*": READ, "*": WRITE},
        {"read_*": READ, "read_?*": WRITE, "*": EXEC},
        {"read_f*": READ, "read_*": WRITE},
        {"[r]ead_*": READ, "r*_file": WRITE},
        {"read_*": ToolLabels(egress=False), "*_file": ToolLabels(egress=True)},
        {
            "read_*": ToolLabels(sensitivity=Sensitivity.RESTRICTED),
            "*_file": ToolLabels(sensitivity=Sensitivity.PUBLIC),
        },
        {"read_*": ToolLabels(roles={"/a": Role.CONTENT}), "*_file": ToolLabels(roles={"/a": Role.SELECTOR})},
        {"read_*": READ, "*_file": WRITE, "read_file": ToolLabels(egress=False)},
    ],
)
def test_every_label_that_a_later_pattern_overrides_is_an_overlap(patterns: dict[str, ToolLabels]):
    assert of_tools("fs", patterns, ["read_file"])


def test_of_three_patterns_the_last_counts_over_each_of_the_others():
    found = of_tools("fs", {"r*": READ, "*_file": WRITE, "*d_*": EXEC}, ["read_file"])

    assert [(each.earlier, each.later) for each in found] == [("r*", "*d_*"), ("*_file", "*d_*")]


def test_a_pair_is_one_overlap_however_many_tools_and_labels_it_is_about():
    first = ToolLabels(effect=Effect.READ, egress=False, roles={"/to": Role.CONTENT})
    second = ToolLabels(effect=Effect.EXEC, egress=True, roles={"/to": Role.DESTINATION})
    names = [f"read_{number}_file" for number in range(9)] + ["read_" + "x" * 300 + "_file"]
    (found,) = of_tools("fs", {"read_*": first, "*_file": second}, names)

    assert found.labels == ("effect", "egress", "the role of /to")
    assert len(found.names) == 10
    assert "'read_0_file', 'read_1_file', 'read_2_file' and 7 more" in found.sentence
    assert "differ in effect and egress and the role of /to" in found.sentence
    (long,) = of_tools("fs", {"read_*": first, "*_file": second}, names[-1:])
    assert len(long.sentence) < 300


def test_resources_have_no_list_so_patterns_that_may_meet_are_named():
    secret, public = Sensitivity.RESTRICTED, Sensitivity.PUBLIC
    (found,) = of_resources("fs", {"file:///secret/*": secret, "*.txt": public})

    assert found.sentence == (
        "upstreams.fs.resources: 'file:///secret/*' and '*.txt' can both match one URI, and differ in sensitivity;"
        " '*.txt' counts, because it stands later"
    )
    assert of_resources("fs", {"file:///a/*": secret, "*": public})
    assert of_resources("fs", {"file:///a": secret, "file:///?": public})
    assert of_resources("fs", {"*": secret, "file:///public/*": public, "file:///a": public}) == ()
    assert of_resources("fs", {"file:///a/*": secret, "file:///b/*": public}) == ()
    assert of_resources("fs", {"file:///a/*": secret, "*": secret}) == ()


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        ("a", "a", True), ("a", "b", False), ("a*", "*", True), ("*", "a*", False), ("a*b", "a*", True), ("a*", "a*b", False), ("a?b", "a*", True),
        ("a?", "a?", True), ("a*", "a?", False), ("[ab]", "?", True), ("[ab]", "[ab]", True), ("", "*", True), ("*", "**", True), ("**", "*", True),
        ("a*a", "a*", True), ("abc", "*b*", True), ("*a*", "*b*", False), ("?*", "*?", False), ("x[", "x[", True), ("x[!]]", "x?", True),
    ],
)  # fmt: skip
def test_one_pattern_within_another(part: str, whole: str, *, expected: bool):
    assert is_within(part, whole) is expected


def test_patterns_within_and_meeting_agree_with_the_matcher():
    random = Random(13)
    texts = ["".join(random.choices("ab_", k=random.randint(0, 5))) for _ in range(300)]
    patterns = ["".join(random.choices("ab_*?", k=random.randint(0, 5))) for _ in range(60)]
    for one in patterns:
        for other in patterns:
            both = [text for text in texts if fnmatchcase(text, one) and fnmatchcase(text, other)]
            assert may_both_match(one, other) or not both
            assert not is_within(one, other) or all(
                fnmatchcase(text, other) for text in texts if fnmatchcase(text, one)
            )


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("ab", "a"), ("a?", "a"), ("?", ""), ("a*b", "a*c")])
def test_patterns_without_a_common_text_do_not_meet(one: str, other: str):
    assert not may_both_match(one, other)
    assert not may_both_match(other, one)


def test_long_patterns_end_quickly():
    assert not may_both_match("a*" * 90 + "x", "a*" * 90 + "y")
    assert is_within("a" * 3000, "*")


async def test_overlapping_labels_are_a_warning_and_are_logged_once(tmp_path: Path):
    world = World(tmp_path)
    labelled = Upstream(url="http://127.0.0.1:1/mcp", audience="files", tools={"read_*": READ, "*_file": WRITE})
    catalogue = world.catalogue(upstreams={"files": labelled})
    with capture_logs() as logs:
        await catalogue.refresh()
        world.files = [*world.files, tool("read_other_file")]
        await catalogue.refresh()
    await catalogue.stop()

    sentence = (
        "upstreams.files.tools: 'read_*' and '*_file' both match 'read_file', and differ in effect; '*_file' counts"
    )
    told = [entry for entry in logs if entry["event"] == "catalogue.labels-overlap"]
    assert [(entry["log_level"], entry["upstream"]) for entry in told] == [("warning", "files")]
    assert told[0]["problem"].startswith(sentence)
    (warning,) = catalogue.status()[0].warnings
    assert "'read_file', 'read_other_file'" in warning
    assert catalogue.target("files", "tool", "read_file").labels.effect is Effect.WRITE
