import pytest

from api.negotiation import preferred_media_type


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "a/json"),
        ("", "a/json"),
        ("*/*", "a/json"),
        ("a/*", "a/json"),
        ("a/arrow", "a/arrow"),
        ("A/Arrow", "a/arrow"),
        ("a/json;q=0.5, a/arrow", "a/arrow"),
        ("a/json; q=0.5, a/arrow; q=0.4", "a/json"),
        ("a/json;q=0, */*", "a/arrow"),
        ("text/csv", None),
        ("a/json;q=zero", None),
    ],
)
def test_the_callers_favourite_is_chosen(accept: str | None, expected: str | None) -> None:
    assert preferred_media_type(accept, offered=("a/json", "a/arrow")) == expected
