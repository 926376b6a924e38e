import numpy as np
import pyarrow as pa

from store.sequences import SequenceBatch

BATCH = SequenceBatch(
    user_ids=["al", "bo", "cy"],
    offsets=np.array([0, 3, 4, 6]),
    ts_us=np.array([1, 2, 3, 10, 20, 21]),
    events=pa.table({"n": [0, 1, 2, 3, 4, 5]}),
)


def test_users_can_be_taken_in_any_order_and_twice() -> None:
    taken = BATCH.take(np.array([2, 0, 2]))
    assert taken.user_ids == ["cy", "al", "cy"]
    assert taken.num_events.tolist() == [2, 3, 2]
    assert taken.events["n"].to_pylist() == [4, 5, 0, 1, 2, 4, 5]


def test_slices_are_clipped_to_the_sequence() -> None:
    taken = BATCH.take(np.array([0, 1]), start=np.array([1, 5]), stop=np.array([9, 9]))
    assert taken.events["n"].to_pylist() == [1, 2]
    assert taken.num_events.tolist() == [2, 0]
    assert BATCH.head(1).ts_us.tolist() == [1, 10, 20]
    assert BATCH.num_users == 3
