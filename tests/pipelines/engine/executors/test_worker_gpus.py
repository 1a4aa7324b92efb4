"""Workers see the GPUs that Ray assigned to them."""

import os
from types import SimpleNamespace

import pytest
import ray

from pipelines.engine.executors.ray import StageWorker
from tests.pipelines.engine.toy_stages import Draw


@pytest.mark.parametrize(("assigned", "visible"), [({}, ""), ({"GPU": []}, ""), ({"GPU": ["2"]}, "0,1,2")])
def test_a_worker_without_a_share_of_a_gpu_sees_none(monkeypatch, assigned, visible):
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_accelerator_ids=lambda: assigned))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")  # Ray itself narrows it for workers with a share
    StageWorker(Draw("render"), None)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
