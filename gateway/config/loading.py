"""Reads a configuration file. `ConfigurationError` names the file, the field, the fault, and the remedy."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from gateway.base import strict_yaml
from gateway.config.problems import explain
from gateway.config.settings import Configuration
from gateway.model.errors import ConfigurationError


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
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        remedy = "write one with `opagate init`, or name it with --config"
        raise ConfigurationError(f"there is no configuration file {path}", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        may_not = isinstance(error, PermissionError)
        remedy = "let the user that runs opagate read the file" if may_not else "name another file"
        raise ConfigurationError(f"the configuration file {path} cannot be read: {problem}", remedy) from error
    return parse(text, base=path.parent, name=str(path), secrets=secrets, source=path)


def parse(
    text: str, *, base: Path, name: str = "configuration", secrets: bool = True, source: Path | None = None
) -> Configuration:
    """Validate YAML text; relative paths in it are relative to `base`. Raises `ConfigurationError`.

    `source` is the file with the text: no stdio server may read it.
    """
    try:
        document: object = strict_yaml.value(text)
    except strict_yaml.UnreadableYaml as error:
        where = f"line {error.line}, column {error.column}"
        raise ConfigurationError(f"{name} cannot be read: {where}: {error.problem}", "mend that line") from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{name} is not a mapping at its top level", "start it with a key such as listen:")
    try:
        # Sections with paths in their defaults are named, so that those are relative to the file as well.
        return Configuration.model_validate(
            {"catalogue": {}, "journal": {}, **document}, context={"base": base, "secrets": secrets, "source": source}
        )
    except ValidationError as error:
        raise InvalidSettings(name, explain(error, Configuration)) from None
