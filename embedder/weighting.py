"""How much each part of a profile counts, learned from the users themselves.

Two halves of one user's life should find each other among other users' halves. With the cosine of
every field between the halves at hand, the weights that make them do so are the solution of a small
softmax problem (InfoNCE, van den Oord et al. 2018). A field of noise gets no weight without anybody
having looked at it. A field in which all users are alike changes no loss, so the problem would give
it any weight, most of all where little else tells users apart: it is left out of the problem.
"""

import numpy as np
import torch

from embedder.featurizer import EncodedEvents, Featurizer
from embedder.profiles import Floats, ProfileModel, profile_slots
from embedder.slices import Spans, span_rows
from store.sequences import Int64s

STEPS, BATCH, RATE = 160, 384, 0.05
USERS_MAX, USERS_MIN, EVENTS_MIN = 3072, 32, 4
ALIKE_DEVIATION, ALIKE_SHARE = 0.02, 1e-3  # of cosines; of the weight: little, yet a direction


def learn_field_weights(
    featurizer: Featurizer, events: EncodedEvents, model: ProfileModel, rng: np.random.Generator
) -> tuple[ProfileModel, dict[str, float]]:
    """Return the profile with learned field weights and the weights by name.

    Users with fewer than `EVENTS_MIN` events cannot be halved; with fewer than `USERS_MIN` others
    the weights stay equal.
    """
    eligible = np.flatnonzero(np.diff(events.offsets) >= EVENTS_MIN)
    if len(eligible) >= USERS_MIN:
        users = np.sort(rng.choice(eligible, min(USERS_MAX, len(eligible)), replace=False))
        parts = [
            half_parts(featurizer, events, model, users, second=second) for second in (False, True)
        ]
        model = model.weighted(weights_of_fields(parts[0], parts[1], rng))
    weights = zip(model.names, model.field_weights.tolist(), strict=True)
    return model, {name: round(weight, 5) for name, weight in weights}


def weights_of_fields(
    first: list[Floats], second: list[Floats], rng: np.random.Generator
) -> Floats:
    """Return the weights of fields, next to nothing for those in which all users are alike."""
    some = np.arange(0, len(first[0]), -(-len(first[0]) // BATCH))
    tells = cosines(first, second, some).flatten(1).std(dim=1).numpy() > ALIKE_DEVIATION
    if not tells.any():
        return np.full(len(first), 1 / len(first), dtype=np.float32)
    if tells.all():
        return solve_weights(first, second, rng)
    weights = np.full(len(first), ALIKE_SHARE / (~tells).sum(), dtype=np.float32)
    solved = solve_weights(
        [part for part, told in zip(first, tells, strict=True) if told],
        [part for part, told in zip(second, tells, strict=True) if told],
        rng,
    )
    weights[tells] = solved * (1 - ALIKE_SHARE)
    return weights


def half_parts(
    featurizer: Featurizer,
    events: EncodedEvents,
    model: ProfileModel,
    users: Int64s,
    *,
    second: bool,
) -> list[Floats]:
    """Return each field's unit vectors for the first or second halves of some users' events."""
    start = events.offsets[users]
    middle = start + np.diff(events.offsets)[users] // 2
    first, last = (middle, events.offsets[users + 1]) if second else (start, middle)
    rows, user_E = span_rows(Spans(first, last))
    slots = profile_slots(featurizer, events, rows, first[user_E])
    histograms = model.histograms(slots, user_E, len(users))
    small = [histograms[:, field.start : field.stop] for field in model.fields]
    return small + model.sketches(events, rows, user_E, len(users))


def solve_weights(first: list[Floats], second: list[Floats], rng: np.random.Generator) -> Floats:
    """Return the softmax weights of the parts that minimise InfoNCE between matching rows."""
    num_users = len(first[0])
    logit = torch.zeros(len(first), requires_grad=True)
    scale = torch.tensor(2.0, requires_grad=True)
    optimizer = torch.optim.Adam([logit, scale], lr=RATE)
    whole = cosines(first, second, np.arange(num_users)) if num_users <= BATCH else None
    for _ in range(STEPS):
        cosine = (
            cosines(first, second, rng.choice(num_users, BATCH, replace=False))
            if whole is None
            else whole
        )
        mixed = torch.einsum("f,fij->ij", torch.softmax(logit, 0), cosine) * torch.exp(scale)
        same = torch.arange(len(mixed))
        loss = torch.nn.functional.cross_entropy(mixed, same) + torch.nn.functional.cross_entropy(
            mixed.T, same
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
    weights: Floats = torch.softmax(logit, 0).detach().numpy()
    return weights


def cosines(first: list[Floats], second: list[Floats], rows: Int64s) -> torch.Tensor:
    """Return the cosine of every part between some rows of both sides, parts x rows x rows."""
    pairs = [a[rows] @ b[rows].T for a, b in zip(first, second, strict=True)]
    return torch.from_numpy(np.stack(pairs))
