"""Errors of the jobs, and whose fault each one is.

JobError
├── BenchmarkFailed      ours: a measurement failed; it told why
├── BenchmarkRegressed   ours: a measurement is worse than its baseline; exit status 3
├── DemoRefused          ours: the gate refused the build of the demo
├── UsageError           the caller's: an argument that makes no sense; exit status 2
├── LakeMoved            nobody's: the lake was written to while it was read; try again
├── NotADemo             the caller's: a folder for the demo that has other things in it
├── NothingToEvaluate    the caller's: no event before the cut, so nothing to learn from
├── UserListInvalid      the caller's: a file that names no user, or is no text
└── UserUnknown          the caller's: the live build has no user of this id
"""


class JobError(Exception):
    """A job could not do what it was asked to do; the message is one line."""


class BenchmarkFailed(JobError):
    """A measurement ended without a result."""


class BenchmarkRegressed(JobError):
    """Figures are worse than those of the baseline, beyond their noise."""


class DemoRefused(JobError):
    """The demo made a build that the gate refused."""


class UsageError(JobError):
    """An argument is missing, malformed or out of its range."""


class LakeMoved(JobError):
    """Users came or went while the lake was read."""


class NotADemo(JobError):
    """The demo does not write into a folder that has other things in it."""


class NothingToEvaluate(JobError):
    """There is nothing before the cut to train on."""


class UserListInvalid(JobError):
    """A file of users names none, or is no text."""


class UserUnknown(JobError):
    """The build has no user of this id."""
