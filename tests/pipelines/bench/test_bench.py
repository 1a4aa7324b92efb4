"""All sections are measured, and their figures are consistent."""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from joyvasa.config import load_config
from joyvasa.errors import ConfigError
from manifests.problems import ManifestError
from pipelines.bench import networks
from pipelines.bench.bench import MEASURES, Document, run_bench
from pipelines.bench.config import SECTIONS, BenchConfig
from pipelines.bench.encoding import PRESETS
from pipelines.bench.engine import measure_executor
from pipelines.bench.table import build_tables
from pipelines.runs.config import RunConfig
from pipelines.runs.rates import read_bench_rates

pytestmark = pytest.mark.slow

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
        "animation.picture.max_side=256",
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
        "simulated_gpus": (4,),
    }
    return BenchConfig(run=load_config(RunConfig, settings=settings), **(defaults | amounts))


@pytest.fixture(scope="module")
def document():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "find_missing_compiler", lambda device: "a compiler")
        return run_bench(tiny())


def test_each_section_has_a_measurement():
    assert tuple(MEASURES) == SECTIONS
    assert {field.name for field in dataclasses.fields(Document)} >= set(SECTIONS)


def test_the_document_holds_the_selected_sections(document):
    assert all(getattr(document, name) for name in HERE)
    assert document.engine is None


def test_the_file_holds_the_fields_of_the_dataclasses(document, tmp_path):
    document.write(tmp_path / "bench.json")
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["format_version"] == 1
    assert content["models"] == "random"
    assert content["machine"]["cores"] >= 1
    assert set(content) == {field.name for field in dataclasses.fields(Document)}
    assert content["config"]["run"]["animation"]["models"] == "random"

    def same(value, written):
        if dataclasses.is_dataclass(value):
            assert set(written) == {field.name for field in dataclasses.fields(value)}
            for field in dataclasses.fields(value):
                same(getattr(value, field.name), written[field.name])
        elif isinstance(value, tuple):
            assert len(value) == len(written)
            for pair in zip(value, written, strict=True):
                same(*pair)
        else:
            assert value == written

    for name in SECTIONS:
        same(getattr(document, name), content[name])
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_every_network_is_measured_with_every_batch_size(document):
    eager = {(figure.network, figure.batch) for figure in document.networks.networks if figure.precision == "fp32"}
    assert eager == {(name, batch) for name in NETWORKS for batch in (1, 2)}
    measured = [
        figure for figure in document.networks.networks if figure.precision == "fp32" and not figure.torch_compile
    ]
    assert len(measured) == 2 * len(NETWORKS)
    assert all(figure.skipped is None for figure in measured)


def test_the_figures_of_a_network_follow_from_its_calls(document):
    limits = {(figure.computation, figure.precision): figure for figure in document.networks.limits}
    assert all(figure.flops_per_s == pytest.approx(figure.flops / figure.seconds) for figure in limits.values())
    for figure in document.networks.networks:
        if figure.skipped:
            continue
        assert figure.ms_per_item == pytest.approx(1000 * figure.seconds / figure.batch)
        assert figure.items_per_s == pytest.approx(figure.batch / figure.seconds)
        assert figure.flops_per_s == pytest.approx(figure.flops / figure.seconds)
        matrix, convolution = (limits[name, figure.precision] for name in ("matrix_product", "convolution"))
        assert figure.share_of_matrix_product == pytest.approx(figure.flops_per_s / matrix.flops_per_s)
        assert figure.share_of_convolution == pytest.approx(figure.flops_per_s / convolution.flops_per_s)
        assert figure.calls >= 1
        assert figure.flops > 0


def test_twice_the_items_are_twice_the_operations(document):
    for name in ("motion_extractor", "spade_generator", "motion_generator.denoise", "motion_generator.encode"):
        measured = {figure.batch: figure.flops for figure in document.networks.networks
                    if (figure.network, figure.precision, figure.torch_compile) == (name, "fp32", False)}  # fmt: skip
        assert measured[2] == pytest.approx(2 * measured[1], rel=0.01)  # a little does not depend on the items


def test_a_skipped_case_has_a_reason_and_no_figures(document):
    skipped = [figure for figure in document.networks.networks if figure.torch_compile]
    assert {figure.network for figure in skipped} == NETWORKS
    for figure in skipped:
        assert figure.skipped == "not available: needs a compiler"
        assert figure.seconds is figure.flops is figure.ms_per_item is figure.share_of_matrix_product is None


def test_the_efficiency_follows_from_the_stored_rates(document):
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


def test_a_plan_uses_the_rates_of_the_chain(document, tmp_path):
    document.write(tmp_path / "bench.json")
    profile = read_bench_rates(str(tmp_path / "bench.json"))
    render = next(stage for stage in document.chain.stages if stage.stage == "render")
    assert profile.stages["render"].per == "frame"
    assert profile.stages["render"].seconds == pytest.approx(render.busy_s / document.chain.chain.frames)
    assert profile.machine.endswith("models random")
    (tmp_path / "other.json").write_text('{"machine": {}}')
    with pytest.raises(ManifestError, match="profile_invalid"):
        read_bench_rates(str(tmp_path / "other.json"))


def test_accelerated_networks_are_compared_with_the_plain_ones(document):
    measured = [figure for figure in document.networks.networks if not figure.skipped]
    faster = {figure.network for figure in measured if figure.plain_seconds}
    assert faster == {"motion_extractor", "warping_module", "spade_generator", "motion_generator.denoise"}
    for figure in measured:
        assert figure.gain == (figure.plain_seconds and pytest.approx(figure.plain_seconds / figure.seconds))


def test_ratios_of_scaling_start_at_one(document):
    over = {}
    for figure in document.scaling:
        over.setdefault((figure.over, figure.stage), []).append(figure)
    stages = [("batch_size", name) for name in ("portrait", "speech", "motion", "render")]
    assert list(over) == [*stages, ("sound_s", "chain")]
    for cases in over.values():
        assert len(cases) == 2
        assert cases[0].ratio == 1
        assert cases[1].ratio == pytest.approx(cases[1].records_per_s / cases[0].records_per_s)


def test_every_preset_is_measured_and_slower_ones_write_smaller_files(document):
    assert {figure.preset for figure in document.encoding} == set(PRESETS)
    assert min(figure.threads for figure in document.encoding) == 1
    for figure in document.encoding:
        assert figure.width % 2 == figure.height % 2 == 0
        assert figure.frames_per_s > 0 < figure.processor_ms_per_frame
        assert 15 < figure.psnr_db < 70  # random networks render noise, half of which yuv420p removes
    ultrafast, medium = (next(f for f in document.encoding if f.preset == p) for p in ("ultrafast", "medium"))
    assert medium.bytes_per_frame < ultrafast.bytes_per_frame


def test_the_engine_is_measured_with_empty_stages():
    figure = measure_executor("local", 50)
    assert figure.records_per_s == pytest.approx(50 / figure.elapsed_s)
    assert figure.ms_per_record == pytest.approx(1000 / figure.records_per_s)


def test_the_tables_show_every_section(document):
    console = Console(width=300, record=True, file=io.StringIO())
    for table in build_tables(document):
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


def test_an_unknown_section_is_rejected():
    with pytest.raises(ConfigError, match="section 'nonsense' is unknown; expected networks, chain"):
        tiny(sections=("nonsense",))


def test_quick_amounts_are_smaller():
    whole, quick = BenchConfig(), BenchConfig().quick()
    for name in ("sound_s", "chain_records", "empty_records", "case_s"):
        assert getattr(quick, name) < getattr(whole, name)
    assert quick.sections == whole.sections
