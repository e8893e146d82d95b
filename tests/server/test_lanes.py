"""Lanes: threads for what blocks, results back on the loop, nobody waits for somebody else's store."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from queue import SimpleQueue

import pytest

from mpxtarget.server import lanes
from mpxtarget.server.lanes import THREADS, Completions, Done, Lane, Work
from support.stores import PATIENCE


class Job:
    """A job that tells when it runs and ends when it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.running = threading.Event()
        self.may_end = threading.Event()
        self.done: list[OSError | None] = []
        self.error = error

    def work(self) -> None:
        """In the thread."""
        self.running.set()
        assert self.may_end.wait(PATIENCE)
        if self.error is not None:
            raise self.error

    def finished(self, error: OSError | None) -> None:
        """On the loop."""
        self.done.append(error)

    def started(self) -> bool:
        """Wait until it runs."""
        return self.running.wait(PATIENCE)


@pytest.fixture
def completions() -> Completions:
    return Completions()


def drain(completions: Completions) -> int:
    """Take in what has finished; waits for the first."""
    ready, _, _ = select.select([completions.fd], [], [], PATIENCE)
    assert ready
    return completions.drain()


def submit(lane: Lane, count: int) -> list[Job]:
    """Give jobs to a lane."""
    jobs = [Job() for _ in range(count)]
    for job in jobs:
        lane.submit(job.work, job.finished)
    return jobs


@pytest.mark.conformance("TMF-023")
def test_jobs_of_one_lane_run_at_the_same_time(completions: Completions) -> None:
    lane = Lane(completions, "test")
    jobs = submit(lane, THREADS)
    assert all(job.started() for job in jobs)
    for job in reversed(jobs):  # and end in any order
        job.may_end.set()
        assert drain(completions) == 1
        assert job.done == [None]
    assert lane.pending == 0


def test_a_lane_has_no_more_threads_than_it_may(completions: Completions) -> None:
    lane = Lane(completions, "a lane of this test")
    jobs = submit(lane, THREADS * 3)
    assert all(job.started() for job in jobs[:THREADS])
    mine = [thread for thread in threading.enumerate() if thread.name == "a lane of this test"]
    assert len(mine) == THREADS
    assert not any(job.running.is_set() for job in jobs[THREADS:])
    for job in jobs:
        job.may_end.set()
    while lane.pending:
        drain(completions)
    assert all(job.done == [None] for job in jobs)


def test_a_thread_serves_many_jobs_in_their_order(
    completions: Completions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "THREADS", 1)
    lane = Lane(completions, "test")
    order: list[int] = []

    def job(number: int) -> tuple[Work, Done]:
        return lambda: order.append(number), lambda error: None

    for number in range(200):
        lane.submit(*job(number))
    while lane.pending:
        drain(completions)
    assert order == list(range(200))


@pytest.mark.conformance("TMF-023")
def test_a_stuck_lane_does_not_stall_another(completions: Completions) -> None:
    stuck, quick = Lane(completions, "stuck"), Lane(completions, "quick")
    waiting = submit(stuck, THREADS * 2)
    assert all(job.started() for job in waiting[:THREADS])
    (job,) = submit(quick, 1)
    job.may_end.set()
    assert drain(completions) == 1
    assert job.done == [None]
    assert (stuck.pending, quick.pending) == (THREADS * 2, 0)
    for each in waiting:
        each.may_end.set()
    while stuck.pending:
        drain(completions)


class SlowToWake(SimpleQueue[tuple[Work, Done]]):
    """A queue whose reader has a job and is not yet back, which a busy interpreter makes of any queue."""

    def __init__(self) -> None:
        super().__init__()
        self.awake = threading.Event()
        self.awake.set()
        self.taken = threading.Event()

    def get(self, block: bool = True, timeout: float | None = None) -> tuple[Work, Done]:
        job = super().get(block, timeout)
        self.taken.set()
        assert self.awake.wait(PATIENCE)
        return job


@pytest.mark.conformance("TMF-023")
def test_a_job_never_waits_for_a_thread_that_has_one_already(completions: Completions) -> None:
    lane = Lane(completions, "test")
    queue = lane._jobs = SlowToWake()
    (first,) = submit(lane, 1)
    first.may_end.set()
    assert first.started()
    drain(completions)  # one thread, idle
    queue.taken.clear()
    queue.awake.clear()
    (second,) = submit(lane, 1)
    assert queue.taken.wait(PATIENCE)
    (third,) = submit(lane, 1)  # the idle thread has taken the second, and nobody knows yet
    queue.awake.set()
    assert second.started()
    assert third.started(), "it has to get a thread of its own"
    second.may_end.set()
    third.may_end.set()
    while lane.pending:
        drain(completions)


def test_threads_without_work_leave_and_come_back(
    completions: Completions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "IDLE", 0.001)
    lane = Lane(completions, "short-lived")
    for _ in range(5):
        (job,) = submit(lane, 1)
        job.may_end.set()
        while lane.pending:
            drain(completions)
        for thread in threading.enumerate():
            if thread.name == "short-lived":
                thread.join(PATIENCE)
        assert lane._threads == 0


@pytest.mark.conformance("SEC-011")
@pytest.mark.parametrize("error", [OSError(28, "no space"), ValueError("a bug"), KeyError("another")])
def test_whatever_a_job_raises_comes_back_as_an_os_error(completions: Completions, error: Exception) -> None:
    lane = Lane(completions, "test")
    job = Job(error)
    job.may_end.set()
    lane.submit(job.work, job.finished)
    drain(completions)
    (came,) = job.done
    assert isinstance(came, OSError)
    assert came is error or came.errno is None


@pytest.mark.conformance("SEC-011")
def test_one_result_that_cannot_be_handled_does_not_lose_the_others(completions: Completions) -> None:
    came: list[int] = []

    def bad(error: OSError | None) -> None:
        raise KeyError("a bug of ours")

    def good(number: int) -> Callable[[OSError | None], None]:
        return lambda error: came.append(number)

    for done in (good(1), bad, good(2), bad, good(3)):
        completions.put(done, None)
    assert drain(completions) == 5
    assert came == [1, 2, 3]


def test_many_results_are_one_wake_up(completions: Completions) -> None:
    for _ in range(1000):
        completions.put(lambda error: None, None)
    assert drain(completions) == 1000
    assert not select.select([completions.fd], [], [], 0)[0]
    assert completions.drain() == 0


def test_results_may_come_after_the_end(completions: Completions) -> None:
    completions.close()
    completions.put(lambda error: None, None)
    assert completions.drain() == 1


@pytest.mark.conformance("SEC-011")
def test_jobs_fail_when_no_thread_can_be_started_and_run_when_one_can_again(
    completions: Completions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    lane = Lane(completions, "test")
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuse)
        lost = submit(lane, 2)
        assert drain(completions) == 2
    assert all(isinstance(job.done[0], OSError) for job in lost)
    assert lane.pending == 0
    (job,) = submit(lane, 1)
    assert job.started()
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuse)
        (second,) = submit(lane, 1)  # the thread there is takes it when it is free
    job.may_end.set()
    assert second.started()
    second.may_end.set()
    while not second.done:
        drain(completions)
    assert (job.done, second.done) == ([None], [None])
