from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.model.decision import Obligation
from gateway.policy import policy
from gateway.policy.folder import reload
from gateway.policy.plan import compile_process, loading, store
from gateway.policy.plan.loading import Loaded, Plans
from gateway.policy.plan.program import CompiledPolicy
from gateway.policy.trials import passed_trials, trial_process
from tests.policy_trials import RememberedTrials
from tests.unit.harness import Bench, allow, bench, deciding

MOST_SHARED = 16
"""Programs of the shipped policy that are kept, each with other data."""


@pytest.fixture(scope="session", autouse=True)
def _trials_in_this_process() -> Generator[None]:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    """Try the policy of a gateway in the process of the test. The tests of `gateway.policy.trials.trial` use its process."""

    def unwritten(_line: dict[str, object]) -> None:
        """The lines of a trial are for the process that started it."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial_process, "_write", unwritten)
        remembered = RememberedTrials(set[str](), trial_process.require)
        patch.setattr(policy, "trial", remembered)
        patch.setattr(passed_trials, "trial", remembered)
        yield


@pytest.fixture(scope="session", autouse=True)
def _compiled_policy() -> Generator[None]:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    """Compile the shipped policy once. Each test has a state folder of its own, and would compile it for seconds.

    Gateways with the same grants share its program as well, which no question changes, and its answers to the fixtures.
    """
    plan = bytes(store.unpack(store.SHIPPED.read_bytes(), store.SHIPPED.name).plan)
    loading.remember(plan, compile_process.compile_plan(plan))
    shared, load_plan = dict[str, Loaded](), Plans.load_plan

    async def load(plans: Plans, given: bytes, data: str) -> Loaded:
        if given != plan or not loading._CODES:
            return await load_plan(plans, given, data)
        if data not in shared:
            shared[data] = await load_plan(plans, given, data)
        while len(shared) > MOST_SHARED:
            del shared[next(iter(shared))]
        return shared[data]

    names, check_answers = dict[str, str](), reload._check_answers

    async def check_once(compiled: CompiledPolicy) -> str:
        data = next((data for data, each in shared.items() if each.program is compiled.program), None)
        if data is None:
            return await check_answers(compiled)
        if data not in names:
            names[data] = await check_answers(compiled)
        return names[data]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plans, "load_plan", load)
        patch.setattr(reload, "_check_answers", check_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def _unawaited_disk() -> Generator[None]:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    """Wait for no disk: a gateway syncs fourteen files at its start, and no unit test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # still an error for a file that is not open
        yield


@pytest.fixture(autouse=True)
def _plain_logs() -> Generator[None]:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    """Whatever other tests and the commands that they run configured, all levels are captured here.

    A logger that keeps its configuration after its first use would write to the closed standard error of that test.
    """
    configure = structlog.configure

    def configure_anew(**settings: Any) -> None:
        settings["cache_logger_on_first_use"] = False
        configure(**settings)

    structlog.reset_defaults()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", configure_anew)
        yield
    structlog.reset_defaults()


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    """A whole gateway with a scripted upstream."""
    async with bench(tmp_path) as found:
        yield found


@pytest.fixture
def concealed(there: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """One whose policy allows every call, and wants the credentials of its answer concealed."""
    deciding(there, allow(Obligation("conceal_credentials", {})), monkeypatch)
    return there
