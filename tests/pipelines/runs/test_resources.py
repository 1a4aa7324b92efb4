from fractions import Fraction

import pytest

from joyvasa.config import load_config
from joyvasa.errors import ConfigError
from pipelines.engine.executors.ray import RayExecutor
from pipelines.runs.config import RayOptions, RunConfig, StageOptions
from pipelines.runs.generate import build_video_pipeline
from pipelines.runs.resources import count_offered_cpus, count_rendering_cores, count_run_gpus, has_light_renderer

MODES = [("human",), ("animal",), ("human", "animal")]


@pytest.mark.parametrize("modes", MODES)
@pytest.mark.parametrize("gpus", [1, 3])
def test_the_workers_fill_each_gpu_exactly(modes, gpus):
    pipeline = build_video_pipeline(RunConfig(), "/run", dict.fromkeys(modes, 99), gpus=gpus)
    assert sum(Fraction(spec.num_gpus) * spec.workers for spec in pipeline.stages) == gpus
    with_networks = {spec.name: spec for spec in pipeline.stages if spec.num_gpus}
    assert {spec.output for spec in with_networks.values()} == {"portrait", "speech", "motion", "render"}
    assert all(spec.workers == gpus for spec in with_networks.values())
    shares = [spec.num_gpus for spec in with_networks.values()]
    assert shares == sorted(shares), "small shares start first, so that all workers fit"


@pytest.mark.parametrize("modes", MODES)
def test_only_stages_of_modes_that_occur_are_built(modes):
    names = [spec.name for spec in build_video_pipeline(RunConfig(), "/run", dict.fromkeys(modes, 99)).stages]
    assert [name in names for name in ("portrait", "render")] == ["human" in modes] * 2
    assert [name in names for name in ("animal_portrait", "animal_render")] == ["animal" in modes] * 2


def build_specs(modes, gpus=0, *, stages=None, cores=1, light=False, monkeypatch):
    """Build the stages of a pipeline on a machine with a given number of cores."""
    monkeypatch.setattr("pipelines.runs.generate.count_rendering_cores", lambda config: cores)
    monkeypatch.setattr("pipelines.runs.generate.has_light_renderer", lambda config, modes: light)
    return build_video_pipeline(RunConfig(stages=stages or {}), "/run", dict.fromkeys(modes, 99), gpus=gpus).by_name


def test_options_override_declarations(monkeypatch):
    stages = {"animal_render": StageOptions(workers=5, num_gpus=1.0)}
    specs_by_name = build_specs(("human", "animal"), 2, stages=stages, monkeypatch=monkeypatch)
    assert (specs_by_name["animal_render"].workers, specs_by_name["animal_render"].num_gpus) == (5, 1.0)
    workers = [specs_by_name[name].workers for name in ("render", "score", "hash_inputs")]
    assert (workers, specs_by_name["score"].num_gpus) == ([2, 2, 1], 0.0)


def test_no_stage_has_more_workers_than_records_unless_configured():
    config = RunConfig(stages={"score": StageOptions(workers=9)})
    specs_by_name = build_video_pipeline(config, "/run", {"human": 3, "animal": 1}, gpus=64).by_name
    names = ("render", "animal_render", "motion", "hash_inputs", "score")
    assert [specs_by_name[name].workers for name in names] == [3, 1, 4, 1, 9]


def test_an_option_of_a_stage_that_no_pipeline_has_is_refused():
    with pytest.raises(ConfigError, match=r"no option stages\.rendr; did you mean stages\.render\?"):
        build_video_pipeline(RunConfig(stages={"rendr": StageOptions(workers=1)}), "/run", {"human": 99})
    build_video_pipeline(RunConfig(stages={"animal_render": StageOptions(workers=1)}), "/run", {"human": 99})


def test_without_a_gpu_all_workers_fit_on_this_machine():
    pipeline = build_video_pipeline(RunConfig(), "/run", {"human": 99, "animal": 99})
    assert not any(spec.num_gpus for spec in pipeline.stages)
    assert count_offered_cpus(pipeline) >= sum(spec.workers * spec.num_cpus for spec in pipeline.stages)


def test_without_a_gpu_rendering_uses_all_cores_unless_configured_otherwise(monkeypatch):
    stages = {"animal_render": StageOptions(num_cpus=3)}
    specs_by_name = build_specs(("human", "animal"), stages=stages, cores=8, monkeypatch=monkeypatch)
    assert [specs_by_name[name].num_cpus for name in ("render", "animal_render", "motion", "hash_inputs")] == [
        8,
        3,
        1,
        0.1,
    ]
    assert (specs_by_name["render"].workers, specs_by_name["motion"].workers) == (1, 1)
    assert build_specs(("human",), 1, cores=8, monkeypatch=monkeypatch)["render"].num_cpus == 1


@pytest.mark.parametrize(("cores", "workers", "threads"), [(1, 1, 1), (8, 8, 1), (16, 16, 1), (64, 16, 4)])
def test_small_networks_render_a_separate_video_on_each_core(cores, workers, threads, monkeypatch):
    stages = {"animal_render": StageOptions(workers=3)}
    specs_by_name = build_specs(("human", "animal"), stages=stages, cores=cores, light=True, monkeypatch=monkeypatch)
    render = specs_by_name["render"]
    assert (render.workers, render.num_cpus, specs_by_name["animal_render"].workers) == (workers, threads, 3)
    assert build_specs(("human",), 1, cores=cores, light=True, monkeypatch=monkeypatch)["render"].workers == 1


@pytest.mark.parametrize(("models", "light"), [("sample", True), ("joyvasa", False), ("random", False)])
def test_the_built_in_model_is_small_but_the_published_one_is_not(models, light):
    config = load_config(RunConfig, settings=[f"animation.models={models}"])
    assert has_light_renderer(config, ("human",)) == light
    assert has_light_renderer(config, ("human", "animal")) == light


def test_cores_of_a_cluster_are_unknown(monkeypatch):
    monkeypatch.setattr("pipelines.runs.resources.count_usable_cores", lambda: 8)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert count_rendering_cores(RunConfig()) == 8
    assert count_rendering_cores(RunConfig(ray=RayOptions(address="auto"))) == 1
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # inside of a submitted job
    assert count_rendering_cores(RunConfig()) == 1
    assert count_rendering_cores(RunConfig(executor="local")) == 8


def test_a_cluster_without_gpus_is_reported_in_a_submitted_job_too(monkeypatch):
    monkeypatch.setattr(RayExecutor, "count_gpus", staticmethod(lambda config: 0))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert count_run_gpus(RunConfig()) == 0
    for config in (RunConfig(ray=RayOptions(address="10.0.0.1:6379")), RunConfig()):
        with pytest.raises(ConfigError, match=r"gpus_unknown: 10\.0\.0\.1:6379: the cluster has no GPU now"):
            count_run_gpus(config)
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
