"""How large the simulated platform is, and how hard it is to tell its users apart."""

from datetime import UTC, datetime

from pydantic import BaseModel, Field


class SimulatorConfig(BaseModel, frozen=True, extra="forbid"):
    """Parameters of a simulated platform; the defaults make about a million events.

    Shares are of all users. Difficulty lies in `evader_kept_places`, `blatancy` and
    `policy_noise`: they were set so that simple methods get some of it right and much wrong.
    """

    num_users: int = Field(20_000, ge=100, le=100_000_000, description="users of the platform")
    events_per_user: float = Field(50.0, gt=2.0, le=1000.0, description="mean events of a user")
    seed: int = Field(0, ge=0, description="equal seeds and settings give equal files")
    num_days: int = Field(90, ge=20, le=3650, description="days that the records cover")
    starts_at: datetime = Field(datetime(2025, 3, 1, tzinfo=UTC), description="first day, UTC")
    users_per_chunk: int = Field(
        10_000, ge=100, le=200_000, description="users made at once; bounds the memory"
    )
    num_places: int | None = Field(
        None, ge=100, description="places to visit; a fifth of the users (at least 400) if absent"
    )
    share_loners: float = Field(0.055, ge=0, le=0.3, description="violators acting alone")
    share_ring_members: float = Field(0.025, ge=0, le=0.3, description="violators in rings")
    share_evaders: float = Field(0.035, ge=0, le=0.05, description="banned users come back")
    share_newcomers: float = Field(
        0.08, ge=0, le=0.3, description="innocents who tried the tutorial and left"
    )
    share_household_members: float = Field(
        0.03, ge=0, le=0.3, description="innocents who share a home, hours and places"
    )
    ring_size_max: int = Field(12, ge=4, le=100, description="largest ring; the smallest is 4")
    evader_kept_places: float = Field(
        0.7, ge=0, le=1, description="chance that an evader still visits a favorite place"
    )
    evader_pace_change: float = Field(
        0.6, ge=0, description="change of an evader's pace, standard deviation of the log"
    )
    blatancy: float = Field(
        0.55, gt=0, lt=1, description="mean share of a violator's events that show the violation"
    )
    share_caught: float = Field(0.9, ge=0, le=1, description="violators caught sooner or later")
    share_evaders_caught: float = Field(0.6, ge=0, le=1, description="evaders caught again")
    detection_delay_hours: float = Field(
        12.0, gt=0, description="median time from a ban to when the label is known"
    )
    review_days: float = Field(
        7.0, gt=0, description="a user not caught for so long gets the label benign"
    )
    share_reviewed: float = Field(0.9, ge=0, le=1, description="users who get that label at all")
    share_false_alarms: float = Field(
        0.004, ge=0, le=0.1, description="innocents labelled violators; half are revoked later"
    )
    policy_noise: float = Field(
        0.05, ge=0, le=1, description="caught violators recorded under another policy"
    )

    @property
    def places(self) -> int:
        """Number of places of this platform."""
        return self.num_places or max(400, self.num_users // 5)
