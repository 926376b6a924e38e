"""How much each part of a profile counts, learned from the users themselves.

Two halves of one user's life should find each other among other users' halves. With the cosine of
every field between the halves at hand, the weights that make them do so are the solution of a small
softmax problem (InfoNCE, van den Oord et al. 2018). A field of noise gets no weight without anybody
having looked at it. A field in which all users are alike changes no loss, so the problem would give
it any weight, most of all where little else tells users apart: it is left out of the problem.

Halves of one afternoon share their hour and weekday, which says nothing of habits. So the weights
are the mean of what everyone's halves suggest and what those suggest that lie on different days;
where hardly any do, the fields of the clock are left out.
"""

import numpy as np
import numpy.typing as npt
import torch

from embedder.featurizer import EncodedEvents, Featurizer
from embedder.profiles import Floats, ProfileModel, profile_slots, user_chunks
from embedder.slices import Spans, span_rows
from store.sequences import Int64s

STEPS, BATCH, RATE, NEIGHBORHOOD = 240, 384, 0.05, 32
USERS_MAX, USERS_MIN, EVENTS_MIN, APART_MIN = 3072, 32, 4, 128
CLOCK_FIELDS, DAY_US = frozenset({"hour", "weekday"}), 86_400_000_000
ALIKE_DEVIATION, ALIKE_SHARE = 0.02, 1e-3  # of cosines; of the weight: little, yet a direction


def learn_field_weights(
    featurizer: Featurizer, events: EncodedEvents, model: ProfileModel, rng: np.random.Generator
) -> tuple[ProfileModel, dict[str, float]]:
    """Return the profile with learned field weights and the weights by name.

    Users with fewer than `EVENTS_MIN` events cannot be halved; with fewer than `USERS_MIN` others
    the weights stay equal.
    """
    everyone = np.flatnonzero(np.diff(events.offsets) >= EVENTS_MIN)
    if len(everyone) >= USERS_MIN:
        apart = everyone[are_apart(events.ts_us, events.offsets, everyone)]
        known = len(apart) >= APART_MIN
        told_F = np.array([known or name not in CLOCK_FIELDS for name in model.names])
        asked = (everyone, apart) if known else (everyone,)
        answers = [
            field_weights_of(featurizer, events, model, users, told_F, rng) for users in asked
        ]
        weights: Floats = np.mean(answers, axis=0, dtype=np.float32)
        model = model.weighted(weights)
    named = zip(model.names, model.field_weights.tolist(), strict=True)
    return model, {name: round(weight, 5) for name, weight in named}


def field_weights_of(
    featurizer: Featurizer,
    events: EncodedEvents,
    model: ProfileModel,
    eligible: Int64s,
    told_F: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> Floats:
    """Return the weights that the halves of some users suggest for the fields they can tell of."""
    users = np.sort(rng.choice(eligible, min(USERS_MAX, len(eligible)), replace=False))
    first, second = (
        half_parts(featurizer, events, model, users, second=second) for second in (False, True)
    )
    return weights_of_fields(first, second, told_F, rng)


def are_apart(ts_us: Int64s, offsets: Int64s, users: Int64s) -> npt.NDArray[np.bool_]:
    """Return whose halves lie on different days: their middles, a day or more between them.

    Args:
        ts_us: Times of the events.
        offsets: Where users begin.
        users: Whom to look at.
    """
    quarter = np.diff(offsets)[users] // 4
    between_us = ts_us[offsets[users + 1] - 1 - quarter] - ts_us[offsets[users] + quarter]
    return np.asarray(between_us >= DAY_US)


def weights_of_fields(
    first: list[Floats],
    second: list[Floats],
    told_F: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> Floats:
    """Return the weights of fields, next to nothing for those in which all users are alike.

    Args:
        first, second: Unit vectors of the same users per field, one list for each half.
        told_F: Fields that the halves can tell of.
        rng: Draws the batches.
    """
    some = np.arange(0, len(first[0]), -(-len(first[0]) // BATCH))
    tells = told_F & (cosines(first, second, some).flatten(1).std(dim=1).numpy() > ALIKE_DEVIATION)
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
    """Return the softmax weights of the parts that minimise InfoNCE between matching rows.

    Where users are many, batches are of look-alikes: what sets a user apart from strangers anybody
    would see, such as the place that all users of a region share. The weights are the mean over the
    later steps.

    Args:
        first, second: Unit vectors of the same users per part, one list for each half.
        rng: Draws the batches.

    Cost is quadratic in the users, of whom there are at most `USERS_MAX`.
    """
    num_users = len(first[0])
    nearest_NK = look_alikes(first) if num_users > BATCH else np.zeros((0, 1), dtype=np.int64)
    logit = torch.zeros(len(first), requires_grad=True)
    scale = torch.tensor(2.0, requires_grad=True)
    optimizer = torch.optim.Adam([logit, scale], lr=RATE)
    total = torch.zeros(len(first))
    whole = cosines(first, second, np.arange(num_users)) if num_users <= BATCH else None
    for step in range(STEPS):
        cosine = (
            cosines(first, second, draw_look_alikes(nearest_NK, rng)) if whole is None else whole
        )
        mixed = torch.einsum("f,fij->ij", torch.softmax(logit, 0), cosine) * torch.exp(scale)
        same = torch.arange(len(mixed))
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
    anchors = rng.choice(num_users, BATCH // drawn, replace=False)
    return np.unique(nearest_NK[anchors][:, rng.permutation(count)[:drawn]])


def cosines(first: list[Floats], second: list[Floats], rows: Int64s) -> torch.Tensor:
    """Return the cosine of every part between some rows of both sides, parts x rows x rows."""
    # torch's threads sleep when they wait; NumPy's would spin, hundreds of times for small products
    sides = (map(torch.from_numpy, side) for side in (first, second))
    at = torch.from_numpy(rows)
    return torch.stack([a[at] @ b[at].T for a, b in zip(*sides, strict=True)])
