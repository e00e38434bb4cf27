"""Reads a configuration file. `ConfigurationError` names the file, the field, what is wrong with it, and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from gateway.config.problems import explain, yaml_problem
from gateway.config.settings import Configuration
from gateway.errors import ConfigurationError


class InvalidSettings(ConfigurationError):
    """A file that is YAML and no configuration. `problems` begin with their fields."""

    def __init__(self, name: str, problems: tuple[str, ...]) -> None:
        super().__init__(
            f"{name}: {'; '.join(problems)}",
            "mend what is named; docs/reference/configuration.md describes every setting",
        )
        self.problems = problems


def load(path: Path) -> Configuration:
    """Read and validate a configuration file. Raises `ConfigurationError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        remedy = "write one with `opagate init`, or name it with --config"
        raise ConfigurationError(f"there is no configuration file {path}", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"the configuration file {path} cannot be read: {problem}", "name another") from error
    return parse(text, base=path.parent, name=str(path))


def parse(text: str, *, base: Path, name: str = "configuration") -> Configuration:
    """Validate YAML text; relative paths in it are relative to `base`. Raises `ConfigurationError`."""
    try:
        document = _document(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{name} is not YAML: {yaml_problem(error)}", "mend the line that is named") from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{name} is not a mapping at its top level", "start it with a key such as listen:")
    try:
        # Sections with paths in their defaults are named, so that those are relative to the file as well.
        return Configuration.model_validate({"catalogue": {}, "journal": {}, **document}, context={"base": base})
    except ValidationError as error:
        raise InvalidSettings(name, explain(error, Configuration)) from None


def _document(text: str) -> object:
    """Raises `yaml.YAMLError`, also for what PyYAML lets through as another exception."""
    loader = _Loader(text)
    try:
        return cast("object", loader.get_single_data())  # pyright: ignore[reportUnknownMemberType] - untyped
    except (ValueError, RecursionError) as error:
        mark = cast("yaml.Mark", loader.get_mark())  # pyright: ignore[reportUnknownMemberType] - untyped
        if isinstance(error, ValueError):
            raise _no_value(mark) from None
        raise yaml.constructor.ConstructorError(None, None, "it is nested too deeply", mark) from None
    finally:
        loader.dispose()  # pyright: ignore[reportUnknownMemberType] - untyped


def _no_value(mark: yaml.Mark) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, "it is no value; put it in quotes if it is text", mark)


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error: the second would silently win."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - as PyYAML calls it
        """`2020-13-01` has the form of a date, and is none: PyYAML raises whatever Python does then."""
        try:
            return cast("object", super().construct_object(node, deep=deep))  # pyright: ignore[reportUnknownMemberType] - untyped
        except (ValueError, LookupError, AttributeError):
            raise _no_value(node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - as PyYAML calls it
        seen: set[object] = set()
        for key_node, _ in node.value:
            key: object = self.construct_object(key_node, deep=True)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - untyped
            if isinstance(key, str):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} is given twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep=deep)
