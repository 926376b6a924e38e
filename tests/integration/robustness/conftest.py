"""Trainings of a few steps, and risk on a few labels."""

import pytest

from embedder.config import PLANS

TINY_PLAN = {
    "steps": 16,
    "batch_users": 48,
    "labelled_users": 48,
    "evaluate_every": 8,
    "hidden": 16,
    "state": 24,
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLANS, "fast", PLANS["fast"].model_copy(update=TINY_PLAN))
    monkeypatch.setenv("LOOKALIKE_RISK__LABELS_MIN", "10")
    monkeypatch.setenv("LOOKALIKE_EVALUATE__NUM_RESAMPLES", "50")
