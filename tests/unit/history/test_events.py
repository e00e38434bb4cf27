from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.history.events import Touch, touch
from gateway.model.target import Effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.call import Call


@pytest.mark.parametrize("effect", list(Effect))
def test_everything_but_a_read_counts_as_a_write(effect: Effect, make_call: Callable[..., Call]):
    assert touch(make_call("mail", effect, None, "production")) == Touch(
        "mail", effect is not Effect.READ, None, "production"
    )
