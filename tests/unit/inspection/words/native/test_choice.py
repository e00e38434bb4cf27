"""The choice between the native core and Python."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

from gateway.inspection.words import native, words
from gateway.inspection.words.native import INTERFACE, PYTHON, Choice, Core, choose, describe_choice
from gateway.model.errors import ConfigurationError

ABSENT = "opagate_core_that_is_absent"


@pytest.fixture
def bound():
    """Bind as before when the test has ended."""
    before = (words.distinctive, words.digests)
    yield
    words.distinctive, words.digests = before


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    def fail() -> NoReturn:
        raise RuntimeError

    module = ModuleType("opagate_core_stand_in")
    module.__dict__.update(INTERFACE=INTERFACE, fail=fail)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_an_automatic_choice_without_a_core_is_python():
    assert choose("auto", ABSENT) == PYTHON


def test_a_gateway_that_asks_for_an_absent_core_does_not_start_and_says_how_to_build_it():
    with pytest.raises(ConfigurationError) as caught:
        choose("native", ABSENT)

    assert caught.value.message == "core: native asks for the native core, and it is not installed"
    assert "make core" in caught.value.remedy


def test_a_core_of_this_interface_is_chosen(stand_in: ModuleType):
    assert choose("auto", stand_in.__name__).core is stand_in


def test_a_core_of_another_interface_is_not_taken(stand_in: ModuleType):
    stand_in.__dict__["INTERFACE"] = INTERFACE + 1

    chosen = choose("auto", stand_in.__name__)

    assert (chosen.core, chosen.name) == (None, "python")
    assert chosen.unfit == f"the installed one has the interface {INTERFACE + 1}, and this gateway needs {INTERFACE}"
    with pytest.raises(ConfigurationError, match=f"this gateway needs {INTERFACE}"):
        choose("native", stand_in.__name__)


def test_a_core_that_hides_its_own_failures_is_not_taken(stand_in: ModuleType):
    stand_in.__dict__["fail"] = lambda: None

    assert choose("auto", stand_in.__name__).core is None


def test_a_core_that_fails_while_it_is_loaded_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "damaged_core.py").write_text("raise ValueError('half a file')\n", "utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    assert choose("auto", "damaged_core").unfit == "the installed one cannot be loaded"
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        choose("native", "damaged_core")


def test_python_is_chosen_without_a_look_for_a_core(stand_in: ModuleType):
    del sys.modules[stand_in.__name__]

    assert choose("python", stand_in.__name__) == PYTHON


def test_a_failure_in_the_core_is_an_exception_that_names_its_place_alone(core: Core):
    with pytest.raises(RuntimeError) as caught:
        core.fail()

    assert str(caught.value).startswith("the native core failed at src/guard.rs:")


@pytest.mark.usefixtures("bound")
def test_a_bound_core_takes_the_place_of_the_functions_in_python(core: Core):
    native.bind(Choice(core))
    assert describe_choice() == "native"
    assert (words.distinctive, words.digests) != native.PYTHON_WORDS

    native.bind(PYTHON)
    assert describe_choice() == "python"
    assert (words.distinctive, words.digests) == native.PYTHON_WORDS
