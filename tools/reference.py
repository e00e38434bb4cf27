"""The reference pages of the commands, the settings and the facts, from the code itself. `tools/generate.py` writes them."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin

import typer.main
from pydantic import AwareDatetime, BaseModel, JsonValue, SecretStr, StrictFloat, StrictInt
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway import config
from gateway.config import values
from gateway.model import facts
from gateway.policy import contract
from gateway.policy.facts import FactsFile
from gateway.surfaces.cli.root import app

_GENERATED: Final = "This page is generated from the code (`make generate`)."
_SCALARS: Final = {
    values.Size: "size",
    values.Duration: "duration",
    values.Secret: "secret",
    values.FilePath: "path",
    values.KeyLocation: "key location",
    values.Text: "text",
    str: "text",
    bool: "true or false",
    int: "number",
    StrictInt: "number",
    StrictFloat: "number",
    JsonValue: "any value",
}
_SCALAR_NOTES: Final = """\
Values are written like this:

- *size*: `4MiB`, `512KiB`, `10MB`, or a number of bytes
- *duration*: `250ms`, `5s`, `10m`, `1h`, `7d`
- *date*: `2027-03-31`
- *secret*: `${NAME}` for an environment variable, or `file:PATH`; as itself it is refused. Only `up`, `check` and `catalogue` read it
- *path*: relative to the folder of the configuration file
- *key location*: `file:PATH`, or `https://…`; `http://` on loopback only
- *text*: `${NAME}` in it is replaced from the environment in addresses, commands and paths

A key that is not known is refused, with the nearest one that is. So is a key that is given twice."""


def pages() -> dict[str, str]:
    """Path below the repository → what belongs there."""
    return {
        "docs/reference/cli.md": commands(),
        "docs/reference/configuration.md": settings(),
        "docs/reference/declared-facts.md": declared_facts(),
        "docs/reference/facts.md": session_facts(),
    }


# --- the command line --------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its arguments, options and an example."""
    root = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        f"{_sentence(root.help)} {_GENERATED}",
        "",
        "Output is for people; with `--json`, where a command has it, for programs. Errors go to standard error: a",
        "sentence, and what to do. Exit status: 0; 1 for a negative answer; 2 for wrong usage or a failure; 130 after",
        "Ctrl-C; 141 when the reader of the output has gone. `--help` describes each command, `opagate --version` tells",
        "the version.",
    ]
    for path, command in _walk("opagate", root):
        lines += _command(path, command)
    return "\n".join(lines) + "\n"


def _walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    for name, inner in command.commands.items():
        if getattr(inner, "invoke_without_command", True):
            yield f"{path} {name}", inner
        if hasattr(inner, "commands"):
            yield from _walk(f"{path} {name}", inner)


def _command(path: str, command: Any) -> list[str]:
    arguments = [item for item in command.params if item.param_type_name == "argument"]
    options = [item for item in command.params if item.param_type_name == "option" and item.name != "help"]
    usage = " ".join([path, *(_shown(item) for item in arguments)])
    lines = ["", f"## {path}", "", _paragraphs(command.help), "", f"    {usage}{' [OPTIONS]' if options else ''}"]
    if arguments or options:
        lines += ["", "| | | default |", "|---|---|---|"]
    lines += [f"| `{_shown(item)}` | {_cell(item.help)} | {_default(item)} |" for item in arguments]
    lines += [f"| {_names(item)} | {_cell(item.help)} | {_default(item)} |" for item in options]
    if command.epilog:
        lines += ["", f"Example: `{command.epilog.removeprefix('Example: ')}`"]
    return lines


def _shown(argument: Any) -> str:
    shown = str(argument.metavar or argument.name.upper()) + ("…" if argument.nargs != 1 else "")
    return shown if argument.required else f"[{shown}]"


def _names(option: Any) -> str:
    names = [*option.opts, *option.secondary_opts]
    return ", ".join(f"`{name}`" for name in sorted(names, key=len, reverse=True))


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if value is None or value is False or value == [] or callable(value):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


# --- the configuration -------------------------------------------------------------------------------


def settings() -> str:
    """Every section of the configuration, and every setting with its type, default and meaning."""
    lines = [
        "# Configuration",
        "",
        f"One YAML file, `gateway.yaml`; `opagate init` writes one to begin with. {_GENERATED}",
        "",
        _SCALAR_NOTES,
    ]
    for title, model in _sections("", config.Configuration):
        lines += _section(title, model)
    return "\n".join(lines) + "\n"


def declared_facts() -> str:
    """Return the page of `facts.yaml`: every field with its type, default and meaning."""
    lines = [
        "# Declared facts",
        "",
        f"The file `facts.yaml` at the top of an overlay. {_GENERATED} [Facts about earlier calls](../policy/facts.md)",
        "says what to write. Durations are written as `10m`, `1h` or `7d`. A list of one item may be the item itself.",
    ]
    places: dict[type[BaseModel], str] = {}
    for place, model in _sections("", FactsFile):
        if model not in places:
            lines += _section(place, model)
        elif place != places[model]:
            lines += ["", f"`{place}` has the fields of `{places[model]}`."]
        places.setdefault(model, place)
    return "\n".join(lines) + "\n"


