import threading
from functools import partial

import pytest

from index.background import Background

SECONDS_MAX = 30.0


def running_first(background: Background, done: list[str]) -> threading.Event:
    """Have the job `first` run; return what lets it end."""
    started, go_on = threading.Event(), threading.Event()

    def first() -> None:
        started.set()
        assert go_on.wait(SECONDS_MAX)
        done.append("first")

    assert background.offer("first", first)
    assert started.wait(SECONDS_MAX)
    return go_on


def test_jobs_are_done_one_after_another_in_their_order() -> None:
    background, done = Background("test", waiting_max=5), list[int]()
    for number in range(5):
        assert background.offer(number, partial(done.append, number))
    assert background.wait(SECONDS_MAX)
    assert done == [0, 1, 2, 3, 4]


def test_a_job_that_waits_or_runs_is_not_taken_twice_and_few_wait() -> None:
    background, done = Background("test", waiting_max=2), list[str]()
    go_on = running_first(background, done)
    assert not background.offer("first", partial(done.append, "first"))
    assert background.offer("second", partial(done.append, "second"))
    assert not background.offer("second", partial(done.append, "second"))
    assert background.offer("third", partial(done.append, "third"))
    assert not background.offer("fourth", partial(done.append, "fourth")), "too many wait"
    assert not background.wait(0.0)
    go_on.set()
    assert background.wait(SECONDS_MAX)
    assert done == ["first", "second", "third"]
    assert background.offer("first", partial(done.append, "again"))
    assert background.wait(SECONDS_MAX)
    assert done[-1] == "again"


def test_jobs_that_wait_are_dropped_at_the_close_and_the_one_that_runs_is_done() -> None:
    background, done = Background("test", waiting_max=2), list[str]()
    go_on = running_first(background, done)
    assert background.offer("second", partial(done.append, "second"))
    background.close()
    assert not background.offer("third", partial(done.append, "third"))
    go_on.set()
    assert background.wait(SECONDS_MAX)
    assert not background.offer("fourth", partial(done.append, "fourth"))
    assert done == ["first"]


def test_a_job_that_raises_is_logged_and_the_next_is_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise ValueError("not a number")

    background, done = Background("test", waiting_max=5), list[int]()
    background.offer("bad", fail)
    background.offer("good", partial(done.append, 1))
    assert background.wait(SECONDS_MAX)
    assert done == [1]
    assert "not a number" in caplog.text


def test_the_thread_ends_when_nothing_is_left() -> None:
    background = Background("a-name-of-its-own", waiting_max=1)
    background.offer("job", lambda: None)
    assert background.wait(SECONDS_MAX)
    for thread in threading.enumerate():
        if thread.name == "a-name-of-its-own":
            thread.join(SECONDS_MAX)
            assert not thread.is_alive()
