from benchmarks.early_risk import without_far_folders


def test_a_command_keeps_the_data_set_and_no_folder_above() -> None:
    called = "early_risk.py /home/someone/data/some-set/events.parquet --cut 2020-01-01 -o out.json"
    kept = "early_risk.py some-set/events.parquet --cut 2020-01-01 -o out.json"
    assert without_far_folders(called) == kept
