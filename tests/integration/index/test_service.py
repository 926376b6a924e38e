from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import beta

from index.answers import (
    Filter,
    NeighborAnswer,
    NeighborRequest,
    RingInfo,
    RiskAnswer,
    UnknownUser,
    UserProfile,
)
from index.build import RINGS_FILE
from index.build_input import BuildInput
from index.config import IndexConfig
from index.errors import (
    BuildCorrupt,
    BuildMissing,
    DimensionMismatch,
    InvalidEvents,
    NoLiveBuild,
    NotAVector,
    RiskUnavailable,
    SpaceMismatch,
)
from index.risk.rings import describe_rings
from index.service import LookalikeService
from index.vectors import Vectors
from store.clock import from_us
from store.sequences import Int64s
from store.workspace import Workspace
from tests.index_fakes import (
    DIM,
    FIRST_TS,
    NOW,
    SPACE_ID,
    FakeAssessment,
    FakeEmbedder,
    FakeRisk,
    build_input,
    event,
    open_fake_service,
    publish_build,
    unit_vectors,
    user_name,
    write_rings_and_risk,
)

VECTORS = unit_vectors(200)
VIOLATORS = [5, 50, 51, 120]


def service_of(
    workspace: Workspace,
    config: IndexConfig | None = None,
    vectors: Vectors = VECTORS,
    violators: Sequence[int] = VIOLATORS,
) -> LookalikeService:
    config = config or IndexConfig(kind="hnsw", ef_search=200)
    given = build_input(vectors, violators=violators)
    publish_build(workspace, given, config, write_extra=write_rings_and_risk)
    return open_fake_service(workspace, config=config)


@pytest.fixture
def service(workspace: Workspace) -> LookalikeService:
    return service_of(workspace)


def ids(answer: NeighborAnswer | UnknownUser) -> list[str]:
    assert isinstance(answer, NeighborAnswer)
    return [hit.user_id for hit in answer.hits]


def test_service_tells_what_it_serves(service: LookalikeService) -> None:
    assert (service.num_users, service.num_violators, service.dim) == (200, 4, DIM)
    assert service.space_id == SPACE_ID
    assert service.search_mode == "hnsw"
    assert service.channel_names == ("behavior", "statistics")
    assert service.data_as_of == NOW - timedelta(hours=1)


def test_hits_are_look_alikes_with_their_attributes(service: LookalikeService) -> None:
    request = NeighborRequest(k=20, exact=True)
    (answer,) = service.neighbors_of_users([user_name(7)], request)
    assert isinstance(answer, NeighborAnswer)
    assert answer.user_id == user_name(7)
    assert answer.num_events == 8
    assert answer.search_mode == "exact"
    assert answer.state == "fresh"
    for hit in answer.hits:
        row = int(hit.user_id.removeprefix("user-"))
        assert hit.similarity == pytest.approx(float(VECTORS[7] @ VECTORS[row]), abs=1e-6)
        assert hit.num_events == row + 1
        assert hit.known_violator == (row in VIOLATORS)
        assert hit.policy == ("spam" if row in VIOLATORS else None)
        assert hit.channels is None


@pytest.mark.parametrize("known_violators", [True, False])
@pytest.mark.parametrize("exact", [True, False])
def test_user_is_never_its_own_neighbor(
    service: LookalikeService, known_violators: bool, exact: bool
) -> None:
    request = NeighborRequest(k=3, known_violators=known_violators, exact=exact)
    for row in (5, 7, 50):
        (answer,) = service.neighbors_of_users([user_name(row)], request)
        assert user_name(row) not in ids(answer)
        assert len(ids(answer)) == 3


def test_user_among_equal_users_is_not_its_own_neighbor(workspace: Workspace) -> None:
    vectors = VECTORS.copy()
    vectors[10:30] = vectors[9]
    service = service_of(workspace, vectors=vectors)
    for row in (9, 29):
        (answer,) = service.neighbors_of_users([user_name(row)], NeighborRequest(k=10))
        assert user_name(row) not in ids(answer)
        assert len(ids(answer)) == 10
        assert isinstance(answer, NeighborAnswer)
        equal = [hit for hit in answer.hits if hit.similarity == pytest.approx(1, abs=1e-6)]
        assert [hit.duplicates for hit in answer.hits] == [19] * 3 + [0] * 7
        assert equal == list(answer.hits[:3])


