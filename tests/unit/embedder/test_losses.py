import numpy as np
import numpy.typing as npt
import pytest
import torch

from embedder.losses import info_nce, matryoshka_info_nce, one_sided_contrast

Floats = npt.NDArray[np.float64]


def unit_rows(count: int, dim: int, seed: int) -> torch.Tensor:
    values = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)).double()
    return torch.nn.functional.normalize(values, dim=1)


def log_softmax(values: list[float], place: int) -> float:
    return float(values[place] - np.log(np.sum(np.exp(values))))


def slow_info_nce(first: Floats, second: Floats, temperature: float) -> float:
    logits = [[float(a @ b) / temperature for b in second] for a in first]
    rows = [-log_softmax(logits[i], i) for i in range(len(logits))]
    columns = [-log_softmax([row[i] for row in logits], i) for i in range(len(logits))]
    return float((np.mean(rows) + np.mean(columns)) / 2)


def slow_contrast(vectors: Floats, kinds: list[int], temperature: float) -> float:
    losses = []
    for i, kind in enumerate(kinds):
        others = [j for j in range(len(kinds)) if j != i]
        logits = [float(vectors[i] @ vectors[j]) / temperature for j in others]
        alike = [place for place, j in enumerate(others) if kind >= 0 and kinds[j] == kind]
        if alike:
            losses.append(-np.mean([log_softmax(logits, place) for place in alike]))
    return float(np.mean(losses)) if losses else 0.0


def test_info_nce_is_the_textbooks() -> None:
    first, second = unit_rows(7, 5, 1), unit_rows(7, 5, 2)
    loss = info_nce(first, second, temperature=torch.tensor(0.3))
    assert float(loss) == pytest.approx(slow_info_nce(first.numpy(), second.numpy(), 0.3), rel=1e-6)


def test_matryoshka_is_the_mean_over_cut_vectors() -> None:
    first, second = unit_rows(6, 48, 3), unit_rows(6, 48, 4)
    losses = []
    for dim in (16, 32, 48):
        cut = [side.numpy()[:, :dim] for side in (first, second)]
        cut = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in cut]
        losses.append(slow_info_nce(cut[0], cut[1], 0.2))
    loss = matryoshka_info_nce(first, second, temperature=torch.tensor(0.2))
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-6)
    short = matryoshka_info_nce(first[:, :8], second[:, :8], temperature=torch.tensor(0.2))
    assert torch.isfinite(short)


@pytest.mark.parametrize("kinds", [[0, 0, 1, -1, -1, 1, 0], [0, -1, -1, -1], [2, 2]])
def test_contrast_is_the_slow_formulas(kinds: list[int]) -> None:
    vectors = unit_rows(len(kinds), 6, 5)
    loss = one_sided_contrast(vectors, torch.tensor(kinds))
    assert float(loss) == pytest.approx(slow_contrast(vectors.numpy(), kinds, 0.2), abs=1e-6)


def test_without_two_violators_of_a_kind_there_is_nothing_to_contrast() -> None:
    vectors = unit_rows(4, 6, 6).requires_grad_()
    for kinds in ([-1, -1, -1, -1], [0, 1, 2, -1]):
        loss = one_sided_contrast(vectors, torch.tensor(kinds))
        assert loss.item() == 0.0
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        assert torch.isfinite(vectors.grad if vectors.grad is not None else vectors).all()


def test_others_are_never_drawn_together() -> None:
    """A step downhill brings violators of a kind closer, and no two others."""
    vectors = unit_rows(8, 6, 7).requires_grad_()
    kinds = torch.tensor([0, 0, 0, -1, -1, -1, -1, -1])
    (gradient,) = torch.autograd.grad(one_sided_contrast(vectors, kinds), vectors)
    before = (vectors @ vectors.T).detach()
    moved = torch.nn.functional.normalize(vectors - 0.01 * gradient, dim=1).detach()
    change = (moved @ moved.T) - before
    assert change[0, 1] + change[0, 2] + change[1, 2] > 0
    others = gradient[3:]
    towards = others @ vectors[3:].detach().T
    violators = vectors[:3].detach()
    for row in others:  # what moves an other is only that violators push it away
        combination = torch.linalg.lstsq(violators.T, row[:, None]).solution
        assert torch.allclose(violators.T @ combination, row[:, None], atol=1e-8)
        assert (combination >= 0).all()
    assert towards.shape == (5, 5)
