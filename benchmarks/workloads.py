"""The problems, as plain data. Imports no torch, so that the parent process can read the list."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MEMORY", "WORKLOADS", "MemoryWorkload", "Workload"]


@dataclass(frozen=True)
class Workload:
    """A neural ODE on [0, 1] with the field ``[y, t] -> Linear -> tanh -> [h, t] -> Linear``, float32.

    Attributes:
        name: What `--only` calls it.
        dim: Size of the state of one sample.
        hidden: Width of the hidden layer.
        batch: Samples.
        tol: Relative and absolute tolerance.
        outputs: Output times, evenly spaced, the initial one included.
    """

    name: str
    dim: int
    hidden: int
    batch: int
    tol: float
    outputs: int

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.dim}-{self.hidden}-{self.dim}, batch {self.batch}, "
            f"rtol = atol = {self.tol:g}, {self.outputs} outputs"
        )


@dataclass(frozen=True)
class MemoryWorkload:
    """A training step over a fixed number of equal steps, so that every library keeps equally many of them.

    Attributes:
        workload: Sizes and outputs; its tolerance is not used.
        steps: Number of steps.
        per_unit: Steps per unit of time. A power of two: step sizes and times are exact, and no library needs
            one more tiny step to reach the end.
    """

    workload: Workload
    steps: int = 50
    per_unit: int = 64

    def __str__(self) -> str:
        workload = self.workload
        sizes = f"{workload.dim}-{workload.hidden}-{workload.dim}, batch {workload.batch}"
        return f"{workload.name}: {sizes}, {self.steps} equal steps"

    @property
    def size(self) -> float:
        return 1 / self.per_unit

    @property
    def end(self) -> float:
        return self.steps / self.per_unit


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("tiny", dim=2, hidden=50, batch=20, tol=1e-7, outputs=10),
        Workload("medium", dim=32, hidden=64, batch=128, tol=1e-5, outputs=2),
        Workload("wide", dim=784, hidden=100, batch=512, tol=1e-6, outputs=2),
    )
}
MEMORY = MemoryWorkload(WORKLOADS["wide"])
