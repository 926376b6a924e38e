import os

import numpy as np
import pytest
import torch

from embedder.devices import deterministic, mixed_precision, pick_device, to_device

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")


@pytest.mark.usefixtures("with_gpu")
def test_a_gpu_is_taken_where_there_is_one_and_made_to_compute_as_a_cpu_does() -> None:
    assert pick_device("cpu") == CPU
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    assert torch.backends.cudnn.allow_tf32
    assert pick_device("auto").type == "cuda"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.backends.cudnn.allow_tf32


def test_without_a_gpu_the_cpu_is_taken() -> None:
    if not torch.cuda.is_available():
        assert pick_device("auto") == CPU


def settings() -> tuple[int, bool, bool, bool]:
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        bool(torch._C._get_flash_sdp_enabled()),
    )


def test_on_a_cpu_what_varies_is_refused_and_all_is_as_before_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = settings()
    with deterministic(1):
        assert settings() == (1, True, False, before[3])
    assert settings() == before


@pytest.mark.usefixtures("with_gpu")
def test_on_a_gpu_what_varies_warns_and_attention_does_not_vary() -> None:
    before = settings()
    with deterministic(1):
        assert settings() == (1, True, True, False)
    assert settings() == before


@pytest.mark.usefixtures("with_gpu")
@pytest.mark.parametrize("has_units", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_gpu_computes_in_bfloat16_if_it_is_wanted_and_not_emulated(
    has_units: bool, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_supported(including_emulation: bool = True) -> bool:
        return has_units or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    with mixed_precision(CUDA, wanted=wanted):
        assert torch.is_autocast_enabled("cuda") is (has_units and wanted)
        assert not torch.is_autocast_enabled("cpu")


def test_a_cpu_computes_in_float32_whatever_is_wanted() -> None:
    first, second = torch.ones(2, 2), torch.ones(2, 2)
    with mixed_precision(CPU, wanted=True):
        assert (first @ second).dtype == torch.float32


def test_an_array_goes_to_the_device() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert to_device(values, CPU).tolist() == values.tolist()
