"""Training where networks are on another device than the data, as on a GPU."""

from pathlib import Path

import numpy as np
import pytest
import torch

from embedder.embedder import Embedder
from tests.integration.embedder.second_device import ELSEWHERE, TensorElsewhere, second_device
from tests.integration.embedder.small_models import PLAN, train_small
from tests.unit.embedder.people import SCHEMA, make_people

LARGE = PLAN.model_copy(update={"backbones": ("transformer",), "bfloat16": True})


def test_tensors_of_two_devices_do_not_meet() -> None:
    """The pretence itself: as on a GPU, it is an error."""
    with second_device():
        there = torch.ones(3).to(ELSEWHERE)
        assert isinstance(there, TensorElsewhere)
        assert (there + there).sum().item() == 6
        with pytest.raises(AssertionError, match="two devices"):
            there + torch.ones(3)


def test_a_model_trained_on_another_device_serves_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = make_people(150, 12)
    label = (np.arange(people.num_users) % 2).astype(np.int64)
    here = train_small(people, SCHEMA, tmp_path / "here", label=label, plan=LARGE)
    monkeypatch.setattr("embedder.training.pick_device", lambda name: ELSEWHERE)
    with second_device():
        there = train_small(people, SCHEMA, tmp_path / "there", label=label, plan=LARGE)
    vectors = [Embedder.load(folder, device="cpu").embed(people) for folder in (here, there)]
    assert vectors[1] == pytest.approx(vectors[0], abs=1e-3)
    assert np.linalg.norm(vectors[1], axis=1) == pytest.approx(1.0, abs=1e-5)
