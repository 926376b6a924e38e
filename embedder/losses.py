"""Losses of the encoder: plain functions of unit vectors or logits; all are means over a batch.

Shape key: `B` slices, `D` dimensions, `C` classes.
"""

import torch
from torch import Tensor
from torch.nn import functional

MATRYOSHKA_DIMS = (16, 32)


def info_nce(first_BD: Tensor, second_BD: Tensor, *, temperature: Tensor) -> Tensor:
    """Return symmetric InfoNCE (van den Oord et al. 2018): row i of both sides is one user."""
    logits = first_BD @ second_BD.T / temperature
    same = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, same) + functional.cross_entropy(logits.T, same)) / 2


def matryoshka_info_nce(first_BD: Tensor, second_BD: Tensor, *, temperature: Tensor) -> Tensor:
    """Return the mean InfoNCE over leading dimensions: a cut vector still works (Kusupati 2022)."""
    dims = [dim for dim in MATRYOSHKA_DIMS if dim < first_BD.shape[1]] + [first_BD.shape[1]]
    losses = [
        info_nce(
            functional.normalize(first_BD[:, :dim], dim=1),
            functional.normalize(second_BD[:, :dim], dim=1),
            temperature=temperature,
        )
        for dim in dims
    ]
    return torch.stack(losses).mean()


def one_sided_contrast(conduct_BD: Tensor, kind_B: Tensor, *, temperature: float = 0.2) -> Tensor:
    """Return supervised contrast (Khosla et al. 2020) in which only violators attract.

    Args:
        conduct_BD: Unit vectors.
        kind_B: Kind of violation of each row, or -1 for others: they repel, and are never drawn
            together, since "not caught yet" is no common behavior.
    """
    logits = conduct_BD @ conduct_BD.T / temperature
    itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    log_share = logits - torch.logsumexp(
        logits.masked_fill(itself, -torch.inf), dim=1, keepdim=True
    )
    alike = (kind_B[:, None] == kind_B[None, :]) & (kind_B[:, None] >= 0) & ~itself
    count = alike.sum(1)
    anchors = count > 0
    if not bool(anchors.any()):
        return logits.sum() * 0.0
    return -((log_share * alike).sum(1)[anchors] / count[anchors]).mean()
