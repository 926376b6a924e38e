import pytest

from jobs.terminal import printable, progress_bars, table


def test_a_table_aligns_text_left_and_numbers_right() -> None:
    lines = table(("user", "events"), [["ann", 7], ["bob", 12_345]])
    assert lines == ["user  events", "ann        7", "bob   12,345"]


def test_a_table_without_rows_is_its_header() -> None:
    assert table(("user", "events"), []) == ["user  events"]


def test_cells_say_none_and_truth_in_words() -> None:
    assert table(("a", "b", "c"), [[None, True, 0.12345]])[1] == "-  yes  0.123"


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\u202eabc", "\x07"])
def test_data_cannot_draw_on_the_terminal(text: str) -> None:
    assert printable(text).isprintable()


def test_no_bar_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress:
        progress("embed users", 1, 2)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
