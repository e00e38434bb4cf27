"""The labels file beside a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.config import Configuration, ToolLabels
from gateway.model.errors import ConfigurationError
from gateway.model.target import Effect
from gateway.surfaces.cli.upstream_checks import look_at_labels

GATEWAY = """
labels: labels.yaml
upstreams:
  files: {url: 'https://files.example/mcp', audience: files, tools: {'*': {egress: false}}}
"""


def load(folder: Path, labels: str | None, gateway: str = GATEWAY) -> Configuration:
    (folder / "gateway.yaml").write_text(gateway)
    if labels is not None:
        (folder / "labels.yaml").write_text(labels)
    return config.load(folder / "gateway.yaml")


def refused(folder: Path, labels: str | None, gateway: str = GATEWAY) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load(folder, labels, gateway)
    assert raised.value.remedy
    return raised.value.message


def test_labels_of_both_files_count_and_those_of_the_configuration_stand_later(tmp_path: Path):
    settings = load(tmp_path, "format: 1\nupstreams: {files: {tools: {read: {effect: read}, 'r*': {egress: true}}}}")

    assert list(settings.upstreams["files"].tools) == ["read", "r*", "*"]
    assert settings.upstreams["files"].tools["read"] == ToolLabels(effect=Effect.READ)


def test_an_empty_list_of_cases_still_removes_the_cases_of_other_patterns(tmp_path: Path):
    settings = load(tmp_path, "format: 1\nupstreams: {files: {tools: {read: {cases: []}}}}")

    assert settings.upstreams["files"].tools["read"].has_cases


def test_a_pattern_in_both_files_is_an_error(tmp_path: Path):
    assert "upstreams.files.tools: '*' has labels in" in refused(
        tmp_path, "format: 1\nupstreams: {files: {tools: {'*': {effect: read}}}}"
    )


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (None, "there is no file of labels"),
        ("", "format: it is missing"),
        ("format: 2", "format: it should be 1"),
        ("format: 1\nupstreams: {files: {tools: {read: {efect: read}}}}", "did you mean 'effect'?"),
        ("format: 1\nupstreams: {files: {tools: {read: {effect: read", "labels.yaml cannot be read: line"),
        ("format: 1\nupstreams: {files: {url: 'http://x'}}", "upstreams.files: there is no setting 'url'"),
        ("- format: 1", "labels.yaml is not a mapping"),
    ],
)
def test_a_labels_file_that_cannot_be_read_in_full_is_refused_by_its_name(tmp_path: Path, labels: str, said: str):
    assert said in refused(tmp_path, labels)


@pytest.mark.parametrize("named", ["labels: 5", "labels: ''", "labels: ${NO_SUCH_VARIABLE}"])
def test_a_setting_that_is_no_path_is_named_by_the_configuration(tmp_path: Path, named: str):
    assert "gateway.yaml: labels: " in refused(tmp_path, "format: 1", GATEWAY.replace("labels: labels.yaml", named))


def test_no_server_may_read_the_labels_file(tmp_path: Path):
    settings = load(tmp_path, "format: 1")

    assert settings.own_files.overlap_of_reading(tmp_path / "labels.yaml") is not None


def test_the_check_names_labels_of_an_upstream_that_there_is_not(tmp_path: Path):
    settings = load(tmp_path, "format: 1\nupstreams: {file: {tools: {read: {effect: read}}}}")
    found = list(look_at_labels(settings))

    assert [each.is_warning for each in found] == [False, True]
    assert found[1].found.endswith("there is no upstream 'file'")
    assert found[1].remedy == "did you mean files?"
