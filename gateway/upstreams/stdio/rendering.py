"""The text of a leased credential, in the form for a process. Pure."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.hand_over import Form, HandOver
    from gateway.model.wire import HandedCredential

LARGEST: Final = 32 * 2**10
"""Bytes of a text. A pipe and a variable hold them on each system."""
SERVICE: Final = "opagate"
"""The name of the service in a file for `PGSERVICEFILE`."""
_PLACE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def render_text(hand_over: HandOver, credential: HandedCredential) -> str:
    """Return the text for `env`, `file` or `fd`. Raises `ValueError` with a sentence without values."""
    if hand_over.template is not None:
        return _bound(fill(hand_over.template, credential))
    form = hand_over.chosen_form or ("json" if credential.fields else "value")
    return _bound(_render_form(form, credential))


def render_variables(hand_over: HandOver, credential: HandedCredential) -> dict[str, str]:
    """Return the variables with the credential or its parts. Raises `ValueError` as `render_text`."""
    found = {name: _bound(fill(template, credential)) for name, template in hand_over.variables.items()}
    if hand_over.env is not None:
        found[hand_over.env] = render_text(hand_over, credential)
    if any("\0" in text for text in found.values()):
        raise ValueError("a variable cannot hold the character NUL")
    return found


def fill(template: str, credential: HandedCredential) -> str:
    """Return a template with the fields of a credential in their places."""
    fields = _fields(credential)
    return _PLACE.sub(lambda place: _field(fields, place[1]), template)


def _render_form(form: Form, credential: HandedCredential) -> str:
    fields = _fields(credential)
    match form:
        case "value":
            return credential.value
        case "json":
            parts = dict(credential.fields) or {"value": credential.value}
            return json.dumps({**parts, "expires": describe_moment(credential.expires)})
        case "pgpass":
            user, password = (_of_pgpass(_line(fields, name)) for name in ("username", "password"))
            return f"*:*:*:{user}:{password}\n"
        case "pgservice":
            user, password = (_line(fields, name) for name in ("username", "password"))
            return f"[{SERVICE}]\nuser={user}\npassword={password}\n"
        case "aws":
            names = ("access_key_id", "secret_access_key", "session_token")
            return "[default]\n" + "".join(f"aws_{name} = {_line(fields, name)}\n" for name in names)


def describe_moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _fields(credential: HandedCredential) -> Mapping[str, str]:
    return {"value": credential.value, **dict(credential.fields)}


def _field(fields: Mapping[str, str], name: str) -> str:
    found = fields.get(name)
    if found is None:
        raise ValueError(f"it has no field {name!r}")
    return found


def _line(fields: Mapping[str, str], name: str) -> str:
    """Return a field that stands on a line of its own."""
    found = _field(fields, name)
    if _CONTROL.search(found):
        raise ValueError(f"its field {name!r} has a control character, which this form cannot hold")
    return found


def _of_pgpass(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:")


def _bound(text: str) -> str:
    if len(text.encode()) > LARGEST:
        raise ValueError(f"it has more than {LARGEST} bytes")
    return text
