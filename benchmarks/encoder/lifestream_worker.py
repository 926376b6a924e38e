"""CoLES by its authors' own library, pytorch-lifestream; run by the Python that has it.

`lifestream_worker.py train FOLDER` learns from the events in it and leaves the weights there;
`lifestream_worker.py embed FOLDER EVENTS` writes a vector for each user of other events.
Nothing of ours is imported: the library wants versions that we don't.

The settings that the benchmark does not fix are the library's defaults, or those of its authors for
Rosbank's card data (`scenario_rosbank/conf/mles_params.yaml` of their `ptls-experiments`).

Shape key: `E` events of all users, `F` fields, `B` users, `H` state width.
"""

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from ptls.data_load.utils import collate_feature_dict
from ptls.frames import PtlsDataModule
from ptls.frames.coles import ColesDataset, CoLESModule
from ptls.frames.coles.losses import ContrastiveLoss
from ptls.frames.coles.sampling_strategies import HardNegativePairSelector
from ptls.frames.coles.split_strategy import SampleSlices
from ptls.nn import RnnSeqEncoder, TrxEncoder
from safetensors.torch import load_file, save_file

SLICES_PER_USER, SLICE_EVENTS_MIN, MARGIN, HARDEST = 5, 2, 0.5, 5
RATE, EPOCHS_PER_DECAY, DECAY, NOISE = 4e-3, 10, 0.9025, 3e-4
CODES_PER_DIMENSION, WIDTH_MIN = 4, 4
EVENTS_AT_ONCE, VALIDATION_USERS = 65_536, 256
WEIGHTS, GAP, LOOK = "weights.safetensors", "gap", "valid/recall_top_k"


class Users:
    """Users as the library wants them, cut out of flat arrays when they are asked for."""

    def __init__(self, folder: Path, rows: Any = None) -> None:
        self.codes_EF = torch.from_numpy(load(folder / "codes.npy"))
        self.gap_E = torch.from_numpy(load(folder / "gap.npy"))
        self.offsets = load(folder / "offsets.npy")
        self.rows = np.arange(len(self.offsets) - 1) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        first, last = self.offsets[self.rows[place] : self.rows[place] + 2].tolist()
        fields = {
            field_name(column): codes_E
            for column, codes_E in enumerate(self.codes_EF[first:last].T)
        }
        return {"event_time": torch.arange(last - first), GAP: self.gap_E[first:last], **fields}


class KeepBest(pl.Callback):  # type: ignore[misc]  # the library has no types here
    """Keeps the weights of the best look at the held-out users, and stops after some worse ones."""

    def __init__(self, patience: int) -> None:
        self.best, self.waited, self.patience = -1.0, 0, patience
        self.weights: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        look = float(trainer.callback_metrics[LOOK])
        self.waited = 0 if look > self.best else self.waited + 1
        if look > self.best:
            self.best, self.weights = look, copied(module.seq_encoder)
        trainer.should_stop = self.waited >= self.patience


def train(folder: Path) -> None:
    """Learn from the users of a folder, and leave the weights there."""
    plan = read_plan(folder)
    pl.seed_everything(plan["seed"])
    module = CoLESModule(
        seq_encoder=make_encoder(plan),
        loss=ContrastiveLoss(
            margin=MARGIN, sampling_strategy=HardNegativePairSelector(neg_count=HARDEST)
        ),
        optimizer_partial=partial(torch.optim.Adam, lr=RATE),
        lr_scheduler_partial=partial(
            torch.optim.lr_scheduler.StepLR, step_size=EPOCHS_PER_DECAY, gamma=DECAY
        ),
    )
    splitter = SampleSlices(SLICES_PER_USER, SLICE_EVENTS_MIN, plan["slice_events"])
    learned = Users(folder, load(folder / "learned.npy"))
    held = Users(folder, load(folder / "held.npy"))
    looked_at = len(held) > 1
    data = PtlsDataModule(
        train_data=ColesDataset(learned, splitter),
        train_batch_size=min(plan["batch_users"], len(learned)),
        train_drop_last=True,
        valid_data=ColesDataset(held, splitter) if looked_at else None,
        valid_batch_size=VALIDATION_USERS,
    )
    keeper = KeepBest(plan["patience"])
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        deterministic=True,
        max_steps=plan["steps"],
        max_epochs=-1,
        val_check_interval=plan["evaluate_every"] if looked_at else None,
        check_val_every_n_epoch=None if looked_at else 1,
        num_sanity_val_steps=0,
        callbacks=[keeper],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    save_file(keeper.weights or copied(module.seq_encoder), folder / WEIGHTS)


@torch.no_grad()
def embed(folder: Path, events: Path) -> None:
    """Write the last states of users, B x H float32, as `vectors.npy` beside their events."""
    plan = read_plan(folder)
    encoder = make_encoder(plan)
    encoder.load_state_dict(load_file(folder / WEIGHTS))
    encoder.eval()
    users = Users(events)
    vectors_BH = np.empty((len(users), plan["state"]), dtype=np.float32)
    for rows in like_lengths(np.diff(users.offsets)):
        vectors_BH[rows] = encoder(collate_feature_dict([users[row] for row in rows])).numpy()
    np.save(events / "vectors.npy", vectors_BH)


def make_encoder(plan: dict[str, Any]) -> Any:
    """Return the library's GRU over its encoder of events, with fresh weights."""
    embeddings = {
        field_name(column): {
            "in": size,
            "out": min(max(size // CODES_PER_DIMENSION, WIDTH_MIN), plan["hidden"]),
        }
        for column, size in enumerate(plan["sizes"])
    }
    events = TrxEncoder(
        embeddings=embeddings,
        numeric_values={GAP: "identity"},
        embeddings_noise=NOISE,
        use_batch_norm_with_lens=True,
        out_of_index="assert",
    )
    return RnnSeqEncoder(trx_encoder=events, hidden_size=plan["state"], type="gru")


def like_lengths(size_B: Any) -> Iterator[list[int]]:
    """Yield rows of users, shortest first, whose padded events are of bounded number."""
    rows: list[int] = []
    for row in np.argsort(size_B, kind="stable").tolist():
        if rows and (len(rows) + 1) * size_B[row] > EVENTS_AT_ONCE:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def field_name(column: int) -> str:
    """Return a name that the library reads nothing into, as it would into `target…`."""
    return f"field_{column}"


def copied(encoder: Any) -> dict[str, torch.Tensor]:
    """Return the weights as they are now."""
    return {name: value.detach().clone() for name, value in encoder.state_dict().items()}


def load(path: Path) -> Any:
    """Read an array."""
    return np.load(path, allow_pickle=False)


def read_plan(folder: Path) -> dict[str, Any]:
    """Read sizes and length of the training, and set the threads that it may have."""
    plan: dict[str, Any] = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    torch.set_num_threads(plan["threads"])
    return plan


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(Path(sys.argv[2]))
    else:
        embed(Path(sys.argv[2]), Path(sys.argv[3]))
