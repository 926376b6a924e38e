"""Which labels the encoder may see, so that risk is fitted on users it was not told about.

An encoder that saw a user's label puts the user where the label says. A risk model fitted on such
users believes itself far too much. So a share of all users, drawn by the hash of their ids, is held
out of supervision for good: the same users whenever and on whatever data one trains.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedder.hashing import Hashes, hash_strings, mix

_SALT = np.uint64(0x5851F42D4C957F2D)


def held_out_of_supervision(
    user_ids: pa.Array | pa.ChunkedArray, *, share: float
) -> npt.NDArray[np.bool_]:
    """Return which users' labels the encoder must not see; about a `share` of them."""
    if isinstance(user_ids, pa.ChunkedArray):
        user_ids = user_ids.combine_chunks()
    hashed: Hashes = mix(hash_strings(user_ids.cast(pa.large_string())) ^ _SALT)
    return hashed.astype(np.float64) / 2.0**64 < share
