"""Every section is there, and every figure follows from what was measured."""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from joyvasa.config import load_config
from joyvasa.errors import ConfigError
from manifests.errors import ManifestError
from pipelines.bench import networks
from pipelines.bench.bench import MEASURES, run_bench
from pipelines.bench.config import SECTIONS, BenchConfig
from pipelines.bench.document import Document
from pipelines.bench.encoding import PRESETS
from pipelines.bench.engine import measure_executor
from pipelines.bench.table import tables
from pipelines.runs.config import RunConfig
from pipelines.runs.rates import rates_of_bench

NETWORKS = {
    "appearance_feature_extractor",
    "motion_extractor",
    "warping_module",
    "spade_generator",
    "stitching",
    "motion_generator.encode",
    "motion_generator.denoise",
}
HERE = tuple(name for name in SECTIONS if name != "engine")  # without Ray


def tiny(**amounts):
    settings = ["animation.models=random", "executor=local", "metrics=none", "stages.motion.batch_size=2"]
    settings += [
        "stages.hash_inputs.batch_size=2",
        "stages.verify_output.batch_size=2",
        "animation.picture.max_side=128",
    ]
    settings += ["stages.portrait.batch_size=2", "stages.speech.batch_size=2", "stages.render.batch_size=2"]
    defaults = {
        "sections": HERE,
        "batches": (1, 2),
        "precisions": ("fp32", "bf16"),
        "torch_compile": True,
        "case_s": 0.01,
        "sound_s": 0.12,
        "chain_records": 4,
        "sound_lengths_s": (0.12, 0.24),
        "actors": (1,),
        "encoding_frames": 3,
        "empty_records": 50,
    }
    return BenchConfig(run=load_config(RunConfig, settings=settings), **(defaults | amounts))


@pytest.fixture(scope="module")
def document():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "compiler_missing", lambda device: "a compiler")
        return run_bench(tiny())


def test_there_is_a_measurement_for_each_section():
    assert tuple(MEASURES) == SECTIONS
    assert {field.name for field in dataclasses.fields(Document)} >= set(SECTIONS)


def test_all_sections_that_were_asked_for_are_there(document):
    assert all(getattr(document, name) for name in HERE)
    assert document.engine is None


def test_the_file_holds_what_the_dataclasses_say(document, tmp_path):
    document.write(tmp_path / "bench.json")
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["format_version"] == 1
    assert found["models"] == "random"
    assert found["machine"]["cores"] >= 1
    assert set(found) == {field.name for field in dataclasses.fields(Document)}
    assert found["config"]["run"]["animation"]["models"] == "random"

    def same(value, written):
        if dataclasses.is_dataclass(value):
            assert set(written) == {field.name for field in dataclasses.fields(value)}
            for field in dataclasses.fields(value):
                same(getattr(value, field.name), written[field.name])
        elif isinstance(value, tuple):
            assert len(value) == len(written)
            for one, other in zip(value, written, strict=True):
                same(one, other)
        else:
            assert value == written

    for name in SECTIONS:
        same(getattr(document, name), found[name])
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_every_network_is_measured_with_every_batch(document):
    eager = {(one.network, one.batch) for one in document.networks.networks if one.precision == "fp32"}
    assert eager == {(name, batch) for name in NETWORKS for batch in (1, 2)}
    measured = [one for one in document.networks.networks if one.precision == "fp32" and not one.compiled]
    assert len(measured) == 2 * len(NETWORKS)
    assert all(one.skipped is None for one in measured)


def test_the_figures_of_a_network_follow_from_its_calls(document):
    limits = {(one.computation, one.precision): one for one in document.networks.limits}
    assert all(one.flops_per_s == pytest.approx(one.flops / one.seconds) for one in limits.values())
    for one in document.networks.networks:
        if one.skipped:
            continue
        assert one.ms_per_item == pytest.approx(1000 * one.seconds / one.batch)
        assert one.items_per_s == pytest.approx(one.batch / one.seconds)
        assert one.flops_per_s == pytest.approx(one.flops / one.seconds)
        matrix, convolution = (limits[name, one.precision] for name in ("matrix_product", "convolution"))
        assert one.share_of_matrix_product == pytest.approx(one.flops_per_s / matrix.flops_per_s)
        assert one.share_of_convolution == pytest.approx(one.flops_per_s / convolution.flops_per_s)
        assert one.calls >= 1
        assert one.flops > 0


def test_twice_the_items_are_twice_the_operations(document):
    for name in ("motion_extractor", "spade_generator", "motion_generator.denoise", "motion_generator.encode"):
        measured = {one.batch: one.flops for one in document.networks.networks
                    if (one.network, one.precision, one.compiled) == (name, "fp32", False)}  # fmt: skip
        assert measured[2] == pytest.approx(2 * measured[1], rel=0.01)  # a little does not depend on the items


