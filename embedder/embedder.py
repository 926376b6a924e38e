"""The embedder: a trained model at work, from event sequences to composite unit vectors.

Shape key: `B` users, `D` dimensions of the composite vector.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from embedder.composite import Block, Composer
from embedder.config import BENIGN_MIN
from embedder.devices import pick_device
from embedder.featurizer import NEVER
from embedder.model_files import read_model
from embedder.parts import Parts
from embedder.profiles import Floats, event_chunks
from embedder.slices import Spans
from embedder.slots import SliceSlots
from embedder.supervision import held_out_of_supervision
from embedder.training_set import encode_slices
from store.clock import to_us
from store.schema import EventSchema
from store.sequences import SequenceBatch

EVENTS_AT_ONCE = 131_072
EVENTS_PER_USER = 20_000


class Embedder:
    """A trained model. Equal inputs give equal vectors, whoever else is in the batch.

    Attributes:
        space_id: Names the space; vectors of two spaces never meet.
        blocks: The slices of the vector.
        schema: The event columns that the model reads.
        as_of: The training saw nothing at or after this time.
        manifest: All that is known of the model.
    """

    def __init__(
        self,
        parts: Parts,
        composer: Composer,
        *,
        space_id: str,
        schema: EventSchema,
        as_of: datetime,
        manifest: Mapping[str, Any],
        device: str = "auto",
    ) -> None:
        self._parts, self._composer = parts, composer
        self._device = pick_device(device)
        for network in (parts.behavior, parts.conduct):
            if network is not None:
                network.to(self._device).eval()
        self.space_id, self.schema, self.as_of = space_id, schema, as_of
        self.manifest = manifest

    @classmethod
    def load(cls, directory: Path, *, device: str = "auto") -> "Embedder":
        """Read a model that `embedder.training` wrote.

        Raises:
            ModelMissing: If there is none.
            ModelCorrupt: If a file is not what the manifest promises.
        """
        stored = read_model(directory)
        return cls(
            stored.parts,
            stored.composer,
            space_id=stored.manifest["space_id"],
            schema=EventSchema.from_dict(stored.manifest["schema"]),
            as_of=datetime.fromisoformat(stored.manifest["as_of"]),
            manifest=stored.manifest,
            device=device,
        )

    @property
    def dim(self) -> int:
        """D."""
        return self._composer.dim

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The slices of the vector."""
        return self._composer.blocks

    @property
    def purposes(self) -> Mapping[str, Mapping[str, float]]:
        """Block weights of the purposes that have their own; none in models of before."""
        return self._composer.purposes

    def held_out(self, user_ids: pa.Array) -> npt.NDArray[np.bool_]:
        """Return whose labels this encoder was not told, were they known or not."""
        return held_out_of_supervision(user_ids, share=float(self.manifest["holdout_share"]))

    @property
    def benign_min(self) -> int:
        """The setting that decided who counted as benign while this encoder was trained."""
        return int(self.manifest.get("config", {}).get("benign_min", BENIGN_MIN))

    def embed(self, batch: SequenceBatch, *, as_newcomers: bool = False) -> Floats:
        """Return unit vectors, B x D, float32.

        Args:
            batch: The users.
            as_newcomers: Targets of users that the model was trained on look as popular as they
                would had it been trained without them; a risk model that learns from them needs
                that to be right about newcomers. What the model learned from a user's label stays:
                only users whose labels it was not told are honest examples of that.

        Cost is linear in the events; beyond the result, memory is bounded by `EVENTS_AT_ONCE`. Of a
        user with more than `EVENTS_PER_USER` events the latest are used.
        """
        counted_before_us = to_us(self.as_of) if as_newcomers else NEVER
        vectors = np.empty((batch.num_users, self.dim), dtype=np.float32)
        used = np.minimum(batch.num_events, EVENTS_PER_USER)
        for rows in bounded_runs(used):
            piece = batch.take(rows, start=batch.num_events[rows] - used[rows])
            vectors[rows] = self._composer.compose(
                raw_blocks(self._parts, piece, self._device, counted_before_us=counted_before_us),
                piece.num_events,
            )
        return vectors


def raw_blocks(
    parts: Parts, batch: SequenceBatch, device: torch.device, *, counted_before_us: int = NEVER
) -> dict[str, Floats]:
    """Return the raw vectors of every block for a batch of bounded size."""
    events = parts.featurizer.encode(batch, counted_before_us=counted_before_us)
    whole = SliceSlots.of(parts.featurizer, events, Spans(batch.offsets[:-1], batch.offsets[1:]))
    blocks: dict[str, Floats] = {"behavior": encode_slices(parts.behavior, whole, device)}
    if parts.conduct is not None:
        conduct = encode_slices(parts.conduct, whole, device)
        blocks["conduct"] = conduct
        if parts.opinion is not None:
            blocks["opinion"] = parts.opinion.block(
                conduct, parts.opinion.summary(batch, events, whole)
            )
    pieces: list[dict[str, Floats]] = []
    for users in event_chunks(batch.offsets):
        some = whole.part(int(users[0]), int(users[-1]) + 1)
        histograms = parts.profiles.histograms(some.slots, some.owner_E, len(users))
        piece = {"statistics": parts.profiles.statistics(histograms)}
        if parts.profiles.hashed:
            sketches = parts.profiles.sketches(events, some.rows_E, some.owner_E, len(users))
            piece["target"] = parts.profiles.target(sketches)
        pieces.append(piece)
    blocks |= {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    if parts.text is not None:
        blocks["text"] = parts.text.embed(batch)
    return blocks


def bounded_runs(
    sizes: np.ndarray[Any, np.dtype[np.int64]],
) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """Cut users into consecutive runs of at most `EVENTS_AT_ONCE` events (or one user)."""
    offsets = np.append(0, np.cumsum(sizes))
    return event_chunks(offsets, most_events=EVENTS_AT_ONCE, most_users=max(len(sizes), 1))
