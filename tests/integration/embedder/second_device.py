"""A second device for machines without a GPU: its tensors say `meta`, and have values all the same.

What is computed there is computed on the CPU, but a tensor of the CPU that meets one of the device
is an error, as on a GPU. Which kernels and types a GPU takes can't be shown.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

ELSEWHERE = torch.device("meta")
MOVES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class TensorElsewhere(Tensor):
    """A tensor on the second device; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "TensorElsewhere":
        """Put a tensor there."""
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=ELSEWHERE,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's stub lacks the function
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute where the arguments are; numbers may be anywhere, as with CUDA."""
    given = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
    elsewhere = [one for one in given if isinstance(one, TensorElsewhere)]
    here = [one for one in given if not isinstance(one, TensorElsewhere) and one.dim()]
    if elsewhere and here and func not in MOVES:
        raise AssertionError(f"{func} of tensors on two devices")
    wanted = kwargs.get("device")
    goes_there = bool(elsewhere) if wanted is None else torch.device(wanted) == ELSEWHERE
    plain = kwargs | ({} if wanted is None else {"device": torch.device("cpu")})
    with torch._C._DisableTorchDispatch():
        held_args, held_kwargs = tree_map_only(TensorElsewhere, lambda one: one.held, (args, plain))
        answer = func(*held_args, **held_kwargs)
    if func._schema.is_mutable:
        return args[0] if isinstance(answer, Tensor) else answer
    return tree_map_only(Tensor, TensorElsewhere, answer) if goes_there else answer


class Pretending(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Lets new tensors be made on the second device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


@contextmanager
def second_device() -> Iterator[None]:
    """Let tensors and modules move to `ELSEWHERE`."""
    with (
        patch("torch.__future__._swap_module_params_on_conversion", True),
        Pretending(),  # type: ignore[no-untyped-call]  # torch leaves it untyped
    ):
        yield