def test_graph_and_exact_search_agree(service: LookalikeService) -> None:
    names = [user_name(row) for row in range(0, 200, 7)]
    near = service.neighbors_of_users(names, NeighborRequest(k=5))
    true = service.neighbors_of_users(names, NeighborRequest(k=5, exact=True))
    assert [ids(answer) for answer in near] == [ids(answer) for answer in true]
    assert {answer.search_mode for answer in near if isinstance(answer, NeighborAnswer)} == {"hnsw"}


def test_order_is_hub_corrected_and_similarity_is_not(workspace: Workspace) -> None:
    service = service_of(workspace)
    penalty = service.build.everyone.penalty_N
    assert penalty is not None
    (answer,) = service.neighbors_of_users([user_name(7)], NeighborRequest(k=50))
    assert isinstance(answer, NeighborAnswer)
    similarity = np.array([hit.similarity for hit in answer.hits])
    rows = [int(hit.user_id.removeprefix("user-")) for hit in answer.hits]
    assert (np.diff(similarity - penalty[rows]) <= 1e-6).all()
    assert (np.diff(similarity) > 0).any()


def test_known_violators_only(service: LookalikeService) -> None:
    request = NeighborRequest(k=10, known_violators=True)
    asked, own = service.neighbors_of_users([user_name(7), user_name(50)], request)
    assert sorted(ids(asked)) == [user_name(row) for row in VIOLATORS]
    assert sorted(ids(own)) == [user_name(row) for row in VIOLATORS if row != 50]
    assert isinstance(asked, NeighborAnswer)
    assert asked.search_mode == "exact"


def test_no_known_violators_give_no_hits(workspace: Workspace) -> None:
    service = service_of(workspace, violators=[])
    (answer,) = service.neighbors_of_users([user_name(7)], NeighborRequest(known_violators=True))
    assert ids(answer) == []


def test_filter_is_exact_over_those_who_pass(service: LookalikeService) -> None:
    condition = Filter(min_events=20, max_events=60)
    request = NeighborRequest(k=100, filter=condition)
    (answer,) = service.neighbors_of_users([user_name(30)], request)
    assert isinstance(answer, NeighborAnswer)
    assert answer.search_mode == "exact_filtered"
    assert sorted(ids(answer)) == [user_name(row) for row in range(19, 60) if row != 30]
    violators = replace(request, known_violators=True)
    (answer,) = service.neighbors_of_users([user_name(30)], violators)
    assert sorted(ids(answer)) == [user_name(50), user_name(51)]


def test_filter_that_nobody_passes_gives_no_hits(service: LookalikeService) -> None:
    request = NeighborRequest(filter=Filter(min_events=10_000))
    (answer,) = service.neighbors_of_users([user_name(30)], request)
    assert ids(answer) == []


def test_channels_sum_to_the_similarity(service: LookalikeService) -> None:
    (answer,) = service.neighbors_of_users([user_name(7)], NeighborRequest(explain=True))
    assert isinstance(answer, NeighborAnswer)
    for hit in answer.hits:
        row = int(hit.user_id.removeprefix("user-"))
        assert hit.channels is not None
        assert sum(hit.channels.values()) == pytest.approx(hit.similarity, abs=1e-9)
        behavior = float(VECTORS[7, :8] @ VECTORS[row, :8])
        assert hit.channels["behavior"] == pytest.approx(behavior, abs=1e-6)


def test_unknown_users_keep_their_place(service: LookalikeService) -> None:
    asked = ["nobody", user_name(3), "", user_name(3)]
    answers = service.neighbors_of_users(asked, NeighborRequest(k=2))
    assert answers[0] == UnknownUser("nobody")
    assert answers[2] == UnknownUser("")
    assert answers[1] == answers[3]
    assert service.neighbors_of_users(["nobody"], NeighborRequest()) == [UnknownUser("nobody")]
    assert service.neighbors_of_users([], NeighborRequest()) == []


def test_more_than_there_are(service: LookalikeService) -> None:
    (answer,) = service.neighbors_of_users([user_name(0)], NeighborRequest(k=1_000))
    assert len(ids(answer)) == 199


def test_vectors_find_their_user(service: LookalikeService) -> None:
    answers = service.neighbors_of_vectors(
        np.asarray(VECTORS[[3, 4]] * 7), SPACE_ID, NeighborRequest(k=1)
    )
    assert [ids(answer) for answer in answers] == [[user_name(3)], [user_name(4)]]
    assert answers[0].num_events is None
    assert answers[0].user_id is None


