"""Jobs that run at the same time."""

import threading

import pytest

from tmkd_deploy.errors import RequestError
from tmkd_deploy.pipeline.concurrency import run_concurrently


def test_jobs_run_at_the_same_time():
    together = threading.Barrier(3, timeout=20)
    run_concurrently([together.wait] * 3)


def test_every_job_ends_before_the_first_error_is_raised():
    ended = threading.Event()

    def fails():
        raise RequestError("The first.", advice="None.")

    def ends_later():
        ended.wait(0.05)
        ended.set()
        raise RequestError("The second.", advice="None.")

    with pytest.raises(RequestError, match=r"The first\."):
        run_concurrently([fails, ends_later])
    assert ended.is_set()


def test_no_jobs_are_done_at_once():
    run_concurrently([])
