"""Problems of a configuration file, each a sentence beginning with its field. Pure. No sentence quotes a value, since
it may be a misplaced secret."""

from __future__ import annotations

import difflib
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Final, get_args, get_origin

from pydantic import BaseModel

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


def explain(error: ValidationError, root: type[BaseModel]) -> tuple[str, ...]:
    """Yield each problem of `root` with a document, with its field as the file shows it."""
    problems: list[str] = []
    for item in error.errors(include_url=False):
        location = tuple(step for step in item["loc"] if step != "[key]")
        if item["type"] == "extra_forbidden":
            shown, message = _place(root, location[:-1]) or "the top level", _unknown_key(root, location)
        else:
            shown, message = _place(root, location) or "the file", _problem(root, item)
        problems.append(f"{shown}: {message}")
    return tuple(problems)


def _problem(root: type[BaseModel], item: ErrorDetails) -> str:
    match item["type"]:
        case "union_tag_not_found" | "union_tag_invalid":
            return _unknown_kind(root, item)
        case "model_type" | "dict_type" | "tuple_type" if item["input"] is None:
            return "it is empty; leave the key out, or give it a value"
        case kind if kind in _SENTENCES:
            return _SENTENCES[kind]
        case _:
            return item["msg"].removeprefix("Value error, ").replace("Input should", "it should")


_SENTENCES: Final = {
    "missing": "it is missing",
    "model_type": "it should be a mapping of settings",
    "model_attributes_type": "it should be a mapping of settings",
    "dict_type": "it should be a mapping of settings",
    "string_too_short": "it is empty; give it a value",
    "too_short": "it is empty; give it a value",
    "greater_than": "it should be greater than 0",
    "string_type": "it should be text; put it in quotes",
    "path_type": "it should be a path; put it in quotes",
    "tuple_type": "it should be a list; write each item after a dash",
    "bool_type": "it should be true or false",
    "bool_parsing": "it should be true or false",
    "int_type": "it should be a whole number",
    "invalid_key": "a key should be text; put it in quotes",
}


def _unknown_kind(root: type[BaseModel], item: ErrorDetails) -> str:
    kinds = sorted(_kind(model) for model in _models(_annotations(root, item["loc"])[1]))
    tag = item.get("ctx", {}).get("tag")
    if tag is None:
        return f"kind is missing; it is one of {', '.join(kinds)}"
    return f"there is no kind {tag!r}" + _hint(difflib.get_close_matches(str(tag), kinds, n=1, cutoff=0.5), kinds)


def _unknown_key(root: type[BaseModel], location: tuple[int | str, ...]) -> str:
    key = str(location[-1])
    models = _models(_annotations(root, location[:-1])[1])
    known = sorted({field.alias or name for model in models for name, field in model.model_fields.items()})
    return f"there is no setting {key!r}" + _hint(difflib.get_close_matches(key, known, n=1, cutoff=0.5), known)


def _hint(near: list[str], known: list[str]) -> str:
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"


def _place(root: type[BaseModel], location: tuple[int | str, ...]) -> str:
    return ".".join(_annotations(root, location)[0])


def _annotations(root: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], object]:
    """Return the keys of a location as in the file, and the annotation there.

    pydantic adds the tag of a discriminated union, but the tag is no key of the file, so this function removes the tag.
    An upstream may well be called `opa` or `none`.
    """
    here: object = root
    shown: list[str] = []
    for part in location:
        models = _models(here)
        if len(models) > 1:
            here = next((model for model in models if _kind(model) == part), here)
            continue
        shown.append(str(part))
        here = _below(here, models, part)
    return shown, here


def _below(annotation: object, models: list[type[BaseModel]], part: int | str) -> object:
    """Return the annotation of a field of a model, or of an item of a mapping or list."""
    if models:
        field = models[0].model_fields.get(str(part))
        return field.annotation if field else None
    items = [item for item in get_args(_bare(annotation)) if item is not Ellipsis]
    return items[-1] if items else None


def _models(annotation: object) -> list[type[BaseModel]]:
    """Yield the possible models of a value itself, not of its items."""
    bare = _bare(annotation)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return [bare]
    if get_origin(bare) in {dict, tuple}:
        return []
    return [model for argument in get_args(bare) if argument is not NoneType for model in _models(argument)]


def _bare(annotation: object) -> object:
    return _bare(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _kind(model: type[BaseModel]) -> str:
    return str(get_args(model.model_fields["kind"].annotation)[0])
