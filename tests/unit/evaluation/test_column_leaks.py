import numpy as np
import pytest

from embedder import wording
from embedder.evaluation import signatures
from embedder.evaluation.column_leaks import judge_identity, judge_leak_columns
from embedder.evaluation.leak_checks import Finding, Verdict
from store.schema import Role
from tests.unit.evaluation.crowds import add_column, make_crowd, users_of

BATCH, _ = make_crowd(200)
USER_E = users_of(BATCH)


def judge(
    role: Role, values: list[object], *, left_out: tuple[str, ...] = (), embeds_text: bool = True
) -> Finding:
    batch, schema = add_column(BATCH, role, values)
    return judge_identity(
        batch, schema, left_out=left_out, embeds_text=embeds_text, owned_max=0.5, confidence=0.95
    )


@pytest.mark.parametrize("name", ["leak_label", "Leak_Label"])
def test_a_column_named_as_a_leak_must_not_be_read(name: str) -> None:
    finding = judge_leak_columns(["place", name], [name])
    assert finding.verdict is Verdict.FAIL
    assert finding.details[0] == f"read: {name}"


def test_a_column_named_as_a_leak_that_nobody_reads_is_told() -> None:
    finding = judge_leak_columns(["place", "event_type", "place"], ["leak_label"])
    assert finding.verdict is Verdict.PASS
    assert finding.counts == {"read": 2, "leaks_read": 0, "leaks_withheld": 1}
    assert finding.details == ("in the lake and not read: leak_label",)


def test_a_signature_in_every_text_of_a_user_is_found() -> None:
    values: list[object] = [f"so long, {user}" for user in USER_E.tolist()]
    finding = judge(Role.TEXT, values)
    assert finding.verdict is Verdict.FAIL
    assert finding.details[0].startswith("extra: 9")
    read = judge(Role.TEXT, values, embeds_text=False)
    assert read.verdict is Verdict.WARN
    assert read.details[0].startswith("extra: 9")


@pytest.mark.parametrize("role", [Role.TEXT, Role.TARGET])
def test_a_name_in_most_strings_of_a_user_is_told_though_none_repeats(role: Role) -> None:
    values: list[object] = [
        f"({row} stars) yours, User{user}@mail.org." if row % 5 else f"message {row}"
        for row, user in enumerate(USER_E.tolist())
    ]
    finding = judge(role, values, left_out=("extra",) * (role is Role.TARGET), embeds_text=False)
    assert finding.verdict is Verdict.WARN
    assert finding.counts["naming_users"] == 1
    assert finding.details[0].startswith("extra: 8")
    assert "in most strings of this user" in finding.details[0]


def test_embedded_texts_that_name_their_users_fail() -> None:
    values: list[object] = [f"{row} by user{user}" for row, user in enumerate(USER_E.tolist())]
    assert judge(Role.TEXT, values).verdict is Verdict.FAIL


def test_words_that_several_users_or_few_strings_have_are_no_signatures() -> None:
    """Two users share each name, or a name stands in a third of its user's strings."""
    shared: list[object] = [f"{row} by {user // 2}" for row, user in enumerate(USER_E.tolist())]
    assert judge(Role.TEXT, shared).verdict is Verdict.PASS
    rare: list[object] = [
        f"{row} by user{user}" if row % 3 == 0 else f"{row} by me"
        for row, user in enumerate(USER_E.tolist())
    ]
    assert judge(Role.TEXT, rare).verdict is Verdict.PASS


def test_signatures_do_not_depend_on_how_many_words_are_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values: list[object] = [
        f"{row} by user{user}" if row % (1 + user % 3) == 0 else f"{row} by me"
        for row, user in enumerate(USER_E.tolist())
    ]
    whole = judge(Role.TEXT, values).rows
    monkeypatch.setattr(signatures, "OCCURRENCES_AT_ONCE", 100)
    monkeypatch.setattr(wording, "STRINGS_AT_ONCE", 7)
    assert judge(Role.TEXT, values).rows == whole


def test_a_text_column_without_a_string_passes() -> None:
    assert judge(Role.TEXT, [None] * len(USER_E)).verdict is Verdict.PASS


def test_a_session_id_that_training_does_not_leave_out_is_found() -> None:
    values: list[object] = [f"session {user}" for user in USER_E.tolist()]
    assert judge(Role.CATEGORY, values).verdict is Verdict.FAIL
    warned = judge(Role.CATEGORY, values, left_out=("extra",))
    assert warned.verdict is Verdict.WARN
    assert warned.details == (
        "extra: 100.0 % [98.1, 100.0] of its values are one user's alone, not learned by value",
    )


def test_a_clock_that_training_leaves_out_is_told() -> None:
    finding = judge(Role.CATEGORY, ["all the same"] * len(USER_E), left_out=("ts",))
    assert finding.verdict is Verdict.WARN
    assert finding.details == (
        "ts: users have one time for all of their events; it is not learned from",
    )


def test_texts_and_numbers_that_hardly_repeat_name_nobody() -> None:
    rng = np.random.default_rng(0)
    assert judge(Role.TEXT, [f"event {row}" for row in range(len(USER_E))]).verdict is Verdict.PASS
    assert judge(Role.NUMBER, rng.normal(size=len(USER_E)).tolist()).verdict is Verdict.PASS


def test_what_users_share_passes_with_its_figure() -> None:
    finding = judge(Role.CATEGORY, ["all the same"] * len(USER_E))
    assert finding.verdict is Verdict.PASS
    assert finding.figure is not None
    assert finding.figure.value < 0.05
    assert {row["name"] for row in finding.rows} == {"event_type", "extra", "place", "size"}
