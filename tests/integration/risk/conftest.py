"""The platform is simulated, trained on and assessed once."""

import pytest

from tests.integration.risk.platform import (
    Outcome,
    Records,
    make_workspace,
    simulate_records,
    train_and_fit,
)


@pytest.fixture(scope="package")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    return simulate_records(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="package")
def outcome(records: Records, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What comes of what was known at the time, and of nothing else."""
    return train_and_fit(make_workspace(tmp_path_factory.mktemp("known"), records.known()))
