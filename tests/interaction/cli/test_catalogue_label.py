"""`opagate catalogue label` as its user runs it, with a server that asks for milder labels than it should have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.loading import load
from gateway.upstreams.catalogue.labels import labels_for
from tests.interaction.cli.conftest import ROOT, Opagate
from tests.servers.flatterer import NAMES

_GATEWAY = """\
# ours
listen: 127.0.0.1:0
identity: [{{kind: development}}]
upstreams:  # one
  shop:
    audience: shop
    command: [{python}, {server}]
    isolation: {{kind: none, accepted_by: ana, until: 2099-01-01}}
    tools:
      old: {{effect: write, egress: true}}  # by Ana
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = _GATEWAY.format(python=sys.executable, server=ROOT / "tests/servers/flatterer.py")
    (tmp_path / "gateway.yaml").write_text(text, "utf-8")
    return tmp_path


def test_nothing_is_written_without_being_asked(opagate: Opagate, folder: Path):
    done = opagate("catalogue", "label")

    assert done.status == 0
    assert "shop/get_item\n  + effect: read  (the name has the verb `get`; annotation readOnlyHint: true)" in done.out
    assert "! the name has the verb `delete`, but annotation readOnlyHint: true: the stricter counts" in done.out
    assert "Add --write" in done.err
    assert [path.name for path in folder.iterdir()] == ["gateway.yaml"]


def test_what_a_server_calls_its_tools_labels_no_other_tool(opagate: Opagate, folder: Path):
    before = (folder / "gateway.yaml").read_text("utf-8")

    done = opagate("catalogue", "label", "shop", "--write")

    assert done.status == 0, done.err
    assert (folder / "gateway.yaml").read_text("utf-8") == before.replace(
        "upstreams:", "labels: labels.yaml\nupstreams:"
    )
    tools = load(folder / "gateway.yaml").upstreams["shop"].tools
    assert set(tools) == set(NAMES) - {"*", "get_*", "line\nbreak"}
    assert "its name has a wildcard" in done.out
    assert labels_for("unlisted", tools).assumed == {"effect", "egress", "sensitivity"}
    assert {name: labels_for(name, tools).effect.value for name in ("get_item", "delete_all", "g\u0435t", "on")} == {
        "get_item": "read",
        "delete_all": "destructive",
        "g\u0435t": "write",
        "on": "read",
    }
    assert opagate("check", "--json").json["ok"] is True


def test_a_persons_labels_stay(opagate: Opagate, folder: Path):
    assert opagate("catalogue", "label", "--write").status == 0
    path = folder / "labels.yaml"
    own: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    own["upstreams"]["shop"]["tools"]["get_item"] = {"effect": "write"}
    path.write_text("# by hand\n" + yaml.safe_dump(own), "utf-8")

    shown = opagate("catalogue", "label")
    assert "= effect: write is yours; proposed: read" in shown.out
    assert "= effect: write is yours; proposed: read  (annotation readOnlyHint: true)" in shown.out, "of the tool old"
    assert opagate("catalogue", "label", "--write").status == 0

    kept = path.read_text("utf-8")
    tools = yaml.safe_load(kept)["upstreams"]["shop"]["tools"]
    assert kept.startswith("# by hand\n")
    assert tools["get_item"] == {
        "effect": "write",
        "egress": False,
        "sensitivity": "internal",
        "roles": {"/path": "selector"},
    }
    assert opagate("catalogue", "label", "--write", "--replace").status == 0
    tools = yaml.safe_load(path.read_text("utf-8"))["upstreams"]["shop"]["tools"]
    assert tools["get_item"]["effect"] == "read"
    assert "effect: write, egress: true" in (folder / "gateway.yaml").read_text("utf-8")


def test_a_labels_file_that_nothing_names_is_not_taken_into_service(opagate: Opagate, folder: Path):
    (folder / "labels.yaml").write_text("format: 1\nupstreams: {shop: {tools: {'*': {effect: read}}}}\n", "utf-8")

    done = opagate("catalogue", "label", "--write")

    assert (done.status, "does not name it" in done.err) == (2, True)
    assert "labels:" not in (folder / "gateway.yaml").read_text("utf-8")


def test_programs_get_all_reasons(opagate: Opagate, folder: Path):
    found = {tool["tool"]: tool for tool in opagate("catalogue", "label", "--json").json["tools"]}

    assert set(found) == set(NAMES)
    assert found["delete_all"]["proposed"]["effect"] == {
        "value": "destructive",
        "because": "the name has the verb `delete`",
    }
    assert found["delete_all"]["doubt"]
    assert found["*"]["refusal"]
    assert found["old"]["kept"] == {"effect": "write", "egress": "true"}


def test_a_tool_that_differs_from_its_pin_gets_no_label(opagate: Opagate, folder: Path):
    path = folder / "gateway.yaml"
    flattering = path.read_text("utf-8")
    path.write_text(flattering.replace("flatterer.py]", "flatterer.py, get_item]"), "utf-8")
    assert opagate("catalogue", "pin", "--yes").status == 0
    path.write_text(flattering, "utf-8")

    done = opagate("catalogue", "label", "--write")

    assert "shop/get_item\n  ! its definition is not the pinned one" in done.out
    assert set(load(path).upstreams["shop"].tools) == set(NAMES) - {"*", "get_*", "line\nbreak", "get_item"}
