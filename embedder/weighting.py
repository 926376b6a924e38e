"""How much each part of a profile counts, learned from the users themselves.

Two halves of one user's life should find each other among other users' halves. With the cosine of
every field between the halves at hand, the weights that make them do so are the solution of a small
softmax problem (InfoNCE, van den Oord et al. 2018). A field of noise, or one that everybody shares,
gets no weight without anybody having looked at it.
"""

import numpy as np
import torch

from embedder.featurizer import EncodedEvents, Featurizer
from embedder.profiles import Floats, ProfileModel, profile_slots, user_chunks
from embedder.slices import Spans, span_rows
from store.sequences import Int64s

STEPS, BATCH, RATE, NEIGHBORHOOD = 240, 384, 0.05, 32
USERS_MAX, USERS_MIN, EVENTS_MIN = 3072, 32, 4


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
        model = model.weighted(solve_weights(parts[0], parts[1], rng))
    weights = zip(model.names, model.field_weights.tolist(), strict=True)
    return model, {name: round(weight, 5) for name, weight in weights}


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
    """Return the softmax weights of the parts that minimise InfoNCE between matching rows.

    Batches are of look-alikes: what sets a user apart from strangers anybody would see, such as the
    place that all users of a region share. The weights are the mean over the later steps.

    Args:
        first, second: Unit vectors of the same users per part, one list for each half.
        rng: Draws the batches.

    Cost is quadratic in the users, of whom there are at most `USERS_MAX`.
    """
    nearest_NK = look_alikes(first)
    logit = torch.zeros(len(first), requires_grad=True)
    scale = torch.tensor(2.0, requires_grad=True)
    optimizer = torch.optim.Adam([logit, scale], lr=RATE)
    total = torch.zeros(len(first))
    for step in range(STEPS):
        rows = draw_look_alikes(nearest_NK, rng)
        cosine = torch.from_numpy(
            np.stack([a[rows] @ b[rows].T for a, b in zip(first, second, strict=True)])
        )
        mixed = torch.einsum("f,fij->ij", torch.softmax(logit, 0), cosine) * torch.exp(scale)
        same = torch.arange(len(rows))
        loss = torch.nn.functional.cross_entropy(mixed, same) + torch.nn.functional.cross_entropy(
            mixed.T, same
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        if step >= STEPS // 2:
            total += torch.softmax(logit.detach(), 0)
    weights: Floats = (total / total.sum()).numpy()
    return weights


def look_alikes(parts: list[Floats]) -> Int64s:
    """Return the rows nearest to each row, itself among them, all parts alike; N x K."""
    num_users = len(parts[0])
    count = min(NEIGHBORHOOD, num_users)
    nearest = []
    for rows in user_chunks(num_users):
        similarity = np.zeros((len(rows), num_users), dtype=np.float32)
        for part in parts:
            similarity += part[rows] @ part.T
        nearest.append(np.argpartition(-similarity, count - 1, axis=1)[:, :count])
    return np.concatenate(nearest)


def draw_look_alikes(nearest_NK: Int64s, rng: np.random.Generator) -> Int64s:
    """Return the rows of a batch: some users, each with half of those nearest to it."""
    num_users, count = nearest_NK.shape
    drawn = max(1, count // 2)
    anchors = rng.choice(num_users, min(num_users, BATCH // drawn), replace=False)
    return np.unique(nearest_NK[anchors][:, rng.permutation(count)[:drawn]])
