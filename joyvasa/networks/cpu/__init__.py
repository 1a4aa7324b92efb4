"""CPU acceleration: faster modules that `accelerate` substitutes in a loaded network."""

from joyvasa.networks.cpu.acceleration import accelerate

__all__ = ["accelerate"]