def test_vectors_of_another_kind_are_refused(service: LookalikeService) -> None:
    request = NeighborRequest()
    with pytest.raises(SpaceMismatch, match="space-a") as caught:
        service.neighbors_of_vectors(VECTORS[:1], "space-b", request)
    assert caught.value.pointer == "space_id"
    with pytest.raises(DimensionMismatch):
        service.neighbors_of_vectors(unit_vectors(1, 3), SPACE_ID, request)
    with pytest.raises(NotAVector):
        service.neighbors_of_vectors(np.zeros((1, DIM), dtype=np.float32), SPACE_ID, request)


def test_events_are_embedded_on_the_spot(service: LookalikeService) -> None:
    sequences = [[event(amount=2), event(amount=1)], [event(amount=9)]]
    answers = service.neighbors_of_events(sequences, NeighborRequest(k=3))
    assert [answer.num_events for answer in answers] == [2, 1]
    query = unit_vectors(1, seed=3_002)
    expected = service.neighbors_of_vectors(query, SPACE_ID, NeighborRequest(k=3))
    assert ids(answers[0]) == ids(expected[0])
    assert service.neighbors_of_events([], NeighborRequest()) == []
    with pytest.raises(InvalidEvents):
        service.neighbors_of_events([[]], NeighborRequest())


def test_risk_of_users(service: LookalikeService) -> None:
    few, violator, unknown = service.risk_of_users([user_name(1), user_name(50), "nobody"])
    assert unknown == UnknownUser("nobody")
    assert isinstance(few, RiskAnswer)
    assert (few.status, few.band) == ("insufficient_data", "insufficient_data")
    assert few.probability is None
    assert few.log_odds is None
    assert few.interval is None
    assert few.ring is None
    assert isinstance(violator, RiskAnswer)
    assert violator.status == "ok"
    assert violator.known_violator
    assert violator.probability == pytest.approx(1 / (1 + np.exp(-4 * VECTORS[50, 0])), abs=1e-6)
    assert violator.ring is not None
    lower = violator.ring.violator_rate_lower
    assert lower == pytest.approx(beta.ppf(0.05, 2 * 3 / 200, 2 * 197 / 200 + 4))
    assert violator.ring == RingInfo(2, 5, 0, lower, 0.8)
    assert violator.num_events == 51


def write_real_rings(build: BuildInput) -> Callable[[Path], None]:
    """Return what writes the rings of the users, counted with their labels, and a risk model."""
    ring = build.users.column("ring").fill_null(-1).to_numpy().astype(np.int32)
    label = build.users.column("label").fill_null(-1).to_numpy()

    def write(directory: Path) -> None:
        write_rings_and_risk(directory)
        pq.write_table(describe_rings(build.vectors_ND, ring, label), directory / RINGS_FILE)

    return write


@pytest.mark.parametrize("num_rings", [4, 24])
def test_the_own_label_changes_nothing_in_the_own_ring(
    workspace: Workspace, num_rings: int
) -> None:
    """To the byte, and for a mate it does."""
    told = []
    number = np.arange(200)
    for violators in ([5, 50, 51, 120], [5, 51, 120]):
        build = build_input(VECTORS, violators=violators)
        ring = pa.array(number % num_rings, pa.int32(), mask=number % 5 == 4)
        users = build.users.set_column(build.users.column_names.index("ring"), "ring", ring)
        build = replace(build, users=users)
        publish_build(workspace, build, write_extra=write_real_rings(build))
        service = open_fake_service(workspace)
        mate = user_name(50 + 3 * num_rings)
        assert number[50 + 3 * num_rings] % 5 != 4
        profile, mates = service.profile(user_name(50)), service.profile(mate)
        assert isinstance(profile, UserProfile)
        assert isinstance(mates, UserProfile)
        assert mates.ring is not None
        risk = service.risk_of_users([user_name(50)])[0]
        assert isinstance(risk, RiskAnswer)
        assert risk.ring == profile.ring
        told.append((repr(profile.ring), mates.ring))
    assert told[0][0] == told[1][0] != "None"
    assert told[0][1].num_violators == told[1][1].num_violators + 1
    assert told[0][1].violator_rate_lower > told[1][1].violator_rate_lower


def test_risk_of_events(service: LookalikeService) -> None:
    short, long = service.risk_of_events([[event()], [event()] * 4])
    assert short.status == "insufficient_data"
    assert long.status == "ok"
    assert long.user_id is None
    assert long.ring is None


