"""The risk model of a build: references, stack, calibrator and bands, saved without pickle.

Shape key: `Q` queries, `D` dimensions, `F` features.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc

from index.answers import BandRule
from index.risk.calibration import Bands, Calibrator, interval, to_probability
from index.risk.config import RiskConfig
from index.risk.flight import Flight
from index.risk.gallery import Floats, References
from index.risk.membership import RingMembership
from index.risk.neighbors import FEATURES, neighbor_features
from index.risk.policies import PolicyBand, PolicyBands, name_bands
from index.risk.stack import Stack
from index.risk.weighing import Weighing
from index.vectors import Vectors
from store.sequences import Int64s

DESCRIPTION, REFERENCES, MEMBERS = "risk.json", "references.arrow", "ring_members.arrow"
UNKNOWN_BAND = "insufficient_data"


@dataclass(frozen=True)
class RiskAssessment:
    """Risk of Q queries; numbers of a query whose band is `insufficient_data` mean nothing."""

    probability: Floats
    low: Floats
    high: Floats
    log_odds: Floats
    band: list[str]
    features_QF: Floats
    band_rule: list[BandRule]


class RiskModel:
    """Tells how risky users are, from their vectors and ages."""

    def __init__(
        self,
        references: References,
        rings: RingMembership,
        stack: Stack,
        calibrator: Calibrator,
        bands: Bands,
        config: RiskConfig,
        about: Mapping[str, Any],
        policies: PolicyBands | None = None,
        flight: Flight | None = None,
        weighing: Weighing | None = None,
    ) -> None:
        self._references, self._stack = references, stack
        self._rings = rings.those_who_count()
        self._calibrator, self._bands, self._config = calibrator, bands, config
        self._rates = rings.rates()
        self._flight = flight
        self._weighing = weighing or Weighing()
        self._policies = policies or PolicyBands.none(len(references.user_ids))
        self.about = about

    @property
    def policy_bands(self) -> tuple[PolicyBand, ...]:
        """Bands of the policies that have a precision of their own."""
        return tuple(self._policies.bands.values())

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the neighbor features."""
        return FEATURES

    def features(
        self, query_QD: Vectors, num_events_Q: Int64s, *, own_ids: Sequence[str | None]
    ) -> Floats:
        """Return the neighbor features, Q x F."""
        return self._features(self._weighing.weigh(query_QD), num_events_Q, own_ids)

    def _features(
        self, query_QD: Vectors, num_events_Q: Int64s, own_ids: Sequence[str | None]
    ) -> Floats:
        """Return the same of vectors that are weighed already."""
        own_Q = self._references.find(own_ids)
        asked = self._rings.asked(own_ids)
        return neighbor_features(
            self._references, self._rates, query_QD, num_events_Q, own_Q, asked, self._config
        )

    def assess(
        self,
        query_QD: Vectors,
        num_events_Q: Int64s,
        *,
        own_ids: Sequence[str | None],
        silence_us_Q: Int64s | None = None,
    ) -> RiskAssessment:
        """Return the risk of each query.

        Args:
            query_QD: Composite unit vectors of the space that the model was fitted in.
            num_events_Q: Events behind each vector.
            own_ids: The user that each query is, if any: the own label does not vote.
            silence_us_Q: Time from the last event of each to the time asked about. Where it is not
                told, everyone is judged as having stopped.
        """
        query_QD = self._weighing.weigh(query_QD)
        features_QF = self._features(query_QD, num_events_Q, own_ids)
        log_odds = self._calibrator.to_log_odds(self._stack.score(features_QF, query_QD))
        if silence_us_Q is not None and self._flight is not None:
            log_odds = self._flight.log_odds(
                features_QF, query_QD, num_events_Q, silence_us_Q, log_odds
            )
        probability = to_probability(log_odds)
        votes = np.exp(features_QF[:, FEATURES.index("effective_neighbors")])
        low, high = interval(
            probability, votes + self._config.prior_votes, coverage=self._config.interval
        )
        few = num_events_Q < self._config.events_min
        own = self._policies.of(
            self._references, query_QD, num_events_Q, self._references.find(own_ids)
        )
        bands = np.array(name_bands(self._bands, own, log_odds), dtype=object)
        early = num_events_Q < self._config.likely_events_min
        bands[early & (bands == "likely")] = "possible"
        named = np.where(few, UNKNOWN_BAND, bands).tolist()
        everyone = BandRule(None, self._config.likely_precision, self._bands.likely, "everyone")
        rules = [everyone if band is None else band.rule() for band in own]
        return RiskAssessment(probability, low, high, log_odds, named, features_QF, rules)

    def nearest_policies(
        self, query_QD: Vectors, num_events_Q: Int64s, *, own_ids: Sequence[str | None]
    ) -> list[str | None]:
        """Return the policy whose known violators each query is most like; None for none."""
        own_Q, query_QD = self._references.find(own_ids), self._weighing.weigh(query_QD)
        return self._policies.nearest(self._references, query_QD, num_events_Q, own_Q)

    def save(self, directory: Path) -> None:
        """Write the model into a folder: a description, the references, one matrix per age."""
        directory.mkdir(parents=True, exist_ok=True)
        references = self._references
        described = {
            "about": dict(self.about),
            "config": self._config.model_dump(),
            "calibrator": self._calibrator.to_dict(),
            "bands": {"likely": self._bands.likely, "possible": self._bands.possible},
            "policy_bands": self._policies.to_dict(),
            "features": list(FEATURES),
            "ages": list(references.ages),
            "opinion_at": list(references.opinion_at),
            "weighing": self._weighing.spans,
            "num_users": self._rings.num_users,
            "stack": self._stack.to_dict(),
            "flight": None if self._flight is None else self._flight.to_dict(),
        }
        (directory / DESCRIPTION).write_text(json.dumps(described, indent=1) + "\n")
        table = pa.table(
            {
                "user_id": pa.array(references.user_ids, pa.string()),
                "is_violator": references.is_violator_R,
                "vote": references.vote_R,
                "ring": references.ring_R,
                "policy": self._policies.policy_R,
            }
        )
        _write_table(table, directory / REFERENCES)
        members = {
            "user_id": self._rings.user_ids.cast(pa.string()),
            "ring": self._rings.ring_N,
            "is_violator": self._rings.is_violator_N,
        }
        _write_table(pa.table(members), directory / MEMBERS)
        for place, (rows, vectors) in enumerate(
            zip(references.rows, references.vectors, strict=True)
        ):
            np.save(directory / f"rows_{place}.npy", rows)
            np.save(directory / f"vectors_{place}.npy", vectors)

    @classmethod
    def load(cls, directory: Path) -> "RiskModel":
        """Read what `save` wrote; matrices are memory-mapped, the caller has checked the sums.

        A model from before policies had bands of their own has none, one from before silences were
        heard judges everyone as stopped, and one from before risk weighed blocks takes vectors as
        they are.
        """
        described = json.loads((directory / DESCRIPTION).read_text())
        table, members = (_read_table(directory / name) for name in (REFERENCES, MEMBERS))
        ages = tuple(described["ages"])
        references = References(
            tuple(table["user_id"].to_pylist()),
            table["is_violator"].to_numpy(),
            table["vote"].to_numpy(),
            table["ring"].to_numpy(),
            ages,
            tuple(
                np.load(directory / f"rows_{place}.npy", allow_pickle=False)
                for place in range(len(ages))
            ),
            tuple(
                np.load(directory / f"vectors_{place}.npy", mmap_mode="r", allow_pickle=False)
                for place in range(len(ages))
            ),
            (described["opinion_at"][0], described["opinion_at"][1]),
        )
        rings = RingMembership(
            members["user_id"].combine_chunks(),
            members["ring"].to_numpy(),
            members["is_violator"].to_numpy(),
            described["num_users"],
        )
        flight = described.get("flight")
        return cls(
            references,
            rings,
            Stack.from_dict(described["stack"]),
            Calibrator.from_dict(described["calibrator"]),
            Bands(described["bands"]["likely"], described["bands"]["possible"]),
            RiskConfig(**described["config"]),
            described["about"],
            PolicyBands.from_dict(
                table["policy"].combine_chunks(), described.get("policy_bands", [])
            )
            if "policy" in table.column_names
            else None,
            None if flight is None else Flight.from_dict(flight),
            Weighing(
                tuple(
                    (start, stop, factor) for start, stop, factor in described.get("weighing", [])
                )
            ),
        )


def _write_table(table: pa.Table, path: Path) -> None:
    with ipc.new_file(str(path), table.schema) as file:
        file.write_table(table)


def _read_table(path: Path) -> pa.Table:
    with ipc.open_file(str(path)) as file:
        return file.read_all()
