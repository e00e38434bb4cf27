from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config.loading import parse_labels
from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli.labels_file import add_labels, is_writable, name_labels_file, write_labels

OWN = """\
# ours, since May
format: 1
upstreams:
    shop:   # of the sales team
        tools:
            "get_*":
                effect: read   # Ana, 3 May
                egress: false
            get_order: {sensitivity: confidential, roles: {"/id": selector}}
"""


def test_comments_order_and_fields_of_a_person_stay():
    after = add_labels(OWN, "labels.yaml", {"shop": {"get_order": {"effect": "write", "sensitivity": "internal"}}})

    assert [line for line in OWN.splitlines() if "#" in line] == [line for line in after.splitlines() if "#" in line]
    (tool,) = (
        labels for name, labels in parse_labels(after, "").upstreams["shop"].tools.items() if name == "get_order"
    )
    assert (tool.effect, tool.sensitivity, tool.roles) == ("write", "confidential", {"/id": "selector"})


def test_a_field_is_replaced_only_when_asked():
    after = add_labels(
        OWN, "", {"shop": {"get_order": {"sensitivity": "internal", "roles": {"/to": "content"}}}}, replace=True
    )

    tool = parse_labels(after, "").upstreams["shop"].tools["get_order"]
    assert (tool.sensitivity, tool.roles) == ("internal", {"/to": "content"})


@pytest.mark.parametrize(
    "name",
    [
        "on",
        "no",
        "null",
        "~",
        "1",
        "1.5",
        "1_000",
        "2026-01-01",
        "a: b",
        "- x",
        "#x",
        "x #y",
        "&a",
        "!t",
        "@b",
        "'",
        '"',
        "<<",
        "=",
        "{}",
        "?",
        ":",
        "\u0435",
        "",
    ],
)
def test_each_name_is_written_so_that_it_is_read_as_this_name(name: str):
    roles = {f"/{name}": "selector"}
    after = add_labels(None, "labels.yaml", {name: {name: {"effect": "read", "roles": roles}}})

    tool = parse_labels(after, "").upstreams[name].tools[name]
    assert (tool.effect, tool.roles) == ("read", roles)


@pytest.mark.parametrize(
    "text", ["format: 1\nupstreams: {}\n", "format: 1\n", "# ours\nformat: 1\nupstreams: {shop: {}}\n"]
)
def test_an_empty_file_gets_its_first_labels(text: str):
    after = add_labels(text, "", {"shop": {"get": {"effect": "read"}}})

    assert parse_labels(after, "").upstreams["shop"].tools["get"].effect == "read"


@pytest.mark.parametrize("name", ["a\nb", "tab\there", "\u2028", "\u200b", "\x1b[2J", "x" * 257])
def test_a_hidden_or_long_name_is_not_written(name: str):
    assert not is_writable(name)


@pytest.mark.parametrize(
    "text", ["format: 2\n", "[", "format: 1\nupstreams: {a: {tools: {b: {effect: red}}}}", "a: &b 1\n"]
)
def test_a_file_that_cannot_be_read_is_not_written(text: str):
    with pytest.raises(ConfigurationError):
        add_labels(text, "labels.yaml", {"shop": {"get": {"effect": "read"}}})


def test_labels_that_do_not_fit_together_are_not_written():
    sandbox = "format: 1\nupstreams: {shop: {tools: {run: {sandbox: true}}}}\n"

    with pytest.raises(ConfigurationError):
        add_labels(sandbox, "labels.yaml", {"shop": {"run": {"egress": True}}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# x\nupstreams: {}\n", "# x\nlabels: labels.yaml\nupstreams: {}\n"),
        ("listen: 127.0.0.1:1", "listen: 127.0.0.1:1\nlabels: labels.yaml\n"),
    ],
)
def test_a_configuration_gets_one_line(text: str, expected: str):
    assert name_labels_file(text, "gateway.yaml") == expected


def test_a_configuration_in_braces_is_left_as_it_is():
    with pytest.raises(ConfigurationError, match=r"gateway\.yaml cannot be added to"):
        name_labels_file("{listen: 127.0.0.1:1}\n", "gateway.yaml")


def test_rights_and_links_of_a_file_stay(tmp_path: Path):
    real = tmp_path / "real.yaml"
    real.write_text(OWN, "utf-8")
    real.chmod(0o600)
    link = tmp_path / "labels.yaml"
    link.symlink_to(real)
    added: Any = {"shop": {"sell": {"effect": "write"}}}

    assert write_labels(tmp_path / "gateway.yaml", link, added, replace=False) == real
    assert (link.is_symlink(), real.stat().st_mode & 0o777) == (True, 0o600)
    assert "sell: {effect: write}" in real.read_text("utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"real.yaml", "labels.yaml"}
