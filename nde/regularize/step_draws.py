"""Which steps of a solve are drawn: one or several of each sample, where samples have steps of their own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy

from nde.solvers.solution import Steps

__all__ = ["StepDraws"]

Vector = numpy.ndarray


class StepDraws:
    """Draws among the accepted steps of each sample.

    Args:
        steps: The steps.
        places: Numbers in [0, 1), shape ``(samples, draws)``; of one row where the samples share their steps.
        by_time: Whether a number is a place in the span, and not one in the sequence of steps.

    Attributes:
        indices: The steps that were drawn, each once, shape ``(drawn,)``: those of a sample behind each other, and the
            samples increasing.
        counts: How often each was drawn.
        weights: The size of each over the probability of one draw to be it.
        spans: Length of the span of its sample, as far as it was solved.
    """

    def __init__(self, steps: Steps, places: Vector, by_time: bool) -> None:
        sizes = steps.h.detach().abs().double().cpu().numpy()
        sample = numpy.zeros(len(sizes), numpy.int64) if steps.sample is None else steps.sample.cpu().numpy()
        order = numpy.argsort(sample, kind="stable")
        sizes, sample = sizes[order], sample[order]
        numbers = numpy.bincount(sample, minlength=len(places))
        behind = numpy.cumsum(numbers)
        solved = numbers > 0
        first = (behind - numbers)[solved, None]
        spans = numpy.zeros(len(places))
        drawn: Vector
        if by_time:
            ends = numpy.cumsum(sizes)
            before = numpy.concatenate([[0.0], ends])[first[:, 0]]
            spans[solved] = ends[behind[solved] - 1] - before
            starts = numpy.zeros(len(places))
            starts[solved] = before
            # the span of a sample is one unit long, and begins where that of the sample before it ends
            shares = sample + (ends - starts[sample]) / spans[sample]
            drawn = numpy.searchsorted(shares, numpy.flatnonzero(solved)[:, None] + places[solved], side="right")
        else:
            spans[:] = numpy.bincount(sample, sizes, len(places))
            drawn = first + (places[solved] * numbers[solved, None]).astype(numpy.int64)
        found, self.counts = numpy.unique(drawn.clip(first, behind[solved, None] - 1), return_counts=True)
        self._sample = sample[found]
        self.indices = order[found]
        self.spans = spans[self._sample]
        self.weights: Vector = self.spans if by_time else sizes[found] * numbers[self._sample]

    def one_of_each(self) -> Iterator[Vector]:
        """Yield places among `indices`, no two of which belong to one sample."""
        begins = numpy.searchsorted(self._sample, self._sample)
        number = numpy.arange(len(self._sample)) - begins
        for index in range(number.max(initial=-1) + 1):
            yield numpy.flatnonzero(number == index)
