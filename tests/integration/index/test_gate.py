from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from index.build import RISK_DIR, Build, load_build, write_build
from index.build_input import BuildInput
from index.config import GateConfig, IndexConfig
from index.exact import ExactIndex
from index.gate import Check, GateReport, gate
from store.workspace import Workspace
from tests.index_fakes import NOW, build_input, clustered_vectors, unit_vectors, user_name

WITH_GRAPH = IndexConfig(kind="hnsw")


def stage(workspace: Workspace, given: BuildInput, config: IndexConfig = WITH_GRAPH) -> Build:
    return load_build(write_build(workspace, given, config, now=NOW))


def report_of(
    staged: Build,
    previous: Build | None = None,
    *,
    known_users: pa.Array | None = None,
    erased_users: Collection[str] = (),
    violators: Collection[str] = (),
    config: GateConfig | None = None,
) -> GateReport:
    return gate(
        staged,
        previous,
        config or GateConfig(),
        known_users=staged.users.ids if known_users is None else known_users,
        erased_users=erased_users,
        violators=violators,
    )


def check(report: GateReport, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


def test_good_build_passes(workspace: Workspace) -> None:
    vectors = clustered_vectors(1_000, 16, num_clusters=20)
    staged = stage(workspace, build_input(vectors, violators=[3, 5]))
    report = report_of(staged, staged, violators=[user_name(3), user_name(5)])
    assert report.passed, report
    assert report.verdict == "passed"
    assert check(report, "recall_at_10_lower_bound").value > 0.98
    assert check(report, "recall_at_100_lower_bound").value > 0.98


def test_exact_builds_need_no_recall(workspace: Workspace) -> None:
    staged = stage(workspace, build_input(unit_vectors(20)), IndexConfig())
    names = [check.name for check in report_of(staged).checks]
    assert not [name for name in names if "recall" in name]


def test_a_build_without_the_risk_that_the_live_one_has_is_refused(workspace: Workspace) -> None:
    given = build_input(unit_vectors(20))
    live = load_build(
        write_build(
            workspace,
            given,
            IndexConfig(),
            now=NOW,
            write_extra=lambda folder: (folder / RISK_DIR).mkdir(),
        )
    )
    staged = stage(workspace, given, IndexConfig())
    assert check(report_of(staged), "risk_lost").passed
    assert check(report_of(live, live), "risk_lost").passed
    assert not check(report_of(staged, live), "risk_lost").passed


def test_a_build_of_an_earlier_time_than_the_live_one_is_refused(workspace: Workspace) -> None:
    given = build_input(unit_vectors(20))
    earlier = replace(given, data_as_of=given.data_as_of - timedelta(seconds=0.5))
    live, past = (stage(workspace, one, IndexConfig()) for one in (given, earlier))
    refused = report_of(past, live)
    assert refused.reasons == ("older_than_live",)
    assert check(refused, "older_than_live").value == 1
    assert report_of(live, past).passed
    assert report_of(past, past).passed, "the same time again is no step back"
    assert report_of(past).passed


def test_counts_are_whole_numbers_and_shares_are_not(workspace: Workspace) -> None:
    staged = stage(workspace, build_input(clustered_vectors(200, 16, num_clusters=5)))
    shares = {
        "users_lost_share",
        "recall_at_10_lower_bound",
        "recall_at_100_lower_bound",
        "poor_queries_upper_bound",
    }
    for one in report_of(staged, staged).to_dict()["checks"]:
        kinds = {type(one["value"]), type(one["threshold"])}
        assert kinds == ({float} if one["name"] in shares else {int}), one


def test_graph_that_loses_neighbors_is_refused(workspace: Workspace) -> None:
    """A narrow beam over points without any structure misses most neighbors."""
    poor = IndexConfig(kind="hnsw", m=4, ef_construction=8, ef_search=8, ef_search_max=8)
    staged = stage(workspace, build_input(unit_vectors(2_000, 64)), poor)
    report = report_of(staged)
    assert not check(report, "recall_at_10_lower_bound").passed
    assert not check(report, "poor_queries_upper_bound").passed
    assert report.verdict == "refused"
    assert not report.may_go_live


def test_lost_users_are_refused(workspace: Workspace) -> None:
    before = stage(workspace, build_input(unit_vectors(100)), IndexConfig())
    after = stage(workspace, build_input(unit_vectors(89)), IndexConfig())
    share = check(report_of(after, before), "users_lost_share")
    assert not share.passed
    assert share.value == pytest.approx(0.11)
    assert check(report_of(before, after), "users_lost_share").passed
    lenient = GateConfig(shrink_max=0.2)
    assert check(report_of(after, before, config=lenient), "users_lost_share").passed


def test_erased_user_is_refused(workspace: Workspace) -> None:
    staged = stage(workspace, build_input(unit_vectors(10)), IndexConfig())
    report = report_of(staged, erased_users={user_name(4), "someone else"})
    assert not check(report, "erased_users").passed
    assert check(report, "erased_users").value == 1
    assert check(report_of(staged, erased_users={"someone else"}), "erased_users").passed


def test_user_unknown_to_the_lake_is_refused(workspace: Workspace) -> None:
    staged = stage(workspace, build_input(unit_vectors(10)), IndexConfig())
    known = pa.chunked_array([[user_name(row) for row in range(8)], ["someone else"]])
    report = report_of(staged, known_users=known)
    assert check(report, "unknown_users").value == 2
    assert not report.passed


def test_violator_missing_from_the_view_is_refused(workspace: Workspace) -> None:
    staged = stage(workspace, build_input(unit_vectors(10), violators=[2]), IndexConfig())
    missing = check(report_of(staged, violators=[user_name(2), user_name(3)]), "violators_missing")
    assert not missing.passed
    assert missing.value == 1


def test_violator_without_events_is_not_missed(workspace: Workspace) -> None:
    staged = stage(workspace, build_input(unit_vectors(10), violators=[2]), IndexConfig())
    assert report_of(staged, violators=[user_name(2), "without events"]).passed


def test_view_of_other_vectors_is_refused(workspace: Workspace) -> None:
    staged = stage(workspace, build_input(unit_vectors(10), violators=[2]), IndexConfig())
    other = replace(staged, violators=ExactIndex(unit_vectors(1, seed=7)))
    assert not check(report_of(other), "violators_missing").passed


def test_vector_that_is_not_unit_is_refused(workspace: Workspace) -> None:
    staged = stage(workspace, build_input(unit_vectors(10)), IndexConfig())
    broken = unit_vectors(10)
    broken[7] = np.nan
    report = report_of(replace(staged, everyone=ExactIndex(broken)))
    assert not check(report, "vectors_are_unit").passed


def test_forced_report_says_so(workspace: Workspace) -> None:
    staged = stage(workspace, build_input(unit_vectors(10)), IndexConfig())
    erased = report_of(staged, erased_users=[user_name(1)]).forced()
    assert erased.verdict == "refused"
    assert not erased.may_go_live
    forced = report_of(staged, known_users=staged.users.ids[:5]).forced()
    assert forced.reasons == ("unknown_users",)
    assert forced.verdict == "forced"
    assert forced.may_go_live
    assert not forced.passed
    assert forced.to_dict()["was_forced"] is True
