"""Faster forms of the networks' parts for CPUs; `accelerate` puts them into a loaded network."""

from joyvasa.networks.cpu.acceleration import accelerate

__all__ = ["accelerate"]
