from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Hashable
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog

from gateway.model.decision import Obligation
from gateway.policy import policy, trial_process
from gateway.policy.trial import Trial
from tests.unit.harness import Bench, allow, bench, deciding


class _Trials:
    """Trials in this process, one for each policy. A process for each gateway would take most of these tests' time."""

    def __init__(self) -> None:
        self._passed = set[Hashable]()

    async def require(self, trial: Trial) -> None:
        """Try a policy unless it has passed, from whatever files it came. Raise `PolicyError`."""
        policies = (trial.policy, *(suite.policy for suite in trial.suites))
        contents = tuple((policy.modules, policy.data, policy.roots, policy.tests) for policy in policies)
        tried = (contents, tuple(suite.below for suite in trial.suites), trial.limit, tuple(trial.places))
        if tried not in self._passed:
            await trial_process.require(trial)
            self._passed.add(tried)


@pytest.fixture(scope="session", autouse=True)
def _trials_in_this_process() -> Generator[None]:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    """What a gateway's policy is tried by. The tests of `gateway.policy.trial` use its process."""

    def unwritten(_line: dict[str, object]) -> None:
        """The lines of a trial are for the process that started it."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial_process, "_write", unwritten)
        patch.setattr(policy, "trial", SimpleNamespace(require=_Trials().require))
        yield


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
