"""Calls of functions that may end the process, or whose child processes are measured."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor


def run_in_child(function, *arguments):
    """Call a function in a process of its own and return its result.

    Raises:
        BrokenProcessPool: the process ended without a result.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
