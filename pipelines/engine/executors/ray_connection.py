"""The connection to a running Ray cluster, or the start of Ray on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
from pathlib import Path
from typing import Any

import grpc
import ray
import ray.exceptions

from joyvasa.errors import EnvironmentFault
from pipelines.engine.executors.base import ExecutorConfig

CONNECT_S = 10.0  # time limit for the first contact with a cluster
MAX_FOLDER_BYTES = 37  # paths of Unix sockets have at most 107 bytes, of which Ray's own part takes 70


def connect_to_ray(config: ExecutorConfig, *, show_logs: bool = False) -> None:
    """Connect this process to the cluster, or start Ray on this machine if there is none to use.

    Args:
        config: the cluster, or the resources to offer on this machine.
        show_logs: whether this process shows what workers print.

    Raises:
        EnvironmentFault: `ray_unreachable` if no cluster answers at the address or it refuses the connection,
            `ray_start` or `ray_folder` if Ray does not start on this machine.
    """
    address = config.cluster
    options: dict[str, Any] = {"log_to_driver": show_logs, "logging_level": logging.ERROR}
    if address is None:
        options |= {"num_cpus": config.num_cpus, "num_gpus": config.num_gpus, "address": "local"}
        options |= {"object_store_memory": config.object_store_bytes, "include_dashboard": config.dashboard}
        options |= _short_temporary_folder()
        _provide_token()
    else:
        _require_ray(address)
        options["address"] = address

    try:
        ray.init(**options)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        if address is None:
            text = f"Ray on this machine: does not start ({_first_sentence(error)}): mend that, or use executor=local"
            raise EnvironmentFault("ray_start", text) from error
        raise _unreachable(address, _first_sentence(error)) from error


def _first_sentence(error: Exception) -> str:
    """Return the first sentence of an error message on one line; the others are hints of Ray's own."""
    return " ".join(str(error).split()).partition(". ")[0].removesuffix(".")


def _require_ray(address: str) -> None:
    """Check that a Ray that accepts this user listens at the address of a cluster.

    `ray.init` would try for up to a quarter of an hour, and its error does not say why a cluster refuses.

    Raises:
        EnvironmentFault: `ray_unreachable`.
    """
    target = address.removeprefix("ray://")
    if target == "auto":
        with contextlib.suppress(OSError):
            target = Path(_ray_temporary_folder(), "ray/ray_current_cluster").read_text().strip()
    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal():
        return  # `auto` without a running cluster, `local`: Ray answers at once

    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise _unreachable(address, f"no answer from {target} ({error})") from None

    channel = grpc.insecure_channel(target)
    try:
        grpc.channel_ready_future(channel).result(timeout=CONNECT_S)
    except grpc.FutureTimeoutError:
        raise _unreachable(address, f"what answers at {target} does not speak Ray's protocol") from None
    finally:
        channel.close()

    if not address.startswith("ray://"):
        try:
            ray._raylet.GcsClient(address=target)  # type: ignore[attr-defined]  # not public
        except ray.exceptions.AuthenticationError as error:
            expected = "the token of the cluster: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
            raise _unreachable(address, _first_sentence(error), expected) from None


def _unreachable(
    address: str, found: str, expected: str = "a running cluster, `auto` or HOST:PORT: see `ray status` there"
) -> EnvironmentFault:
    return EnvironmentFault("ray_unreachable", f"Ray at {address}: {found}; expected {expected}")


def _ray_temporary_folder() -> str:
    return os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"


def _provide_token() -> None:
    """Set an authentication token for a Ray of this machine if it cannot save one in the user's home folder."""
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return
    folder = Path(os.path.expanduser("~"), ".ray")
    with contextlib.suppress(OSError):
        if folder.is_absolute():  # there is a home folder
            folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # its processes inherit it


def _short_temporary_folder() -> dict[str, str]:
    """Return the option for a shorter folder if the paths of Ray's sockets would be too long.

    Raises:
        EnvironmentFault: `ray_folder` if there is no shorter folder.
    """
    folder = _ray_temporary_folder()
    if len(os.fsencode(folder)) <= MAX_FOLDER_BYTES:
        return {}
    if os.access("/tmp", os.W_OK):
        return {"_temp_dir": "/tmp/ray"}
    raise EnvironmentFault(
        "ray_folder",
        f"{folder}: {len(os.fsencode(folder))} bytes long; expected at most {MAX_FOLDER_BYTES} for the sockets of Ray: "
        "set RAY_TMPDIR to a shorter folder",
    )
