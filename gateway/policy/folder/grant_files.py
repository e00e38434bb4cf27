"""The operator's grants: one file, or a folder of files that count together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

from gateway.model.errors import PolicyBroken
from gateway.policy.grants import READS

_ENDINGS: Final = (".yaml", ".yml", ".json")


def find_files(grants: Path) -> tuple[Path, ...]:
    """Return the files of the grants, in order of name. Raise `PolicyBroken` for a folder that cannot be read or has none."""
    if not grants.is_dir():
        return (grants,)
    try:
        files = sorted(grants.iterdir())
    except OSError as error:
        raise PolicyBroken(
            f"policy.grants {grants} cannot be read: {error.strerror}", "make it a folder that the gateway can read"
        ) from None
    found = tuple(file for file in files if file.suffix in _ENDINGS and not file.name.startswith("."))
    if not found:
        raise PolicyBroken(f"policy.grants {grants} has no .yaml, .yml or .json file", "put a file of grants there")
    return found


def join_files(values: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the files of grants as one document. Lists of one upstream follow each other, in order of the files.

    Raise `PolicyBroken` for a value that would take the place of another file's grants.
    """
    joined: dict[str, Any] = {}
    for name, value in values:
        for key, item in value.items():
            if key == "upstreams" and isinstance(item, dict) and isinstance(joined.setdefault(key, {}), dict):
                _add(name, joined[key], cast("dict[str, Any]", item))
            elif key in joined:
                raise PolicyBroken(f"{name}: another grants file gives {key!r} too", "give each value in one file")
            else:
                joined[key] = item
    return joined


def _add(file: str, upstreams: dict[str, Any], more: dict[str, Any]) -> None:
    for name, grants in more.items():
        listed = grants_of_short_form(name) if grants == READS else grants
        if name not in upstreams:
            upstreams[name] = listed
        elif isinstance(upstreams[name], list) and isinstance(listed, list):
            upstreams[name] = [*cast("list[Any]", upstreams[name]), *cast("list[Any]", listed)]
        else:
            raise PolicyBroken(
                f"{file}: another grants file gives {name!r} too, and one of the two is no list of grants",
                f"write a list of grants, or `reads`, for {name!r} in both",
            )


def grants_of_short_form(upstream: str) -> list[Any]:
    """Return the grants that `reads` stands for."""
    every = ["*"]
    return [
        {
            "id": "reads-of-all" if upstream == "*" else f"reads-of-{upstream}",
            "description": "Every caller may read.",
            "agents": every,
            "issuers": every,
            "tools": every,
            "resources": every,
            "prompts": every,
            "effects": ["read"],
        }
    ]
