from __future__ import annotations

from pathlib import Path

import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy.folder import bundle
from gateway.surfaces.cli.opa_push import Contents, DataChange, ModuleChange, imports_first, wanted_contents
from tests import tiny_policy


def test_a_module_stands_after_those_that_it_imports():
    modules = {
        "a": "package a\n\nimport data.b\nimport data.c.rule as x\n",
        "b": "package b\nimport data.c",
        "c": "# package no\npackage c\n",
        "d": "package d\nimport data.a\nimport input.b\n",
        "e": "no module",
    }

    order = imports_first(modules)

    assert sorted(order) == sorted(modules)
    assert [name for name in order if name in "abcd"] == ["c", "b", "a", "d"]


def test_modules_that_import_each_other_have_an_order_too():
    modules = {"a": "package a\nimport data.b\n", "b": "package b\nimport data.a\n"}

    assert sorted(imports_first(modules)) == ["a", "b"]


def test_the_changes_are_those_of_data_then_of_modules_then_deletions():
    found = Contents({"x": "package x\n", "y": "package y\n"}, {"p": {"a": 1}, "q": {}, "same": {}})
    wanted = Contents({"x": "package x\n# new\n", "z": "package z\n"}, {"p": {"a": 2}, "same": {}})

    assert found.changes_to(wanted) == [
        DataChange("p", {"a": 2}),
        DataChange("q", None),
        ModuleChange("x", "package x\n# new\n"),
        ModuleChange("z", "package z\n"),
        ModuleChange("y", None),
    ]
    assert wanted.changes_to(wanted) == []


def _read(folder: Path, data: str) -> bundle.Bundle:
    files = {".manifest": '{"roots": ["gateway", "a/b"]}', "gateway/x.rego": "package gateway.x\n", "a/data.json": data}
    return bundle.read_folder(tiny_policy.write(folder, files))


def test_data_are_taken_by_the_roots_of_the_policy(tmp_path: Path):
    contents = wanted_contents(_read(tmp_path, '{"b": {"c": 1}}'))

    assert contents == Contents({"opagate/gateway/x.rego": "package gateway.x\n"}, {"a/b": {"c": 1}})


def test_a_root_that_is_no_mapping_is_refused(tmp_path: Path):
    with pytest.raises(PolicyBroken, match=r"data\.a\.b is not a mapping"):
        wanted_contents(_read(tmp_path, '{"b": 1}'))
