"""cluster.yaml is accepted by `ray up`, the autoscaler and EC2, and its nodes have what a run needs."""

import copy
import importlib.metadata
import importlib.util
import json
import re
import shlex
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from botocore.session import get_session
from botocore.validate import ParamValidator

from pipelines.runs.config import RunConfig
from pipelines.runs.generate import build_video_pipeline

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements-gpu.lock", "requirements-extras.lock")  # what the image installs
PINNED = dict(re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", "\n".join((ROOT / lock).read_text() for lock in LOCKS)))
DRIVER_CPUS = 1  # --entrypoint-num-cpus of the job


@pytest.fixture
def cluster():
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


@pytest.fixture
def workers(cluster):
    return {name: kind for name, kind in cluster["available_node_types"].items() if name != cluster["head_node_type"]}


@pytest.fixture(scope="module")
def schema():
    (ray_folder,) = importlib.util.find_spec("ray").submodule_search_locations  # located without importing it
    return json.loads((Path(ray_folder) / "autoscaler/ray-schema.json").read_text())


@pytest.fixture(scope="module")
def launch_parameters():
    return get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def ec2_problems(node_config, launch_parameters):
    counts = {"MinCount": 1, "MaxCount": 1}  # Ray adds them
    return ParamValidator().validate({**node_config, **counts}, launch_parameters).generate_report()


def list_commands(cluster):
    return [line for key, lines in cluster.items() if key.endswith("_commands") for line in lines]


def test_ray_accepts_the_file(cluster, schema):
    jsonschema.validate(cluster, schema)


def test_the_schema_is_that_of_the_locked_ray():
    assert importlib.metadata.version("ray") == PINNED["ray"]


@pytest.mark.parametrize(("right", "wrong"), [("idle_timeout_minutes", "idle_timeout_min"), ("provider", "providers")])
def test_a_misspelled_key_is_refused(cluster, schema, right, wrong):
    cluster[wrong] = cluster.pop(right)
    with pytest.raises(jsonschema.ValidationError, match=f"'{wrong}'|'{right}'"):
        jsonschema.validate(cluster, schema)


def test_a_misspelled_key_of_a_node_type_is_refused(cluster, schema):
    cluster["available_node_types"]["gpu"]["max_worker"] = cluster["available_node_types"]["gpu"].pop("max_workers")
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        jsonschema.validate(cluster, schema)


def test_ec2_accepts_every_key_of_the_nodes(cluster, launch_parameters):
    for kind in cluster["available_node_types"].values():
        assert ec2_problems(kind["node_config"], launch_parameters) == ""


def test_a_misspelled_key_of_a_node_config_is_refused(workers, launch_parameters):
    spot = copy.deepcopy(workers["gpu_spot"]["node_config"])
    spot["InstanceMarketOption"] = spot.pop("InstanceMarketOptions")
    assert "InstanceMarketOption" in ec2_problems(spot, launch_parameters)


def test_ray_fills_in_its_defaults_and_still_accepts_the_file(cluster):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    assert not [line for line in list_commands(prepared) if "pip install" in line]  # Ray's defaults would add boto3


def test_ray_starts_a_shell_in_the_container_instead_of_the_entry_point(cluster):
    from ray.autoscaler._private.docker import docker_start_cmds, validate_docker_config

    validate_docker_config(cluster)
    docker = cluster["docker"]
    line = docker_start_cmds(
        "ubuntu", docker["image"], {}, "joyvasa", docker["run_options"], "c", "/home/joyvasa", "docker"
    )
    assert shlex.split(line)[-2:] == [docker["image"], "bash"]
    assert "--entrypoint=" in shlex.split(line)


def test_the_head_runs_no_stage_and_is_never_spot(cluster):
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]


def test_workers_state_gpus_and_scale_from_zero(cluster, workers):
    for kind in workers.values():
        assert kind["resources"]["GPU"] >= 1
        assert kind["min_workers"] == 0 < kind["max_workers"]
    assert sum(kind["max_workers"] for kind in workers.values()) == cluster["max_workers"]
    assert cluster["idle_timeout_minutes"] > 0


def test_a_worker_has_the_cpus_for_the_stages_of_its_gpus_and_the_driver(workers):
    for kind in workers.values():
        stages = build_video_pipeline(
            RunConfig(), "/run", {"human": 99, "animal": 99}, gpus=kind["resources"]["GPU"]
        ).stages
        assert kind["resources"]["CPU"] >= DRIVER_CPUS + sum(stage.workers * stage.num_cpus for stage in stages)


