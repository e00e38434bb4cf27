from __future__ import annotations

import pytest
import yaml

from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli.init import add_upstreams as add
from gateway.surfaces.cli.init import names_of_upstreams as names

NEW = {"mail": "  mail:\n    url: https://mail.example/mcp\n    audience: mail\n"}


@pytest.mark.parametrize(
    "text",
    [
        "upstreams:\n",
        "upstreams: {}\n",
        "upstreams: {}   # none yet\n",
        "upstreams:",
        "listen: 127.0.0.1:8080\nupstreams:\n  files:\n    command: [cat]   # a comment\n    audience: files\n",
        "upstreams:\n  files: {command: [cat], audience: files}\n\n# the rest\nlimits: {in_flight: 5}\n",
        "upstreams:\n\n  # the first\n  files: {command: [cat], audience: files}\n\n\n\nlimits: {in_flight: 5}",
    ],
)
def test_upstreams_are_added_and_nothing_else_changes(text: str):
    merged = add(text, "gateway.yaml", NEW)

    before, after = yaml.safe_load(text), yaml.safe_load(merged)
    assert after["upstreams"].pop("mail") == {"url": "https://mail.example/mcp", "audience": "mail"}
    assert {key: value or {} for key, value in after.items()} == {key: value or {} for key, value in before.items()}
    assert [line for line in text.splitlines() if line.lstrip().startswith("#")] == [
        line for line in merged.splitlines() if line.lstrip().startswith("#")
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("listen: 127.0.0.1:8080\n", "do not begin on a line of their own"),
        ("{upstreams: {}}\n", "do not begin on a line of their own"),
        ("upstreams: {files: {command: [cat], audience: files}}\n", "do not begin on a line of their own"),
        ("upstreams:\n    files:\n        command: [cat]\n", ""),
        ("upstreams: [files]\n", "upstreams is not a mapping"),
        ("upstreams: {\n", "cannot be read: line"),
    ],
)
def test_a_file_in_which_only_a_person_can_place_them_is_refused(text: str, problem: str):
    with pytest.raises(ConfigurationError, match=r"gateway[.]yaml") as raised:
        add(text, "gateway.yaml", NEW)

    assert problem in raised.value.message
    assert raised.value.remedy


def test_the_names_that_are_taken_are_known():
    assert names("upstreams: {files: {}, mail: {}}\n", "gateway.yaml") == {"files", "mail"}
    assert names("listen: 127.0.0.1:1\n", "gateway.yaml") == frozenset()
