from __future__ import annotations

from gateway.policy.grants import Fit, GrantPart
from gateway.surfaces.explain.grants import settle

PATH = GrantPart("when", {"under": "a"}, pointer="/path")
SIZE = GrantPart("when", {"max": 3}, pointer="/size")
NAMES = GrantPart("arguments", ["path"])
FIT = Fit("files", 0, "g", open=(PATH, SIZE, NAMES))


def test_a_condition_that_a_recorded_reason_names_has_failed():
    settled = settle(FIT, ["/arguments/path", "/resource/id"], allowed=False)

    assert (settled.failed, settled.open) == ((PATH,), (SIZE, NAMES))


def test_an_allowed_call_failed_no_condition():
    assert settle(FIT, ["/arguments/path"], allowed=True) == FIT


def test_a_grant_without_open_conditions_stays():
    fit = Fit("files", 0, "g", failed=(PATH,))

    assert settle(fit, ["/arguments/size"], allowed=False) is fit
