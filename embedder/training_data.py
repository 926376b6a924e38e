"""Gathers what a training run may see: events before T of whole users, labels known before T."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedder.config import BENIGN_MIN, EmbedderConfig
from embedder.errors import NotEnoughData
from embedder.supervision import held_out_of_supervision
from store.labels import LabelView
from store.lake import EventLake
from store.sequences import Int64s, SequenceBatch

USERS_MIN, EVENTS_MIN = 20, 100
CROWD = 10
ALWAYS_KNOWN_US = np.iinfo(np.int64).min


@dataclass(frozen=True)
class UserLabels:
    """Labels joined to users, row by row.

    Attributes:
        label: 1 violator, 0 other, -1 unknown. Where benign labels are fewer than
            `EmbedderConfig.benign_min`, everybody who is not a known violator counts as other.
        kind: Number of the policy (or group) of a violator, else -1.
        known_at_us: When the label became known.
    """

    label: Int64s
    kind: Int64s
    known_at_us: Int64s


@dataclass(frozen=True)
class Gathered:
    """The training users' sequences, their labels, and whose labels supervision must not see."""

    batch: SequenceBatch
    labels: UserLabels
    held_out: npt.NDArray[np.bool_]


def gather(
    lake: EventLake,
    view: LabelView,
    *,
    as_of: datetime,
    config: EmbedderConfig,
    columns: Iterable[str],
    seed: int,
) -> Gathered:
    """Read whole users into memory, at most about `config.max_training_events` events of them.

    Raises:
        NotEnoughData: If there is too little to learn from.
    """
    users = lake.users(as_of=as_of, cutoffs=view.cutoffs())
    num_events = int(pc.sum(users["num_events"]).as_py() or 0)
    num_users = int((users["num_events"].to_numpy() >= 2).sum())
    if num_users < USERS_MIN or num_events < EVENTS_MIN:
        raise NotEnoughData(
            f"{num_users} users with two events or more, and {num_events} events of all, before "
            f"{as_of.isoformat()} are too few to train on; at least {USERS_MIN} such users and "
            f"{EVENTS_MIN} events are needed"
        )
    chosen = (
        sample_users(users, view, config.max_training_events, seed)
        if num_events > config.max_training_events
        else None
    )
    wanted = None if chosen is None else chosen["user_id"].to_pylist()
    batches = list(
        lake.batches(
            as_of=as_of,
            cutoffs=view.cutoffs(),
            users=wanted,
            columns=list(columns),
            max_events=1_000_000,
        )
    )
    batch = joined(batches)
    ids = pa.array(batch.user_ids, pa.string())
    labels = join_labels(ids, view, benign_min=config.benign_min)
    held_out = held_out_of_supervision(ids, share=config.holdout_share)
    return Gathered(batch, labels, held_out)


def sample_users(users: pa.Table, view: LabelView, budget: int, seed: int) -> pa.Table:
    """Return users whose events fit the budget, at most half of them violators'; drawn evenly.

    Left out is who would take a tenth of it alone: a bot of millions of events teaches little, and
    nobody drawn after it would find room.

    Raises:
        NotEnoughData: If too few users remain.
    """
    rng = np.random.default_rng([seed, 3])
    violators = view.table.filter(pc.equal(view.table["label"], 1))["user_id"]
    is_violator = pc.is_in(users["user_id"], value_set=violators.combine_chunks()).to_numpy(
        zero_copy_only=False
    )
    sizes = users["num_events"].to_numpy()
    order = rng.permutation(users.num_rows)
    kept = np.zeros(users.num_rows, dtype=bool)
    left = budget
    order = order[sizes[order] < budget / 2 / CROWD]
    for group, share in (
        (order[is_violator[order]], budget // 2),
        (order[~is_violator[order]], budget),
    ):
        fits = np.cumsum(sizes[group]) <= min(share, left)
        kept[group[fits]] = True
        left -= int(sizes[group[fits]].sum())
    num_kept = int((kept & (sizes >= 2)).sum())
    if num_kept < USERS_MIN:
        raise NotEnoughData(
            f"only {num_kept} users of two events or more fit max_training_events = {budget:,}, "
            f"of which nobody may take a {2 * CROWD}th; at least {USERS_MIN} are needed"
        )
    return users.filter(pa.array(kept))


def joined(batches: list[SequenceBatch]) -> SequenceBatch:
    """Return several batches as one."""
    if len(batches) == 1:
        return batches[0]
    starts = np.cumsum([0, *(len(batch.ts_us) for batch in batches)])
    offsets = [batch.offsets[:-1] + start for batch, start in zip(batches, starts, strict=False)]
    return SequenceBatch(
        [user for batch in batches for user in batch.user_ids],
        np.concatenate([*offsets, starts[-1:]]).astype(np.int64),
        np.concatenate([batch.ts_us for batch in batches]),
        pa.concat_tables([batch.events for batch in batches]),
    )


def join_labels(user_ids: pa.Array, view: LabelView, *, benign_min: int = BENIGN_MIN) -> UserLabels:
    """Return the labels of users in the order given."""
    table = view.table
    at = pc.index_in(user_ids, value_set=table["user_id"].combine_chunks())
    rows = table.take(pc.fill_null(at, 0)) if table.num_rows else None
    known = at.is_valid().to_numpy(zero_copy_only=False)
    if rows is None:
        nothing = np.full(len(user_ids), -1, dtype=np.int64)
        return UserLabels(nothing, nothing, np.full(len(user_ids), ALWAYS_KNOWN_US))
    label = np.where(known, pc.fill_null(rows["label"], -1).to_numpy(), -1).astype(np.int64)
    since = np.where(
        known, pc.fill_null(rows["known_at_us"], ALWAYS_KNOWN_US).to_numpy(), ALWAYS_KNOWN_US
    )
    if (label == 0).sum() < benign_min and (label == 1).any():
        label = np.where(label == 1, 1, 0)
    named = pc.fill_null(pc.coalesce(rows["policy"], rows["group"]), "")
    codes = named.combine_chunks().dictionary_encode()
    rank = np.argsort(np.argsort(np.array(codes.dictionary.to_pylist(), dtype=str)))
    kind = np.where(label == 1, rank[codes.indices.to_numpy()], -1)
    return UserLabels(label, kind.astype(np.int64), since)
