"""Reads a configuration file, and the file of labels that it names. `ConfigurationError` names the file, the field, the fault, and
the remedy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import TypeAdapter, ValidationError

from gateway.base import own_process, strict_yaml
from gateway.config.labels import LabelsFile
from gateway.config.problems import explain
from gateway.config.secret_texts import secret_variables
from gateway.config.settings import Configuration
from gateway.config.values import FilePath, keep_variable
from gateway.model.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATH: Final[TypeAdapter[Path]] = TypeAdapter(FilePath)


class InvalidSettings(ConfigurationError):
    """A YAML file without a valid configuration. `problems` begin with their fields."""

    def __init__(self, name: str, problems: tuple[str, ...]) -> None:
        super().__init__(
            f"{name}: {'; '.join(problems)}",
            "mend what is named; docs/reference/configuration.md describes every setting",
        )
        self.problems = problems


def load(path: Path, *, secrets: bool = True) -> Configuration:
    """Read and validate a configuration file. Raises `ConfigurationError`.

    Without `secrets`, a secret that the environment lacks stays unresolved: only its use raises `ConfigurationError`.
    """
    text = _read(path, "configuration file", "write one with `opagate init`, or name it with --config")
    return parse(text, base=path.parent, name=str(path), secrets=secrets, source=path)


def parse(
    text: str, *, base: Path, name: str = "configuration", secrets: bool = True, source: Path | None = None
) -> Configuration:
    """Validate YAML text; relative paths in it are relative to `base`. Raises `ConfigurationError`.

    `source` is the file with the text: no stdio server may read it.
    """
    # Sections with paths in their defaults are named, so that those are relative to the file as well.
    document: dict[str, Any] = {"catalogue": {}, "journal": {}, **_with_labels(_read_mapping(text, name), base)}
    try:
        return Configuration.model_validate(document, context={"base": base, "secrets": secrets, "source": source})
    except ValidationError as error:
        raise InvalidSettings(name, explain(error, Configuration)) from None


def forget_secrets(settings: Configuration) -> None:
    """Take the variables with secrets of a configuration out of the environment of the process. Later readings still know them."""
    names = secret_variables(settings, os.environ)
    for name in names:
        keep_variable(name, os.environ[name])
    own_process.forget_variables(names)


def load_labels(path: Path) -> LabelsFile:
    """Read and validate a labels file. Raises `ConfigurationError`."""
    return parse_labels(_read(path, "file of labels", "write it, or leave the setting `labels` out"), str(path))


def parse_labels(text: str, name: str) -> LabelsFile:
    """Validate the text of a labels file. Raises `ConfigurationError`."""
    document = _read_mapping(text, name)
    try:
        return LabelsFile.model_validate(document)
    except ValidationError as error:
        raise InvalidSettings(name, explain(error, LabelsFile)) from None


def _with_labels(document: dict[str, Any], base: Path) -> dict[str, Any]:
    """Return the document of a configuration with the labels of its labels file. Patterns of `gateway.yaml` stand later, and count."""
    named, upstreams = document.get("labels"), document.get("upstreams")
    if not isinstance(named, str) or not isinstance(upstreams, dict):
        return document
    try:
        path = _PATH.validate_python(named, context={"base": base})
    except ValidationError:
        return document  # The configuration's own validation names the fault and its place.
    merged = dict(cast("dict[str, object]", upstreams))
    for name, found in load_labels(path).upstreams.items():
        upstream = merged.get(name)
        if isinstance(upstream, dict):
            settings = cast("dict[str, object]", upstream)
            merged[name] = {**settings, "tools": _join(name, found.tools, settings.get("tools"), path)}
    return {**document, "upstreams": merged}


def _join(upstream: str, labels: Mapping[str, object], own: object, path: Path) -> object:
    """Return all patterns of an upstream. Raises `ConfigurationError` for a pattern in both files."""
    if own is None:
        return labels
    if not isinstance(own, dict):
        return own
    patterns = cast("dict[str, object]", own)
    both = sorted(labels.keys() & patterns.keys())
    if both:
        raise ConfigurationError(
            f"upstreams.{upstream}.tools: {both[0]!r} has labels in {path} and in the configuration file",
            "keep one of them",
        )
    return {**labels, **patterns}


def _read(path: Path, what: str, remedy: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"there is no {what} {path}", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        may_not = isinstance(error, PermissionError)
        remedy = "let the user that runs opagate read the file" if may_not else "name another file"
        raise ConfigurationError(f"the {what} {path} cannot be read: {problem}", remedy) from error


def _read_mapping(text: str, name: str) -> dict[str, Any]:
    try:
        document: object = strict_yaml.value(text)
    except strict_yaml.UnreadableYaml as error:
        where = f"line {error.line}, column {error.column}"
        raise ConfigurationError(f"{name} cannot be read: {where}: {error.problem}", "mend that line") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{name} is not a mapping at its top level", "start it with a key such as listen:")
    return cast("dict[str, Any]", document)
