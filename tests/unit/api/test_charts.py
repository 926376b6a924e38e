import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.pages.charts import similarity_bars
from api.pages.words import duration, in_hundred, percent, policies_sentence

NAMES = ("behavior", "target", "text")
SHARES = st.fixed_dictionaries({name: st.floats(-1, 1) for name in NAMES})


@given(st.lists(SHARES, max_size=8))
def test_segments_stay_within_the_bar_and_touch(rows: list[dict[str, float]]) -> None:
    for row, bar in zip(rows, similarity_bars(rows, NAMES), strict=True):
        assert [segment.is_negative for segment in bar.segments] == [
            row[name] < 0 for name in NAMES
        ]
        for segment in bar.segments:
            assert segment.start >= -0.1
            assert segment.width >= 0
            assert segment.start + segment.width <= 100.1
        right = [segment for segment in bar.segments if not segment.is_negative and segment.width]
        if right:
            assert right[0].start == pytest.approx(bar.zero, abs=0.02)


def test_a_bar_says_the_same_in_words() -> None:
    bar = similarity_bars([{"behavior": 0.5, "target": -0.25, "text": -0.001}], NAMES)[0]

    assert bar.text == "behavior 0.50, target −0.25, text 0.00"


@pytest.mark.parametrize(
    ("share", "said", "short"),
    [(0.0, "fewer than 1", "< 1 %"), (0.824, "82", "82 %"), (1.0, "more than 99", "> 99 %")],
)
def test_nothing_is_claimed_to_be_certain(share: float, said: str, short: str) -> None:
    assert in_hundred(share) == said
    assert percent(share) == short


def test_spans_of_time_are_said_in_their_largest_sensible_unit() -> None:
    assert [duration(seconds) for seconds in (0, 1, 119, 120, 7_200, 172_800)] == [
        "0 seconds", "1 second", "119 seconds", "2 minutes", "2 hours", "2 days",
    ]  # fmt: skip


def test_policies_are_said_most_frequent_first() -> None:
    assert policies_sentence(["b", "a", None, "a"]) == "2 for a, 1 for b, 1 for no policy named"