def _sections(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The models in the order in which the file shows them, each with where it stands."""
    yield path, model
    for name, field in model.model_fields.items():
        place = f"{path}.{name}" if path else name
        place += _suffix(field.annotation)
        for inner in _models(field.annotation):
            yield from _sections(place, inner)


def _suffix(annotation: object) -> str:
    origin = get_origin(_bare(annotation))
    return ".<name>" if origin is dict else "[]" if origin is tuple else ""


def _section(path: str, model: type[BaseModel]) -> list[str]:
    kind = model.model_fields.get("kind")
    title = f"`{path}`" if path else "The file"
    if kind:
        title += f", kind `{get_args(kind.annotation)[0]}`"
    lines = [
        "",
        f"## {title}",
        "",
        _sentence(model.__doc__),
        "",
        "| setting | type | default | meaning |",
        "|---|---|---|---|",
    ]
    return lines + [_row(field.alias or name, field) for name, field in model.model_fields.items()]


def _row(name: str, field: FieldInfo) -> str:
    meaning = field.description or ("Which of the kinds this is." if name == "kind" else "")
    return f"| `{name}` | {_cell(_type(_whole(field)))} | {_value(field)} | {_cell(meaning)} |"


def _whole(field: FieldInfo) -> object:
    """The annotation as it was written: pydantic moves what is in `Annotated` to the field."""
    if field.metadata and field.annotation is not None:
        for scalar in _SCALARS:
            if get_origin(scalar) is Annotated and _matches(scalar, field):
                return scalar
    return field.annotation


def _matches(scalar: object, field: FieldInfo) -> bool:
    base, *metadata = get_args(scalar)
    return base is field.annotation and metadata[0] in field.metadata


def _type(annotation: object) -> str:
    for scalar, name in _SCALARS.items():
        if annotation == scalar:
            return name
    bare, origin = _bare(annotation), get_origin(_bare(annotation))
    arguments = [item for item in get_args(bare) if item not in {NoneType, Ellipsis}]
    if origin is Literal:
        return " or ".join(f"`{str(item).lower() if isinstance(item, bool) else item}`" for item in arguments)
    if origin in {Union, UnionType}:
        return " or ".join(dict.fromkeys(_type(item) for item in arguments))
    if origin is dict:
        return f"mapping of name to {_type(arguments[1])}"
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    return _plain_type(bare)


def _plain_type(bare: object) -> str:
    if isinstance(bare, type) and issubclass(bare, Enum):
        return " or ".join(f"`{item.value}`" for item in bare)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return "mapping, see below"
    known: dict[object, str] = {
        str: "text",
        bool: "true or false",
        int: "number",
        Path: "path",
        timedelta: "duration",
        date: "date",
        AwareDatetime: "time",
        SecretStr: "secret",
    }
    return known[bare]


def _value(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: object = field.default
    if isinstance(value, BaseModel) or value in {PydanticUndefined, None, ()}:
        return ""
    return f"`{_written(value, size=_type(_whole(field)) == 'size')}`"


def _written(value: object, *, size: bool) -> str:
    """A value as the file has it."""
    if isinstance(value, timedelta):
        return values.written_duration(value)
    if isinstance(value, tuple):
        return f"[{', '.join(str(item) for item in cast('tuple[object, ...]', value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{cast('int', value) >> 20}MiB" if size else str(value)


def _models(annotation: object) -> list[type[BaseModel]]:
    bare = _bare(annotation)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return [bare]
    return [model for item in get_args(bare) if item is not Ellipsis for model in _models(item)]


def _bare(annotation: object) -> object:
    return _bare(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


# --- the facts of a task ------------------------------------------------------------------------------

_FACTS: Final = (
    ("", facts.SessionFacts),
    ("credentials[]", facts.CredentialFact),
    ("credentials[].origin", facts.CredentialOrigin),
    ("labels", facts.TaskLabels),
    ("confidential_systems[]", facts.SystemFact),
)
_JSON_TYPES: Final = {"string": "text", "integer": "number", "boolean": "true or false", "object": "mapping, see below"}


def session_facts() -> str:
    """Return the page of `input.session`: each fact with its type and description."""
    schema: Any = contract.schemas()["input.json"]["properties"]["session"]
    lines = [
        "# Facts of a task",
        "",
        f"The facts of a task stand in `input.session` of a policy's input. {_GENERATED}",
        "A fact that is not known is absent. [History](../policy/history.md) says how the facts come about.",
    ]
    for place, model in _FACTS:
        lines += _fact_section(place, model, schema)
    return "\n".join(lines) + "\n"


def _fact_section(place: str, model: type[facts.Fact], schema: Any) -> list[str]:
    for name in filter(None, place.split(".")):
        schema = schema["properties"][name.removesuffix("[]")]
        schema = schema["items"] if name.endswith("[]") else schema
    named = f"session.{place}" if place else "session"
    lines = ["", f"## `{named}`", "", _sentence(model.__doc__), "", "| fact | type | meaning |", "|---|---|---|"]
    says = _field_texts(model)
    return lines + [
        f"| `{name}` | {_cell(_json_type(schema['properties'][name]))} | {_cell(says[name])} |"
        for name in model.__struct_fields__
    ]


def _field_texts(model: type[facts.Fact]) -> dict[str, str]:
    """Return the text below each field of a struct."""
    (written,) = ast.parse(inspect.getsource(model)).body
    body = cast("ast.ClassDef", written).body
    return {
        field.target.id: text.value.value
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _json_type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{item}`" for item in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_json_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"mapping of name to {_json_type(schema['additionalProperties'])}"
    return _JSON_TYPES[schema["type"]]


# --- text --------------------------------------------------------------------------------------------


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(_sentence(part) for part in re.split(r"\n\s*\n", text or ""))


def _cell(text: str | None) -> str:
    return _sentence(text).replace("|", "\\|")
