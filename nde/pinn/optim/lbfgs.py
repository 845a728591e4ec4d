"""L-BFGS that says why it stops, and starts anew before it gives up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["LBFGS"]


class LBFGS(torch.optim.LBFGS):
    """`torch.optim.LBFGS` with strong Wolfe conditions, without its silent ends.

    torch's optimiser returns without a word, and without having moved, once its curvature pairs are spoilt, a line
    search fails or the loss changes by less than ``1e-9``; every later call then does the same. This one forgets the
    pairs and goes on with the steepest descent; only if that does not move either it sets `status`.

    Args:
        params: The parameters, best in float64.
        lr: Length of the first trial step of each line search.
        max_iter: Iterations in one call of `step`.
        history_size: Number of curvature pairs.
        tolerance_grad: The gradient's largest entry at which it is done.

    Attributes:
        status: ``"running"``; ``"converged"``: the gradient is below its tolerance; ``"stalled"``: not even the
            steepest descent lowers the loss, which in float32 usually is rounding. A change of the loss, such as new
            points or weights, makes it run again.
        restarts: How often the pairs were forgotten.

    Source:
        Nocedal and Wright, Numerical Optimization (2006), algorithms 7.5 and 3.5.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float = 1.0,
        max_iter: int = 20,
        history_size: int = 50,
        tolerance_grad: float = 1e-12,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            max_iter=max_iter,
            history_size=history_size,
            tolerance_grad=tolerance_grad,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )
        self.status = "running"
        self.restarts = 0

    def reset_history(self) -> None:
        """Forget the curvature pairs: those of another loss, as at other points, mislead."""
        self.state.clear()

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]  # a closure is not optional
        """Take up to ``max_iter`` iterations and return the loss before them.

        Raises:
            FloatingPointError: The loss is not finite before the step, or in two line searches one after the other.
        """
        first: Any = None
        for attempt in range(2):
            before = self._snapshot()
            try:
                loss = super().step(closure)
            except FloatingPointError:  # a trial step too far
                if attempt or first is not None or self._is_at(before):
                    raise
                self._restore(before)
                self.reset_history()
                self.restarts += 1
                continue
            first = loss if first is None else first
            if not bool(torch.isfinite(torch.as_tensor(loss)).all()):
                value = float(torch.as_tensor(loss).detach())
                raise FloatingPointError(f"the loss is {value} before the step. Lower the learning rate before it.")
            if self._largest_gradient() <= self.param_groups[0]["tolerance_grad"]:
                self.status = "converged"
                return first
            if not self._is_at(before):
                self.status = "running"
                return first
            if self.state:
                self.reset_history()
                self.restarts += 1
        self.status = "stalled"
        return first

    def _snapshot(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.param_groups[0]["params"]]

    def _is_at(self, values: list[Tensor]) -> bool:
        return all(map(torch.equal, self.param_groups[0]["params"], values))

    @torch.no_grad()
    def _restore(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self.param_groups[0]["params"], values, strict=True):
            parameter.copy_(value)

    def _largest_gradient(self) -> float:
        sizes = [float(p.grad.abs().max()) for p in self.param_groups[0]["params"] if p.grad is not None]
        return max(sizes, default=0.0)