class HearingRisk:
    """The fake risk, and how long it was told that users have been silent."""

    feature_names = FakeRisk.feature_names

    def __init__(self) -> None:
        self.told: list[list[int]] = []

    def assess(
        self,
        query_QD: Vectors,
        num_events_Q: Int64s,
        *,
        own_ids: Sequence[str | None],
        silence_us_Q: Int64s | None = None,
    ) -> FakeAssessment:
        self.told.append([] if silence_us_Q is None else silence_us_Q.tolist())
        return FakeRisk().assess(query_QD, num_events_Q, own_ids=own_ids)


def test_risk_hears_how_long_a_user_has_been_silent(service: LookalikeService) -> None:
    """A stored user up to the build's newest event, events that come with a query up to now."""
    risk = HearingRisk()
    embedder = FakeEmbedder(space_id=SPACE_ID)
    hearing = LookalikeService(service.build, embedder, risk, IndexConfig(), clock=lambda: NOW)
    hearing.risk_of_users([user_name(9), "nobody", user_name(50)])
    last_seen = [FIRST_TS + timedelta(days=day, hours=1) for day in (9, 50)]
    newest = from_us(int(service.build.users.last_ts_us_N.max()))
    assert risk.told == [[(newest - time) // timedelta(microseconds=1) for time in last_seen]]
    hearing.risk_of_events([[event(ts="2026-03-01T11:59:00Z"), event()]])
    assert risk.told[1:] == [[60_000_000]]


def test_features_have_one_row_per_id_asked(service: LookalikeService) -> None:
    asked = [user_name(9), "nobody", user_name(2), user_name(9)]
    table = service.features_of_users(asked)
    assert table.column_names == [
        "user_id",
        "found",
        "num_events",
        "first_dimension",
        "num_events_seen",
    ]
    assert table.column("user_id").to_pylist() == asked
    assert table.column("found").to_pylist() == [True, False, True, True]
    assert table.column("num_events").to_pylist() == [10, None, 3, 10]
    first = table.column("first_dimension").to_pylist()
    assert first[1] is None
    assert first[0] == first[3] == pytest.approx(float(VECTORS[9, 0]))
    assert service.features_of_users([]).num_rows == 0
    assert service.features_of_users(["nobody"]).column("first_dimension").to_pylist() == [None]


def test_many_features_are_computed_in_parts(
    service: LookalikeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [user_name(row) for row in range(100)]
    whole = service.features_of_users(asked)
    monkeypatch.setattr("index.service.FEATURES_AT_ONCE", 7)
    assert service.features_of_users(asked).equals(whole)


def test_rings_that_are_not_numbered_are_refused(workspace: Workspace) -> None:
    def write(directory: Path) -> None:
        write_rings_and_risk(directory)
        rings = pq.read_table(directory / RINGS_FILE)
        pq.write_table(rings.slice(1), directory / RINGS_FILE)

    publish_build(workspace, build_input(VECTORS), write_extra=write)
    with pytest.raises(BuildCorrupt, match="numbered"):
        open_fake_service(workspace)


def test_build_without_risk_model_says_so(workspace: Workspace) -> None:
    publish_build(workspace, build_input(VECTORS))
    service = open_fake_service(workspace)
    with pytest.raises(RiskUnavailable):
        service.risk_of_users([user_name(1)])
    with pytest.raises(RiskUnavailable):
        service.features_of_users([user_name(1)])
    with pytest.raises(RiskUnavailable):
        service.risk_of_events([[event()]])


def test_profile(service: LookalikeService) -> None:
    profile = service.profile(user_name(50))
    assert isinstance(profile, UserProfile)
    assert profile.first_seen == FIRST_TS + timedelta(days=50)
    assert profile.last_seen == profile.first_seen + timedelta(hours=1)
    assert (profile.label, profile.policy, profile.group) == (1, "spam", None)
    assert profile.occurred_at is None
    assert profile.ring is not None
    unlabelled = service.profile(user_name(2))
    assert isinstance(unlabelled, UserProfile)
    assert unlabelled.label is None
    assert service.profile("nobody") == UnknownUser("nobody")


def test_age_makes_a_build_stale(workspace: Workspace) -> None:
    publish_build(workspace, build_input(VECTORS))
    config = IndexConfig(stale_after_seconds=3_600)
    for minutes, state in ((59, "fresh"), (60, "stale")):
        now = NOW + timedelta(minutes=minutes)
        service = open_fake_service(workspace, config=config, clock=lambda now=now: now)  # type: ignore[misc]  # mypy cannot type a default of a lambda
        assert service.freshness().state == state
        assert service.freshness().age_seconds == minutes * 60
        (answer,) = service.neighbors_of_users([user_name(1)], NeighborRequest(k=1))
        assert isinstance(answer, NeighborAnswer)
        assert answer.state == state


def test_what_is_not_there_can_not_be_opened(workspace: Workspace) -> None:
    with pytest.raises(NoLiveBuild):
        open_fake_service(workspace)
    with pytest.raises(BuildMissing):
        open_fake_service(workspace, "b1")


def test_encoder_of_another_space_is_refused(service: LookalikeService) -> None:
    with pytest.raises(BuildCorrupt, match="lookalike rebuild"):
        LookalikeService(service.build, FakeEmbedder(space_id="space-b"), FakeRisk(), IndexConfig())
    with pytest.raises(BuildCorrupt):
        LookalikeService(service.build, FakeEmbedder(dim=3), FakeRisk(), IndexConfig())


ERASED = [user_name(row) for row in (*range(20, 90), 120)]
LEFT = [row for row in range(200) if user_name(row) not in ERASED]
REQUESTS = [
    NeighborRequest(k=25, exact=True),
    NeighborRequest(k=25),
    NeighborRequest(k=1, known_violators=True),
    NeighborRequest(k=25, filter=Filter(min_events=11)),
    NeighborRequest(k=1_000),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_erased_users_are_no_neighbors_and_take_no_place(
    service: LookalikeService, request_: NeighborRequest
) -> None:
    """The oracle is a longer answer of all users, the erased ones left out."""
    asked = [user_name(row) for row in (7, 95, 199)]
    everyone = replace(request_, k=1_000)
    whole = [ids(answer) for answer in service.neighbors_of_users(asked, everyone)]
    expected = [[one for one in hits if one not in ERASED][: request_.k] for hits in whole]
    erased = service.without_users(ERASED)
    assert [ids(answer) for answer in erased.neighbors_of_users(asked, request_)] == expected
    of_vectors = erased.neighbors_of_vectors(VECTORS[[7]], SPACE_ID, request_)
    assert not set(ids(of_vectors[0])) & set(ERASED)
    of_events = erased.neighbors_of_events([[event(amount=2.0)]], request_)
    assert not set(ids(of_events[0])) & set(ERASED)
    assert len(ids(of_events[0])) == len(ids(of_vectors[0]))


@pytest.mark.parametrize("exact", [True, False])
def test_where_nearly_all_look_alikes_are_erased_the_others_are_still_found(
    workspace: Workspace, exact: bool
) -> None:
    vectors = VECTORS.copy()
    vectors[10:150] = vectors[9]
    vectors[10:150:7] = unit_vectors(20, seed=4) * 1e-3 + vectors[9]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    service = service_of(workspace, vectors=vectors)
    erased = service.without_users([user_name(row) for row in range(10, 148)])
    (answer,) = erased.neighbors_of_users([user_name(9)], NeighborRequest(k=12, exact=exact))
    assert len(ids(answer)) == 12
    assert ids(answer)[:2] == [user_name(149), user_name(148)]


def test_an_erased_user_is_unknown_to_everything(service: LookalikeService) -> None:
    erased = service.without_users(ERASED)
    gone, there = user_name(50), user_name(7)
    unknown = UnknownUser(gone)
    assert erased.profile(gone) == unknown
    assert erased.profile(there) == service.profile(there)
    found = erased.neighbors_of_users([gone, there], NeighborRequest(k=3))
    assert found[0] == unknown
    assert len(ids(found[1])) == 3
    risks = erased.risk_of_users([gone, there])
    assert risks == [unknown, *service.risk_of_users([there])]
    features = erased.features_of_users([gone, there])
    assert features["found"].to_pylist() == [False, True]
    assert features.slice(1) == service.features_of_users([there])


def test_erased_users_are_not_counted_or_listed(service: LookalikeService) -> None:
    erased = service.without_users(ERASED)
    assert (erased.num_users, erased.num_violators) == (len(LEFT), 1)
    listed = [*erased.user_ids(0, 50), *erased.user_ids(50, 1_000)]
    assert listed == [user_name(row) for row in LEFT]
    assert service.num_users == 200, "the service in use is not changed"
    assert service.user_ids(198, 300) == [user_name(198), user_name(199)]


def test_a_service_may_be_opened_without_erased_users(
    workspace: Workspace, service: LookalikeService
) -> None:
    opened = LookalikeService.open(
        workspace,
        config=IndexConfig(),
        erased_users=ERASED,
        load_embedder=lambda _: FakeEmbedder(),
        load_risk_model=lambda _: FakeRisk(),
    )
    assert opened.num_users == len(LEFT)
    assert opened.without_users(ERASED[:3]) is opened
