"""Runs training jobs in worker processes, shows their progress, and stops them cleanly."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any

import torch
from tqdm import tqdm

from examples.common import Stopped
from examples.digits_model import Digits, load_digits
from examples.digits_training import Job

__all__ = ["train_all"]

Message = tuple[int, dict[str, float]]  # position of the job, and the figures of an epoch


def train_all(jobs: list[Job], workers: int) -> list[dict[str, Any]]:
    """Return the figures of the jobs, in their order; those that are finished already are not run again.

    Args:
        jobs: The jobs; they are begun in this order.
        workers: Number of processes, of one thread each.

    Raises:
        KeyboardInterrupt: The user interrupted. By then the workers have stopped and everything is saved.
    """
    figures = {job: job.finished() for job in jobs}
    todo = [job for job in jobs if figures[job] is None]
    if todo:
        figures |= _Pool(todo, min(workers, len(todo))).run()
    return [found for job in jobs if (found := figures[job]) is not None]


class _Pool:
    """The worker processes, and the progress bar."""

    def __init__(self, jobs: list[Job], workers: int) -> None:
        context = multiprocessing.get_context("spawn")  # a forked process would inherit the threads of torch
        self.jobs = jobs
        self.messages: Queue[Message] = context.Queue()
        self.stop = context.Event()
        self.executor = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_begin_worker, initargs=(self.messages, self.stop)
        )
        self.bar: tqdm[Any] = tqdm(
            total=sum(job.epochs for job in jobs),
            initial=sum(job.epochs_done() for job in jobs),
            unit="epoch",
            desc=f"training {len(jobs)} models, {workers} at a time",
            mininterval=0.5 if sys.stderr.isatty() else 15,
            dynamic_ncols=True,
            smoothing=0.05,
        )

    def run(self) -> dict[Job, dict[str, Any] | None]:
        # The workers must not be hit by Ctrl-C, not even while they start: they are told to stop by the event.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            futures = {self.executor.submit(_train, i, job): job for i, job in enumerate(self.jobs)}
        finally:
            signal.signal(signal.SIGINT, handler)
        try:
            self._watch(futures)
            return {job: future.result() for future, job in futures.items()}
        except KeyboardInterrupt:
            self.bar.write("Stopping ...", file=sys.stderr)
            raise
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second Ctrl-C would leave workers behind
            self.stop.set()
            self.executor.shutdown(wait=True, cancel_futures=True)
            signal.signal(signal.SIGINT, handler)
            self.bar.close()

    def _watch(self, futures: dict[Future[dict[str, Any]], Job]) -> None:
        """Show the progress until all is done."""
        pending = set(futures)
        while pending:
            try:
                position, entry = self.messages.get(timeout=0.2)
                job = self.jobs[position]
                figures = f"{entry['test_evals']:.0f} evaluations, {entry['test_accuracy']:.1%}"
                self.bar.set_postfix_str(f"{job.name}, seed {job.seed}: {figures}", refresh=False)
                self.bar.update()
            except queue.Empty:
                pass
            done, pending = wait_for(pending, timeout=0)
            for future in done:
                self.bar.write(_summary(futures[future], future.result()), file=sys.stderr)


def _summary(job: Job, figures: dict[str, Any]) -> str:
    head = f"  {job.name}, seed {job.seed}: "
    if figures["failure"] is not None:
        return head + f"the solve failed in {figures['failure']}"
    last = figures["history"][-1]
    return head + (
        f"{last['test_accuracy']:.1%} with {last['test_evals']:.0f} evaluations, "
        f"trained in {figures['train_seconds']:.1f} s"
    )


# In the worker processes ----------------------------------------------------------------------------------------------

_worker: dict[str, Any] = {}


def _begin_worker(messages: Queue[Message], stop: Event) -> None:
    torch.set_num_threads(1)
    _worker.update(messages=messages, stop=stop, data=load_digits())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it has been killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _train(position: int, job: Job) -> dict[str, Any]:
    data: Digits = _worker["data"]
    stop: Event = _worker["stop"]
    messages: Queue[Message] = _worker["messages"]

    try:
        return job.train(data, lambda entry: messages.put((position, entry)), stop.is_set)
    except Stopped:
        return {}
