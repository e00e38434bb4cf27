"""Forms of what a gateway stores, each with a number. Pure.

A later form than this release knows is refused, and never dropped. An earlier form is brought up to date or refused by name.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class StoredForm(NamedTuple):
    """A stored form. `number` is its present form, and `lost` says what goes without its content.

    `is_derived`: another stored form has its content, and the gateway makes it again.
    """

    name: str
    place: str
    number: int
    lost: str
    is_derived: bool = False


class CheckedForm(NamedTuple):
    """A form as found on disk. `records` is their number, and `problem` is what stops a gateway."""

    form: StoredForm
    records: int
    state: Literal["ok", "warn", "fail"] = "ok"
    problem: str = ""
    remedy: str = ""
