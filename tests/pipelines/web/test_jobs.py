"""One job a device, the others in line; what is cancelled or left behind takes no time and no disk."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from joyvasa.errors import InputError
from joyvasa.models import AnimationConfig
from pipelines.web.jobs import ENDED, Job, JobQueue, Made, State
from pipelines.web.limits import Limits

LIMIT_S = 20.0


def until(condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Device:
    """Works on a job until it is told to finish it."""

    def __init__(self):
        self.running: list[Job] = []
        self.most = 0
        self.go = threading.Event()

    def make(self, job):
        self.running.append(job)
        self.most = max(self.most, len(self.running))
        try:
            while not self.go.wait(0.005):
                job.advance("frames", 1, 2)
            return made(job)
        finally:
            self.running.remove(job)


def made(job):
    video = job.folder / "video.mp4"
    video.write_bytes(b"video")
    return Made(video, video, 2, 0.08, 64, 64, 0.1, [], [], "")


@pytest.fixture
def device():
    return Device()


@pytest.fixture
def queue(device):
    queue = JobQueue([device.make], Limits(waiting=3, kept=2))
    yield queue
    queue.close()


@pytest.fixture
def job(tmp_path):
    numbers = iter(range(1000))

    def make(session="a"):
        folder = tmp_path / f"job{next(numbers)}"
        folder.mkdir()
        portrait, sound = folder / "portrait.jpg", folder / "sound.wav"
        for file in (portrait, sound):
            file.write_bytes(b"upload")
        return Job(session, folder, portrait, sound, ("me.jpg", "talk.wav"), 1.0, AnimationConfig(models="random"))

    return make


def test_a_device_works_on_one_job_at_a_time_in_the_order_of_their_coming(queue, device, job):
    jobs = [job(str(number)) for number in range(4)]
    for one in jobs:
        queue.submit(one)
        until(lambda: device.running)
    assert [one.state for one in jobs] == [State.RUNNING, State.WAITING, State.WAITING, State.WAITING]
    assert queue.ahead(jobs[3]) == jobs[:3]
    assert queue.ahead(jobs[0]) == []
    device.go.set()
    until(lambda: all(one.state is State.DONE for one in jobs))
    assert device.most == 1


def test_two_devices_work_on_two_jobs(job):
    devices = [Device(), Device()]
    queue = JobQueue([device.make for device in devices], Limits())
    jobs = [job(str(number)) for number in range(3)]
    for one in jobs:
        queue.submit(one)
    until(lambda: all(device.running for device in devices))
    assert [one.state for one in jobs] == [State.RUNNING, State.RUNNING, State.WAITING]
    queue.close()


def test_a_full_line_is_told(queue, device, job):
    for number in range(4):
        queue.submit(job(str(number)))
        until(lambda: device.running)
    with pytest.raises(InputError, match="3 videos are waiting"):
        queue.submit(job("late"))


def test_a_browser_has_one_job_at_a_time(queue, device, job):
    first, second = job("a"), job("a")
    queue.submit(first)
    until(lambda: device.running)
    queue.submit(second)
    until(lambda: first.state is State.CANCELLED and second.state is State.RUNNING)


def test_a_cancelled_job_ends_at_its_next_step_and_leaves_no_file(queue, device, job):
    running, waiting = job("a"), job("b")
    queue.submit(running)
    until(lambda: device.running)
    queue.submit(waiting)
    for one in (waiting, running):
        queue.cancel(one.id)
    until(lambda: running.state is State.CANCELLED)
    assert waiting.state is State.CANCELLED
    until(lambda: not running.folder.exists())
    assert not waiting.folder.exists()
    assert queue.find(running.id) is None


def test_uploads_are_gone_when_the_video_is_there_and_the_video_when_its_browser_leaves(queue, device, job):
    device.go.set()
    one, other = job("a"), job("b")
    queue.submit(one)
    queue.submit(other)
    until(lambda: one.state is State.DONE and other.state is State.DONE)
    assert [path.name for path in one.folder.iterdir()] == ["video.mp4"]
    queue.leave("a")
    assert not one.folder.exists()
    assert queue.find(one.id) is None
    assert queue.find(other.id) is other


def test_a_browser_that_leaves_takes_its_running_job_along(queue, device, job):
    one = job("a")
    queue.submit(one)
    until(lambda: device.running)
    queue.leave("a")
    until(lambda: one.state in ENDED and not one.folder.exists())
    assert queue.find(one.id) is None


def test_only_the_newest_videos_are_kept(queue, device, job):
    device.go.set()
    jobs = [job(str(number)) for number in range(5)]
    for one in jobs:
        queue.submit(one)
        until(lambda: one.state is State.DONE)  # noqa: B023 (called within this turn)
    assert [one.folder.exists() for one in jobs] == [False, False, True, True, True]


def test_a_failure_is_told_with_the_names_that_the_visitor_knows(job):
    def fail(job):
        raise InputError("image_unreadable", f"{job.portrait}: not a picture")

    def crash(job):
        raise ValueError(f"odd sample in {job.sound}")

    queue = JobQueue([lambda job: fail(job) if job.session == "fail" else crash(job)], Limits())
    failed, crashed = job("fail"), job("crash")
    for one in (failed, crashed):
        queue.submit(one)
    until(lambda: failed.state is State.FAILED and crashed.state is State.FAILED)
    assert failed.error == "image_unreadable: me.jpg: not a picture"
    assert crashed.error == "unexpected_error: ValueError: odd sample in talk.wav"
    queue.close()


def test_ids_cannot_be_guessed(job):
    assert len({job().id for _ in range(50)}) == 50
    assert len(job().id) == 32


def test_closing_ends_running_and_waiting_jobs(device, job):
    queue = JobQueue([device.make], Limits())
    jobs = [job("a"), job("b")]
    for one in jobs:
        queue.submit(one)
    queue.close()
    assert [one.state for one in jobs] == [State.CANCELLED, State.CANCELLED]
    assert not any(Path(one.folder).exists() for one in jobs)
    assert replace(jobs[0]).unwanted.is_set()