def test_what_is_skipped_says_why_and_has_no_figures(document):
    skipped = [one for one in document.networks.networks if one.compiled]
    assert {one.network for one in skipped} == NETWORKS
    for one in skipped:
        assert one.skipped == "not available: needs a compiler"
        assert one.seconds is one.flops is one.ms_per_item is one.share_of_matrix_product is None


def test_the_efficiency_is_that_of_the_stored_rates(document):
    rates = {stage.stage: stage.records_per_s for stage in document.chain.stages}
    chain = document.chain.chain
    assert list(rates) == ["hash_inputs", "portrait", "speech", "motion", "render", "score", "verify_output"]
    assert rates[chain.slowest_stage] == min(rates.values())
    assert chain.efficiency == pytest.approx(chain.records_per_s / min(rates.values()))
    assert chain.records == 4
    assert chain.frames == 4 * 3
    assert chain.frames_per_s == pytest.approx(chain.records_per_s * 3)
    assert chain.real_time_factor == pytest.approx(chain.records_per_s * 0.12)
    assert 0 < chain.records_per_s


def test_the_shares_of_the_stages_add_up(document):
    stages = document.chain.stages
    assert sum(stage.share_of_busy for stage in stages) == pytest.approx(1)
    busy = sum(stage.busy_s for stage in stages)
    assert all(stage.share_of_busy == pytest.approx(stage.busy_s / busy) for stage in stages)
    assert all(0 < stage.batch_fill <= 1 for stage in stages)
    assert all(stage.setup_s >= 0 and stage.first_batch_s >= 0 for stage in stages)


def test_a_plan_reckons_with_the_rates_of_the_chain(document, tmp_path):
    document.write(tmp_path / "bench.json")
    profile = rates_of_bench(str(tmp_path / "bench.json"))
    render = next(stage for stage in document.chain.stages if stage.stage == "render")
    assert profile.stages["render"].per == "frame"
    assert profile.stages["render"].seconds == pytest.approx(render.busy_s / document.chain.chain.frames)
    assert profile.machine.endswith("models random")
    (tmp_path / "other.json").write_text('{"machine": {}}')
    with pytest.raises(ManifestError, match="profile_invalid"):
        rates_of_bench(str(tmp_path / "other.json"))


def test_networks_with_a_faster_form_are_compared_with_the_plain_ones(document):
    measured = [one for one in document.networks.networks if not one.skipped]
    faster = {one.network for one in measured if one.plain_seconds}
    assert faster == {"motion_extractor", "warping_module", "spade_generator", "motion_generator.denoise"}
    for one in measured:
        assert one.gain == (one.plain_seconds and pytest.approx(one.plain_seconds / one.seconds))


def test_ratios_of_scaling_begin_at_one(document):
    over = {}
    for one in document.scaling:
        over.setdefault((one.over, one.stage), []).append(one)
    stages = [("batch_size", name) for name in ("portrait", "speech", "motion", "render")]
    assert list(over) == [*stages, ("sound_s", "chain")]
    for cases in over.values():
        assert len(cases) == 2
        assert cases[0].ratio == 1
        assert cases[1].ratio == pytest.approx(cases[1].records_per_s / cases[0].records_per_s)


def test_a_slower_preset_is_measured_with_one_thread_and_with_all(document):
    assert {one.preset for one in document.encoding} == set(PRESETS)
    assert min(one.threads for one in document.encoding) == 1
    for one in document.encoding:
        assert one.width % 2 == one.height % 2 == 0
        assert one.frames_per_s > 0 < one.processor_ms_per_frame
        assert 15 < one.psnr_db < 70  # random networks paint noise, half of which yuv420p takes away
    ultrafast, medium = (next(one for one in document.encoding if one.preset == p) for p in ("ultrafast", "medium"))
    assert medium.bytes_per_frame < ultrafast.bytes_per_frame


def test_the_engine_is_measured_without_any_work():
    figure = measure_executor("local", 50)
    assert figure.records_per_s == pytest.approx(50 / figure.elapsed_s)
    assert figure.ms_per_record == pytest.approx(1000 / figure.records_per_s)


def test_the_tables_show_every_section(document):
    console = Console(width=300, record=True, file=io.StringIO())
    for table in tables(document):
        console.print(table)
    text = console.export_text()
    titles = (
        "Machine",
        "Limits",
        "Networks",
        "Stages",
        "Chain",
        "Scaling",
        "Encoding",
    )
    assert all(title in text for title in titles)
    assert all(name in text for name in NETWORKS)
    assert "needs a compiler" in text


def test_an_unknown_section_is_refused():
    with pytest.raises(ConfigError, match="section 'nonsense' is unknown; expected networks, chain"):
        tiny(sections=("nonsense",))


def test_quick_is_less_of_everything():
    whole, quick = BenchConfig(), BenchConfig().quick()
    for name in ("sound_s", "chain_records", "empty_records", "case_s"):
        assert getattr(quick, name) < getattr(whole, name)
    assert quick.sections == whole.sections
