"""What a job hands over to be written as a build.

Shape key: `N` users, `D` dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from index.errors import BuildInvalid
from index.manifest import BlockSpec
from index.vectors import Vectors, check_stored


@dataclass(frozen=True)
class BuildInput:
    """What a job hands over to be written.

    Attributes:
        model_digest: Digest of the model's manifest.
        blocks: Slices that cover the D dimensions one after the other.
        purposes: Purpose to block to weight, where queries may be weighted otherwise.
        users: Columns of `index.users.USERS_SCHEMA`, sorted by user_id; those of labels and rings
            may be absent.
        vectors_ND: Unit rows, one a user, in the order of `users`.
        made_with: Config and versions, JSON values, to be remembered in the manifest.
    """

    space_id: str
    model_digest: str
    data_as_of: datetime
    blocks: tuple[BlockSpec, ...]
    users: pa.Table
    vectors_ND: Vectors
    made_with: Mapping[str, Any]
    purposes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def check_input(build: BuildInput, users: pa.Table) -> None:
    """Raise BuildInvalid unless vectors, users and blocks fit together."""
    check_stored(build.vectors_ND)
    num_vectors, dim = build.vectors_ND.shape
    if num_vectors != users.num_rows or num_vectors == 0:
        raise BuildInvalid(f"{users.num_rows} users and {num_vectors} vectors make no build")
    borders = [0, *(block.stop for block in build.blocks)]
    starts = [block.start for block in build.blocks]
    if starts != borders[:-1] or borders[-1] != dim:
        raise BuildInvalid(f"the blocks must cover the {dim} dimensions one after the other")
    names = {block.name for block in build.blocks if block.weight > 0}
    for purpose, weights in build.purposes.items():
        if (
            not purpose.isidentifier()
            or not names.issuperset(weights)
            or sum(weights.values()) <= 0
        ):
            raise BuildInvalid(f"{dict(weights)} are no weights of blocks for {purpose!r}")
    if build.data_as_of.tzinfo is None:
        raise BuildInvalid("data_as_of needs a time zone")
