"""Runs training in worker processes, shows their progress, and stops them cleanly."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from examples.common import Stopped
from examples.regularization.framework.run import Run
from examples.regularization.registry import find_experiment

__all__ = ["train_all"]

Message = tuple[int, int, float]  # position of the run, its iterations so far, evaluations of the last one

_REPORT_EVERY = 0.3  # seconds


def train_all(runs: list[Run], data: Path | None, workers: int) -> list[dict[str, Any]]:
    """Return the figures of runs of one experiment, in their order; finished ones are not run again.

    Args:
        runs: The runs; they are begun in this order.
        data: Folder with files of data, for experiments that need them.
        workers: Number of processes, of one thread each.

    Raises:
        KeyboardInterrupt: The user interrupted. By then the workers have stopped and everything is saved.
    """
    figures = {position: run.finished() for position, run in enumerate(runs)}
    todo = [position for position, found in figures.items() if found is None]
    if todo:
        pool = _Pool([runs[position] for position in todo], data, min(workers, len(todo)))
        figures |= dict(zip(todo, pool.run(), strict=True))
    return [found for position in range(len(runs)) if (found := figures[position]) is not None]


class _Pool:
    """The worker processes, and the progress bar."""

    def __init__(self, runs: list[Run], data: Path | None, workers: int) -> None:
        context = multiprocessing.get_context("spawn")  # a forked process would inherit the threads of torch
        self.runs = runs
        self.done = [run.iterations_done() for run in runs]
        self.messages: Queue[Message] = context.Queue()
        self.stop = context.Event()
        arguments = (self.messages, self.stop, runs[0], data)
        self.executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=arguments)
        self.bar: tqdm[Any] = tqdm(
            total=sum(run.settings.iterations for run in runs),
            initial=sum(self.done),
            unit="it",
            desc=f"{runs[0].name}: {len(runs)} runs, {workers} at a time",
            mininterval=0.5 if sys.stderr.isatty() else 15,
            dynamic_ncols=True,
            smoothing=0.05,
        )

    def run(self) -> list[dict[str, Any]]:
        # The workers must not be hit by Ctrl-C, not even while they start: they are told to stop by the event.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            futures = [self.executor.submit(_train, position, run) for position, run in enumerate(self.runs)]
        finally:
            signal.signal(signal.SIGINT, handler)
        try:
            self._watch(futures)
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            self.bar.write("Stopping ...", file=sys.stderr)
            raise
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second Ctrl-C would leave workers behind
            self.stop.set()
            self.executor.shutdown(wait=True, cancel_futures=True)
            signal.signal(signal.SIGINT, handler)
            self.bar.close()

    def _watch(self, futures: list[Future[dict[str, Any]]]) -> None:
        """Show the progress until all is done."""
        pending, runs = set(futures), dict(zip(futures, self.runs, strict=True))
        while pending:
            with contextlib.suppress(queue.Empty):
                self._advance(*self.messages.get(timeout=0.2))
            done, pending = wait_for(pending, timeout=0)
            for future in done:
                figures = future.result()
                if figures["failure"] is not None:
                    run = runs[future]
                    self.bar.write(f"  {run.variant.slug}, seed {run.seed}: {figures['failure']}", file=sys.stderr)

    def _advance(self, position: int, done: int, evaluations: float) -> None:
        run = self.runs[position]
        self.bar.set_postfix_str(f"{run.variant.slug}, seed {run.seed}: {evaluations:.0f} evaluations", refresh=False)
        self.bar.update(done - self.done[position])
        self.done[position] = done


# In the worker processes ----------------------------------------------------------------------------------------------

_worker: dict[str, Any] = {}


def _begin_worker(messages: Queue[Message], stop: Event, run: Run, data: Path | None) -> None:
    torch.set_num_threads(1)
    _worker.update(messages=messages, stop=stop, experiment=find_experiment(run.name)(run.settings, data))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it has been killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _train(position: int, run: Run) -> dict[str, Any]:
    stop: Event = _worker["stop"]
    messages: Queue[Message] = _worker["messages"]
    told = 0.0

    def report(done: int, evaluations: float) -> None:
        nonlocal told
        if time.monotonic() - told > _REPORT_EVERY or done == run.settings.iterations:
            messages.put((position, done, evaluations))
            told = time.monotonic()

    try:
        return run.train(_worker["experiment"], report, stop.is_set)
    except Stopped:
        return {"failure": None}
