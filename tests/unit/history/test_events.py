from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.history.events import Touch
from gateway.history.new_events import touch_of
from gateway.model.target import Effect, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.call import Call


@pytest.mark.parametrize("effect", list(Effect))
def test_everything_but_a_read_counts_as_a_write(effect: Effect, make_call: Callable[..., Call]):
    assert touch_of(make_call("mail", effect, None, "production").target) == Touch(
        "mail", effect is not Effect.READ, None, "production"
    )


@pytest.mark.parametrize(
    ("behind", "reached"), [(("mail", "crm", "hub", "mail"), ("hub", "crm", "mail")), ((), ("hub",)), (None, ("hub",))]
)
def test_an_aggregator_touches_each_system_behind_it_once(behind: tuple[str, ...] | None, reached: tuple[str, ...]):
    hub = Target("tool", "hub", "use", "hub", aggregates=behind)

    assert touch_of(hub).reached == reached
