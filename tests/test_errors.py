"""Errors say what was wrong, and survive the way home from a worker process."""

from __future__ import annotations

import inspect
import pickle

import pytest

from dllm_audio import errors

ARGUMENTS = {
    errors.InvalidArgumentError: ("steps", "an integer >= 1", 0),
    errors.ShapeError: ("x_0", "[B, R]", [3]),
    errors.NonFiniteLogitsError: (2, 7),
    errors.MissingDependencyError: ("peft", "LoRA", "train"),
}
CLASSES = [
    c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_can_be_pickled(kind: type[errors.DllmAudioError]) -> None:
    error = kind(*ARGUMENTS.get(kind, ("something is wrong",)))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) != ""
    assert vars(again) == vars(error)


def test_messages_name_argument_expectation_and_what_came() -> None:
    error = errors.InvalidArgumentError("steps", "an integer >= 1", 0)
    assert str(error) == "steps: expected an integer >= 1, got 0"
    assert isinstance(error, ValueError)
    assert "row 2" in str(errors.NonFiniteLogitsError(2, 7))
    message = str(errors.MissingDependencyError("peft", "LoRA", "train"))
    assert "pip install 'dllm-audio[train]'" in message
    assert str(errors.MissingDependencyError("soxr", "resampling")).endswith("pip install soxr")


def test_somebody_elses_error_fits_one_line() -> None:
    assert errors.one_line(ValueError("dropout:\n    not a number\n")) == "dropout: not a number"
    assert errors.one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert len(errors.one_line(ValueError("x" * 10_000))) == 400
