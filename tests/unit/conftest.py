from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
import structlog

from gateway.model.decision import Obligation
from gateway.policy import policy
from gateway.policy.plan import compile_process, loading, store
from gateway.policy.trials import passed_trials, trial_process
from tests.policy_trials import RememberedTrials
from tests.unit.harness import Bench, allow, bench, deciding


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
def _compiled_policy() -> None:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    """Compile the shipped policy once. Each test has a state folder of its own, and would compile it for seconds."""
    plan = bytes(store.unpack(store.SHIPPED.read_bytes(), store.SHIPPED.name).plan)
    loading.remember(plan, compile_process.compile_plan(plan))


@pytest.fixture(autouse=True)
def _plain_logs() -> Generator[None]:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    """Whatever other tests and the commands that they run configured, all levels are captured here."""
    structlog.reset_defaults()
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
