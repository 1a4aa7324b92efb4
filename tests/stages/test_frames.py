import pytest
import torch

from stages.base import Failed, FailureKind
from stages.frames import RenderJob, split_into_batches


def playing(n_frames):
    return RenderJob(feature=torch.zeros(1), source_keypoints=torch.zeros(1), keypoints=torch.zeros(n_frames, 1))


def spans(records, cut):
    return [[(records.index(part.playing), part.start, part.stop) for part in batch] for batch in cut]


def test_mixed_batches_are_full_but_the_last():
    records = [playing(n) for n in (3, 13, 1, 2)]
    found = spans(records, split_into_batches(records, 8, mixed=True))
    assert found == [[(0, 0, 3), (1, 0, 5)], [(1, 5, 13)], [(2, 0, 1), (3, 0, 2)]]


def test_without_mixing_each_record_has_its_own_batches():
    records = [playing(n) for n in (3, 13)]
    assert spans(records, split_into_batches(records, 8, mixed=False)) == [[(0, 0, 3)], [(1, 0, 8)], [(1, 8, 13)]]


@pytest.mark.parametrize("batch_frames", [1, 2, 7, 100])
@pytest.mark.parametrize("mixed", [False, True])
def test_every_frame_is_rendered_once_and_in_order(batch_frames, mixed):
    records = [playing(n) for n in (5, 1, 9)]
    parts = [part for batch in spans(records, split_into_batches(records, batch_frames, mixed=mixed)) for part in batch]
    assert [(n, f) for n, start, stop in parts for f in range(start, stop)] == [
        (n, f) for n, size in enumerate((5, 1, 9)) for f in range(size)
    ]


def test_a_record_that_fails_on_the_way_is_left_out_from_then_on():
    records = [playing(20), playing(4)]
    cut = split_into_batches(records, 8, mixed=True)
    next(cut)
    records[0].failure = Failed(FailureKind.IO, "encoding_failed", "gone")
    assert spans(records, cut) == [[(1, 0, 4)]]
