"""The benchmark of identical vectors: they are one entry, are found, and are timed in turns."""

from benchmarks.copies import PLAIN, ROUNDS, measure


def test_vectors_with_and_without_copies_are_asked_in_turns() -> None:
    told = measure(4_000, num_queries=200, seed=1)
    assert [*told] == [PLAIN, "twenty_groups", "one_group"]
    assert [variant["entries"] for variant in told.values()] == [
        4_000,
        4_000 - 20 * (40 - 1),
        4_000 - (400 - 1),
    ]
    assert [*told[PLAIN]["parts"]] == ["anywhere"]
    for variant in told.values():
        for part in variant["parts"].values():
            assert part["recall"] > 0.9
            assert len(part["us_p50"]) == ROUNDS
            assert part["ratio"] > 0
    assert [*told["one_group"]["parts"]] == ["anywhere", "near"]
    assert told["one_group"]["parts"]["near"]["recall"] > 0.99
