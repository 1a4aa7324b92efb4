"""Schedules, the denoising network and sampling against the reference, for the published and the training sizes."""

import pytest
import torch

from joyvasa.networks import build
from joyvasa.networks.cpu import accelerate
from joyvasa.networks.diffusion import DiffusionSchedule
from joyvasa.networks.motion_generator import MotionGenerator, MotionGeneratorConfig
from tests.golden.reference import FORMS, Section, fill

SCHEDULE, CALL, SAMPLING = 1e-5, 1e-4, 5e-4
WINDOW = 64_000  # samples
BUFFERS = ("betas", "alphas", "alpha_bars", "sigmas_flex", "sigmas_inflex")
SECTIONS = {"dit": "motion_generator", "dit_train": "motion_generator_train"}


@pytest.fixture(scope="module")
def section():
    return Section("dit")


@pytest.fixture(scope="module", params=FORMS)
def form(request):
    return request.param


@pytest.fixture(scope="module")
def networks(form):
    return {name: fill(build(network), network, form) for name, network in SECTIONS.items()}


@pytest.fixture(scope="module")
def network(networks):
    return networks["dit"]


def with_config(network, form, **changes):
    """Return a network with the same weights and a changed configuration."""
    config = {"motion_feat_dim": network.config.motion_feat_dim, "n_prev_motions": network.config.n_prev_motions}
    with torch.device("meta"):
        other = MotionGenerator(MotionGeneratorConfig(**config, **changes))
    other.load_state_dict(network.state_dict(), assign=True)
    return accelerate(other.eval()) if form == "accelerated" else other.eval()


def two_windows(section):
    return torch.from_numpy(section.input("audio_2win"))[None].split(WINDOW, dim=1)


@pytest.fixture(scope="module")
def features(section, network):
    """Return the audio features of both windows."""
    with torch.no_grad():
        return [network.encode(window) for window in two_windows(section)]


@pytest.mark.slow
@pytest.mark.parametrize("name", SECTIONS)
def test_trained_schedules_match(networks, name):
    for buffer in BUFFERS:
        Section(name).check(f"sched50_{buffer}", getattr(networks[name].diffusion_sched, buffer), SCHEDULE)


@pytest.mark.parametrize("mode", ["linear", "cosine", "quadratic", "sigmoid"])
def test_schedules_of_all_modes_match(section, mode):
    schedule = DiffusionSchedule(8, mode)
    for buffer in BUFFERS:
        section.check(f"sched8_{mode}_{buffer}", getattr(schedule, buffer), SCHEDULE)
    section.check(f"sched8_{mode}_sigma_t5_f0.35", schedule.sigma(5, 0.35), SCHEDULE)


def test_long_schedule_matches(section):
    section.check("sched500_alpha_bars", DiffusionSchedule(500, "cosine").alpha_bars, SCHEDULE)


@pytest.mark.parametrize("name", SECTIONS)
@torch.inference_mode()
def test_denoising_call_matches_with_its_intermediate_activations(networks, name):
    section, network = Section(name), networks[name]
    inputs = [section.input(key) for key in ("motion_feat", "audio_feat", "prev_motion", "prev_audio")]
    modules = {
        "step_embed": network.denoising_net.diff_step_map,
        "feature_proj": network.denoising_net.feature_proj,
        "layer0": network.denoising_net.transformer.layers[0],
        "layer7": network.denoising_net.transformer.layers[7],
    }
    activations = {}
    hooks = [
        module.register_forward_hook(lambda module, inputs, output, key=key: activations.update({key: output}))
        for key, module in modules.items()
    ]
    result = network.denoise(*inputs, torch.from_numpy(section.input("step")))
    for hook in hooks:
        hook.remove()

    for key in modules:
        section.check(key, activations[key], CALL)
    section.check("denoise", result, CALL)


@pytest.mark.parametrize("name", SECTIONS)
@torch.inference_mode()
def test_denoising_call_matches_with_one_row_of_positions_for_all_tokens(networks, form, name):
    section = Section(name)
    network = with_config(networks[name], form, positional_encoding="constant_row")
    inputs = [section.input(key) for key in ("motion_feat", "audio_feat", "prev_motion", "prev_audio")]
    section.check("denoise_legacy_pe", network.denoise(*inputs, torch.from_numpy(section.input("step"))), CALL)


@pytest.mark.slow
def test_two_windows_in_a_row_match(section, network, features):
    window, _ = two_windows(section)
    first = network.sample(window, noise=section.tape("noise_w1"), cfg_scale=2.8, steps=8)
    section.check("w1_audio_feat", features[0], CALL)
    section.check("w1_motion", first, SAMPLING)

    n_previous = network.config.n_prev_motions
    start = section.tape("noise_w1")[:1]
    assert section.stored["w2_noise_equals_w1_noise"]
    second = network.sample(
        features[1],
        prev_motion=first[:, -n_previous:],
        prev_audio=features[0][:, -n_previous:],
        noise=torch.cat([start, section.tape("noise_w2")]),
        cfg_scale=2.8,
        steps=8,
    )
    section.check("w2_motion", second, SAMPLING)


@pytest.mark.parametrize(
    ("stored", "tape", "options"),
    [
        ("cfg1_motion", "noise_cfg1", {"cfg_scale": 1.0}),
        ("nocfg_motion", "noise_nocfg", {"cfg_scale": 1.0}),
        ("independent_motion", "noise_indep", {"cfg_scale": 2.0}),
        (
            "dynthr_flex_motion",
            "noise_dyn",
            {"cfg_scale": 2.0, "dynamic_threshold": (0.9, 0.5, 3.0), "flexibility": 0.5},
        ),
    ],
)
def test_sampling_options_match(section, network, features, stored, tape, options):
    section.check(stored, network.sample(features[0], noise=section.tape(tape), steps=8, **options), SAMPLING)


def test_every_step_of_the_trajectory_matches(section, network, features):
    motions = {}
    network.sample(features[0], noise=section.tape("noise_traj"), cfg_scale=2.0, steps=8, on_step=motions.__setitem__)
    assert sorted(motions) == list(range(9))
    for step, motion in motions.items():
        section.check(f"traj_{step}", motion, SAMPLING)


def test_sampling_with_a_network_that_predicts_noise_matches(section, network, form, features):
    other = with_config(network, form, target="noise")
    tape = section.tape("noise_noisetarget")
    section.check("noise_target_motion", other.sample(features[0], noise=tape, cfg_scale=2.0, steps=8), SAMPLING)


@pytest.mark.slow
def test_sampling_with_the_trained_schedule_matches(section, network, features):
    motion = network.sample(features[0], noise=section.tape("noise_full50"), cfg_scale=2.0)
    section.check("full50_motion", motion, SAMPLING)


def test_sampling_with_the_training_sizes_matches(networks):
    section = Section("dit_train")
    motion = networks["dit_train"].sample(section.input("feat"), noise=section.tape("noise"), cfg_scale=2.0, steps=8)
    section.check("sample_motion", motion, SAMPLING)


@torch.inference_mode()
def test_training_forward_matches(section, network):
    noise = section.input("fwd_001")
    section.check("forward_eps_is_tape1", noise, 0)
    prediction = network(
        section.input("gt_motion"),
        section.input("gt_feat"),
        step=torch.tensor([1, 9, 25, 50]),
        noise=noise,
        without_audio=section.input("fwd_000") < 0.1,
    )
    section.check("forward_target", prediction, CALL)
