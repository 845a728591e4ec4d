"""Draws samples of a problem: in parallel, onto disk, and from where an earlier run was interrupted.

Each sample has a random generator of its own that depends on the seed and on the sample's index alone, and is
computed on its own: its bits depend neither on the number of processes nor on what else is drawn.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nde.data.checks import check_count
from nde.data.dataset import Dataset
from nde.data.problem import Problem, Sample
from nde.data.shards import ShardFolder
from nde.processes import end_with_parent
from nde.progress import Advance, progress_bar

__all__ = ["SampleError", "draw_sample", "generate"]

_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class SampleError(RuntimeError):
    """A sample could not be computed.

    Attributes:
        index: Which one.
        seed: Of the generation.
    """

    def __init__(self, message: str, index: int, seed: int) -> None:
        super().__init__(message, index, seed)
        self.index, self.seed = index, seed

    def __str__(self) -> str:
        return str(self.args[0])


def generate(
    problem: Problem,
    count: int,
    *,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    processes: int = 1,
    shard_size: int = 16,
    dtype: DTypeLike = np.float32,
    progress: bool = True,
) -> Dataset:
    """Draw ``count`` samples of a problem.

    With more than one process, call it under ``if __name__ == "__main__":`` where the calling file is run as a script.

    Args:
        problem: What to draw.
        count: How many samples. A folder that holds some of them is continued, also to more than were asked for before.
        seed: Of all that is random. The same seed gives the same bits, in any number of processes, interrupted or not.
        folder: Where samples are kept, in files of ``shard_size``; None to keep them in memory alone.
        processes: How many processes compute, with one thread each.
        shard_size: Samples of a file: what an interruption loses at most, for each process.
        dtype: Of the returned and stored fields.
        progress: Whether to show a bar (of tqdm, where it is installed).

    Returns:
        The samples.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, the folder holds samples of other settings or a corrupt file.
        SampleError: A sample could not be computed; the files that are done stay.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a Problem, but is a {type(problem).__name__}.")
    check_count(count, "count")
    check_count(seed, "seed", 0)
    check_count(processes, "processes")
    check_count(shard_size, "shard_size")
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        raise TypeError(f"dtype must be one of floating point, but is {dtype}.")
    settings = {**problem.settings(), "seed": seed, "dtype": dtype.name}
    store = None if folder is None else ShardFolder(Path(folder), settings, shard_size)

    shards: dict[int, dict[str, NDArray[Any]]] = {}
    jobs: list[tuple[int, int, int]] = []  # shard, first missing sample, end
    for shard, start in enumerate(range(0, count, shard_size)):
        stop = min(start + shard_size, count)
        found = store.read(shard) if store else None
        known = _length(found)
        if found is not None and known:
            shards[shard] = found
        if start + known < stop:
            jobs.append((shard, start + known, stop))

    missing = sum(stop - start for _, start, stop in jobs)
    with progress_bar(count, type(problem).__name__, progress, initial=count - missing) as advance:
        for shard, arrays in _computed(problem, seed, dtype, jobs, processes, advance):
            if shard in shards:
                arrays = {name: np.concatenate([old, arrays[name]]) for name, old in shards[shard].items()}
            if store:
                store.write(shard, arrays)
            shards[shard] = arrays
    parts = [shards[shard] for shard in sorted(shards)]
    joined = {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}
    return Dataset(joined, settings)


def draw_sample(problem: Problem, index: int, seed: int = 0) -> Sample:
    """Return one sample in double precision: the one that `generate` puts at ``index``.

    Raises:
        SampleError: It could not be computed, or is not finite.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    try:
        # overflow shows in what comes out
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            sample = problem.sample(rng)
    except Exception as error:
        raise SampleError(f"sample {index} of {problem} with seed={seed} failed: {error}", index, seed) from error
    for name, field in sample.items():
        if not np.isfinite(field).all():
            raise SampleError(
                f"sample {index} of {problem} with seed={seed} is not finite in {name!r}. "
                "Where the problem has a dt, a smaller one may help.",
                index,
                seed,
            )
    return sample


def _length(arrays: Mapping[str, NDArray[Any]] | None) -> int:
    return len(next(iter(arrays.values()))) if arrays else 0


def _samples(
    problem: Problem,
    seed: int,
    dtype: np.dtype[Any],
    start: int,
    stop: int,
    advance: Advance | None = None,
) -> dict[str, NDArray[Any]]:
    """Return consecutive samples, stacked; runs in a process of its own or in the caller's."""
    samples = []
    for index in range(start, stop):
        samples.append({name: field.astype(dtype) for name, field in draw_sample(problem, index, seed).items()})
        if advance:
            advance(1)
    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


def _computed(
    problem: Problem,
    seed: int,
    dtype: np.dtype[Any],
    jobs: list[tuple[int, int, int]],
    processes: int,
    advance: Advance,
) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
    """Yield shards with their samples in the order in which they are done."""
    if processes == 1 or len(jobs) < 2:
        for shard, start, stop in jobs:
            yield shard, _samples(problem, seed, dtype, start, stop, advance)
        return
    with _one_thread_per_process():
        # spawned, not forked: torch and BLAS may have threads by now
        pool = ProcessPoolExecutor(
            min(processes, len(jobs)), multiprocessing.get_context("spawn"), initializer=end_with_parent
        )
        try:
            pending: dict[Future[dict[str, NDArray[Any]]], tuple[int, int]] = {
                pool.submit(_samples, problem, seed, dtype, start, stop): (shard, stop - start)
                for shard, start, stop in jobs
            }
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    shard, size = pending.pop(future)
                    arrays = future.result()
                    advance(size)
                    yield shard, arrays
        finally:
            # what is being computed is finished and thrown away
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _one_thread_per_process() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(_THREAD_SETTINGS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
