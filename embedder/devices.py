"""Where tensors live and how exactly they are computed: the CPU, or a GPU where there is one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


def pick_device(name: str) -> torch.device:
    """Return the named device; `auto` takes CUDA when it is there.

    Where it is CUDA, results are set to be repeatable and those of float32, as on the CPU that
    serves what was made here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        # Read once by cuBLAS, at its first product; without it products vary from run to run.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.allow_tf32 = False  # a GRU would keep ten bits of each factor
    return device


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Fix the threads and forbid operations whose results vary from run to run.

    On CUDA an operation that has no other kernel warns and does not end a training of hours. With
    warnings alone, fused attention would take its fast and varying kernel, so the plain one is set.
    """
    on_gpu = pick_device("auto").type == "cuda"
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=on_gpu)
    try:
        with sdpa_kernel(SDPBackend.MATH) if on_gpu else nullcontext():
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])


def mixed_precision(device: torch.device, *, wanted: bool) -> torch.autocast:
    """Return a context in which CUDA multiplies matrices in bfloat16; weights stay float32.

    Nothing changes on a CPU, which trains no faster by it, nor on a GPU that only emulates it.
    """
    on = (
        wanted and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    return torch.autocast("cuda", dtype=torch.bfloat16, enabled=on)


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """Return an array as a tensor there; a copy to a GPU does not hold up what comes next."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
