"""The experiment: data, classifier and the penalties to compare.

A neural ODE carries the 64 pixels of a handwritten digit along; a linear read-out makes ten logits of the result. The
read-out keeps its random initialisation, so that all the classifying is left to the flow: with a trained read-out, a
model whose flow has collapsed to a constant shift would still look fine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits as load_sklearn_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import nde
from nde.regularize import Exponential, GlobalError, GlobalErrorSquared, GlobalStiffness, Penalty, StepCount

DTYPE = torch.float64  # at this tolerance the error estimate would be rounding noise in float32
TOLERANCE = 1.4e-8
BATCH = 256
LEARNING_RATE = 0.1
MOMENTUM = 0.9
MAX_STEPS = 2000  # a run whose field blows up ends instead of filling the memory

# Everything besides penalty, seed and epochs that a result depends on. A checkpoint is resumed only where this agrees.
SETUP = {
    "version": "1",
    "data": "scikit-learn digits / 16, 1437 train + 360 test, stratified",
    "field": "[y, t] 65 -> 100 tanh, [., t] 101 -> 64 tanh",
    "read-out": "64 -> 10, random, frozen",
    "solver": f"tsit5, rtol = atol = {TOLERANCE:g}, float64, adjoint = discrete, t in [0, 1]",
    "optimiser": f"SGD, learning rate {LEARNING_RATE:g}, momentum {MOMENTUM:g}, batch {BATCH}",
}


class Digits(NamedTuple):
    """Pixels in [0, 1], shape ``(n, 64)``, and classes, shape ``(n,)``."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor


def load_digits() -> Digits:
    """Return the digits that come with scikit-learn, always split in the same way."""
    pixels, classes = load_sklearn_digits(return_X_y=True)
    parts = train_test_split(pixels / 16, classes, test_size=360, random_state=0, stratify=classes)
    train_x, test_x, train_y, test_y = (torch.as_tensor(part) for part in parts)
    return Digits(train_x.to(DTYPE), train_y, test_x.to(DTYPE), test_y)


class Field(nn.Module):
    """The vector field: two layers, each of which sees the time."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(65, 100, dtype=DTYPE)
        self.outer = nn.Linear(101, 64, dtype=DTYPE)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        time = t.expand(len(y), 1)
        hidden = torch.tanh(self.inner(torch.cat([y, time], dim=1)))
        return torch.tanh(self.outer(torch.cat([hidden, time], dim=1)))


class Classifier(nn.Module):
    """Pixels, flow, frozen read-out, logits. Models of the same seed start from the same weights."""

    def __init__(self, seed: int, penalty: Penalty | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            field = Field()
            self.read_out = nn.Linear(64, 10, dtype=DTYPE).requires_grad_(False)
        self.flow = nde.NeuralODE(
            field, regularizer=penalty, method="tsit5", rtol=TOLERANCE, atol=TOLERANCE, max_steps=MAX_STEPS
        )

    def forward(self, x: Tensor) -> tuple[Tensor, nde.NeuralODEOutput]:
        output = self.flow(x)
        return self.read_out(output.y1), output


def accuracy(logits: Tensor, classes: Tensor) -> float:
    """Return the fraction of samples whose largest logit is that of their class."""
    return (logits.argmax(dim=1) == classes).double().mean().item()


@dataclass(frozen=True)
class Config:
    """One way of training.

    Attributes:
        name: Unique; also the row of the table.
        family: What the configurations of a curve in the plots share.
        penalty: From the number of epochs to the penalty, whose schedule counts epochs.
        slug: Unique name for files.
        weight: The (first) weight, to put points in order.
        label: The weight as text, to label points with.
    """

    name: str
    family: str
    penalty: Callable[[int], Penalty | None]
    slug: str
    weight: float
    label: str


UNREGULARISED = "unregularised"
STEP_COUNT, ERROR, SQUARED, STIFFNESS = "StepCount", "GlobalError", "GlobalErrorSquared", "GlobalStiffness"


def _step_count(weight: float) -> Config:
    return Config(
        f"StepCount, {weight:g}",
        STEP_COUNT,
        lambda epochs: StepCount(weight),
        f"step-count-{weight:g}",
        weight,
        f"{weight:g}",
    )


def _annealed_error(start: float, end: float) -> Config:
    # Annealed over the epochs, with the mean over the steps, as in the code of Pal et al. (2021). Their weights, 100 to
    # 10, belong to a PI controller that keeps the errors at 0.17 times the tolerance, with more and smaller steps; the
    # default controller keeps them at 0.59, where the same weights make the flow collapse.
    return Config(
        f"GlobalError, {start:g} to {end:g}",
        ERROR,
        lambda epochs: GlobalError(Exponential(start, end, steps=epochs), reduction="mean"),
        f"global-error-{start:g}-{end:g}",
        start,
        f"{start:g}→{end:g}",
    )


def _squared_error(weight: float) -> Config:
    return Config(
        f"GlobalErrorSquared, {weight:g}",
        SQUARED,
        lambda epochs: GlobalErrorSquared(weight),
        f"global-error-squared-{weight:g}",
        weight,
        f"{weight:g}",
    )


_PLAIN = Config(UNREGULARISED, UNREGULARISED, lambda epochs: None, UNREGULARISED, 0.0, "0")
# The published weight: 0.1 times the largest stiffness estimate over the length of the stability interval.
_STIFFNESS = Config(
    "GlobalStiffness, 0.1",
    STIFFNESS,
    lambda epochs: GlobalStiffness(0.1, reduction="max"),
    "global-stiffness-0.1",
    0.1,
    "0.1",
)

# The rows of the table, longest training first.
TABLE = (_PLAIN, _STIFFNESS, _annealed_error(2, 0.2), _step_count(0.03), _squared_error(0.03))
# More weights, with one seed each, for the plot of accuracy against evaluations; the longest training first.
SWEEP = (
    _annealed_error(1, 0.1),
    _step_count(0.01),
    _squared_error(0.01),
    _squared_error(0.1),
    _step_count(0.3),
    _step_count(0.05),
    _step_count(0.1),
    _annealed_error(5, 0.5),
)
CONFIGS = {config.name: config for config in TABLE + SWEEP}


def baselines(data: Digits, seeds: int) -> dict[str, float]:
    """Return the test accuracies of what has no flow: the frozen read-outs (their mean), and a trained linear layer."""
    with torch.no_grad():
        frozen = [accuracy(Classifier(seed).read_out(data.test_x), data.test_y) for seed in range(seeds)]
    linear = LogisticRegression(max_iter=2000).fit(data.train_x.numpy(), data.train_y.numpy())
    return {
        "frozen read-out": sum(frozen) / len(frozen),
        "trained linear read-out": float(linear.score(data.test_x.numpy(), data.test_y.numpy())),
    }
