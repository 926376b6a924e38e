from pathlib import Path

import pytest

from store.columns import check_columns, stored_type, unify_columns, wider_type
from store.errors import ColumnsRefused


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("BIGINT", "BIGINT", "BIGINT"),
        ("BOOLEAN", "BIGINT", "BIGINT"),
        ("BIGINT", "DOUBLE", "DOUBLE"),
        ("BOOLEAN", "DOUBLE", "DOUBLE"),
        ("VARCHAR", "BIGINT", "VARCHAR"),
        ("TIMESTAMP WITH TIME ZONE", "BIGINT", "VARCHAR"),
    ],
)
def test_two_types_meet_in_one_that_holds_both(left: str, right: str, expected: str) -> None:
    assert wider_type(left, right) == wider_type(right, left) == expected


@pytest.mark.parametrize(
    ("found", "stored"),
    [
        ("UINTEGER", "BIGINT"),
        ("UBIGINT", "VARCHAR"),
        ("HUGEINT", "VARCHAR"),
        ("DECIMAL(18,3)", "DOUBLE"),
        ("DATE", "TIMESTAMP WITH TIME ZONE"),
        ("TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"),
        ("ENUM('a', 'b')", "VARCHAR"),
        ("STRUCT(a BIGINT)", "VARCHAR"),
        ('"NULL"', None),
    ],
)
def test_a_file_type_becomes_a_stored_type(found: str, stored: str | None) -> None:
    assert stored_type(found) == stored


def test_columns_of_files_are_united_by_name_without_case() -> None:
    files = [{"Page": "VARCHAR", "n": "BIGINT"}, {"page": "BIGINT", "n": "DOUBLE", "a": "BOOLEAN"}]
    assert unify_columns(files) == {"Page": "VARCHAR", "a": "BOOLEAN", "n": "DOUBLE"}
    assert unify_columns([]) == {}


def test_a_long_list_of_found_columns_is_cut() -> None:
    names = [f"column_{number}" * 5 for number in range(100)]
    with pytest.raises(ColumnsRefused) as caught:
        check_columns(names, required=["ts"], columns_max=200, file=Path("a.csv"))
    assert len(str(caught.value)) < 500
