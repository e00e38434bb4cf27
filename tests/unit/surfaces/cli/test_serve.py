from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.surfaces.cli import main
from tests.unit.surfaces.cli.conftest import Status

NOT_FOR_SERVING = ("aiohttp", "attr", "httpx2", "mcp", "opentelemetry", "pygments", "rich", "typer")
"""What the other commands, spans and fetched keys need: 17 MB of each gateway's memory."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose state keeps the compiled policy from one start to the next."""
    return tmp_path_factory.mktemp("served")


@pytest.mark.parametrize(
    "words", [(), ("--config", "gateway.yaml"), ("--config=gateway.yaml",), ("-c", "gateway.yaml")], ids=" ".join
)
def test_a_gateway_that_serves_loads_nothing_that_it_does_not_need(words: tuple[str, ...], folder: Path):
    """Up to the point where it listens: there it is stopped, by an address that it cannot have."""
    (folder / "gateway.yaml").write_text("listen: 192.0.2.1:1\nidentity: []\n", "utf-8")
    script = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print('loaded', *(name for name in {NOT_FOR_SERVING!r} if name in sys.modules)))\n"
        "from gateway.surfaces.cli import running\n"
        "running._status = lambda error: 0 if 'cannot listen' in str(error) else print(error) or 1\n"
        "from gateway.surfaces.cli import main\n"
        f"sys.argv = ['opagate', 'up', *{words!r}]\n"
        "main()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )

    assert (done.returncode, done.stdout.split()) == (0, ["loaded"]), done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--config", "nowhere.yaml"), "there is no configuration file nowhere.yaml"),
        (("--config=nowhere.yaml",), "there is no configuration file nowhere.yaml"),
        (("-cnowhere.yaml",), "there is no configuration file nowhere.yaml"),
        (("--confg", "x"), "see `opagate up --help`"),
        (("--config",), "requires an argument"),
        (("--config", "nowhere.yaml", "x"), "see `opagate up --help`"),
    ],
)
def test_what_goes_wrong_is_told_in_a_sentence(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["opagate", "up", *words])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_options_of_a_demo_are_refused_beside_a_configuration(status: Status, capsys: pytest.CaptureFixture[str]):
    Path("gateway.yaml").write_text("listen: 127.0.0.1:8080\n", "utf-8")

    assert status("up", "--port", "9000") == 2
    assert "--port and --state are for a demo" in " ".join(capsys.readouterr().err.split())
    assert status("up", "--config", "gateway.yaml", "--once") == 2


def test_a_configuration_in_the_folder_is_served_in_the_place_of_a_demo(
    status: Status, capsys: pytest.CaptureFixture[str]
):
    Path("gateway.yaml").write_text("lisen: 127.0.0.1:8080\n", "utf-8")

    assert status("up") == 2
    assert "did you mean 'listen'" in " ".join(capsys.readouterr().err.split())
