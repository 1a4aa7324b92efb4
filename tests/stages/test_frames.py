import pytest
import torch

from stages.base import Failed, FailureKind
from stages.frames import RenderJob, split_into_batches


def job(n_frames):
    return RenderJob(feature=torch.zeros(1), source_keypoints=torch.zeros(1), keypoints=torch.zeros(n_frames, 1))


def spans(jobs, batches):
    return [[(jobs.index(part.job), part.start, part.stop) for part in batch] for batch in batches]


def test_mixed_batches_are_full_except_the_last():
    jobs = [job(n) for n in (3, 13, 1, 2)]
    batches = spans(jobs, split_into_batches(jobs, 8, mixed=True))
    assert batches == [[(0, 0, 3), (1, 0, 5)], [(1, 5, 13)], [(2, 0, 1), (3, 0, 2)]]


def test_without_mixing_each_record_has_its_own_batches():
    jobs = [job(n) for n in (3, 13)]
    assert spans(jobs, split_into_batches(jobs, 8, mixed=False)) == [[(0, 0, 3)], [(1, 0, 8)], [(1, 8, 13)]]


@pytest.mark.parametrize("batch_frames", [1, 2, 7, 100])
@pytest.mark.parametrize("mixed", [False, True])
def test_every_frame_is_rendered_once_and_in_order(batch_frames, mixed):
    jobs = [job(n) for n in (5, 1, 9)]
    parts = [part for batch in spans(jobs, split_into_batches(jobs, batch_frames, mixed=mixed)) for part in batch]
    assert [(n, f) for n, start, stop in parts for f in range(start, stop)] == [
        (n, f) for n, size in enumerate((5, 1, 9)) for f in range(size)
    ]


def test_a_record_that_fails_is_skipped_from_then_on():
    jobs = [job(20), job(4)]
    batches = split_into_batches(jobs, 8, mixed=True)
    next(batches)
    jobs[0].failure = Failed(FailureKind.IO, "encoding_failed", "gone")
    assert spans(jobs, batches) == [[(1, 0, 4)]]