def test_spot_differs_from_on_demand_in_the_market_and_cannot_hold_the_driver(workers):
    spot, on_demand = workers["gpu_spot"], workers["gpu"]
    market = {"InstanceMarketOptions": {"MarketType": "spot"}}
    assert spot["node_config"] == {**on_demand["node_config"], **market}
    assert on_demand["resources"] == {**spot["resources"], "on_demand": 1}


@pytest.mark.parametrize(
    ("demand", "node"), [({"GPU": 0.5, "CPU": 1}, "gpu_spot"), ({"CPU": 1, "on_demand": 1}, "gpu")]
)
def test_the_autoscaler_starts_spot_for_stages_and_on_demand_for_the_driver(cluster, demand, node):
    from ray.autoscaler._private.resource_demand_scheduler import (
        NodeAvailabilitySummary,
        _default_utilization_scorer,
        get_nodes_for,
    )

    def score(*arguments):
        return _default_utilization_scorer(*arguments, node_availability_summary=NodeAvailabilitySummary({}))

    head = cluster["head_node_type"]
    nodes, unmet = get_nodes_for(cluster["available_node_types"], {head: 1}, head, 10, [demand], score)
    assert (nodes, unmet) == ({node: 1}, [])


def test_the_image_has_the_dashboard_which_accepts_jobs_and_what_starts_nodes_on_aws():
    assert {"boto3", "aiohttp-cors", "colorful", "opencensus", "prometheus-client", "virtualenv"} <= PINNED.keys()


def test_nodes_start_ray_with_autoscaling_and_enough_files(cluster):
    _, head = cluster["head_start_ray_commands"]
    _, worker = cluster["worker_start_ray_commands"]
    assert "--head" in head
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head
    assert "--address=$RAY_HEAD_IP:6379" in worker
    for line in (head, worker):
        assert line.startswith("ulimit -n 65536; ray start ")


def test_the_file_contains_no_credentials_and_no_image_id():
    text = (ROOT / "cluster.yaml").read_text()
    assert not re.search(
        r"AKIA|BEGIN|aws_secret|ami-[0-9a-f]{8}|\b\d{1,3}(\.\d{1,3}){3}\b", text.replace("127.0.0.1", "")
    )
    assert set(re.findall(r"arn:aws:iam::(\d+)", text)) == {"000000000000"}


@pytest.fixture
def slurm(tmp_path):
    """Run the batch script of the README with stand-ins that print what they are called with."""
    readme = (ROOT / "pipelines/README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"(?s)```bash\n(#!/bin/bash\n#SBATCH.*?)```", readme)
    activate = tmp_path / "joyvasa/.venv/bin/activate"
    activate.parent.mkdir(parents=True)
    activate.touch()
    (tmp_path / "run").mkdir()
    stand_ins = {
        "scontrol": '[ "$*" = "show hostnames node[07-08]" ] && printf "node07\\nnode08\\n"',
        "joyvasa": f'[ "$*" = "status {tmp_path}/run" ] && [ -e {tmp_path}/run/run.yaml ]',
        "sleep": 'echo "sleep $*"',
        "srun": 'echo "srun $*"',
    }
    (tmp_path / "bin").mkdir()
    for name, body in stand_ins.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    job = {"SLURM_JOB_NODELIST": "node[07-08]", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "48"}
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", **job}

    def run():
        command = ["bash", "-c", script.replace("/shared", str(tmp_path))]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()

    return run


def test_the_slurm_job_generates_first_and_resumes_after_an_interruption(slurm, tmp_path):
    start = "srun ray symmetric-run --address node07:6379 --min-nodes 2 --num-cpus 48 --num-gpus 4 -- joyvasa"
    settings = "--set ray.address=auto"
    assert slurm() == [f"{start} generate {tmp_path}/pairs.parquet --out {tmp_path}/run {settings}"]
    (tmp_path / "run/run.yaml").touch()
    assert slurm() == ["sleep 120", f"{start} resume {tmp_path}/run"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_commands_of_ray_in_the_readme_exist():
    from ray.scripts.scripts import cli

    readme = (ROOT / "pipelines/README.md").read_text(encoding="utf-8")
    commands = re.findall(r"(?m)^(?:srun )?ray ((?:start|stop|get-auth-token|symmetric-run)\b[^#\n\\]*)", readme)
    assert {line.split()[0] for line in commands} == {"start", "stop", "get-auth-token", "symmetric-run"}
    for line in commands:
        name, *arguments = shlex.split(line)
        options = {option for parameter in cli.commands[name].params for option in parameter.opts}
        assert {argument.split("=")[0] for argument in arguments if argument.startswith("--")} <= options
