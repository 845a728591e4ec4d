"""Find the viscosity in Burgers' equation from a few noisy measurements, with the solution along the way.

    python examples/pinn/inverse.py                    a minute
    python examples/pinn/inverse.py --noise 0.05 --sensors 100

Begins with a viscosity ten times too large. Prints what was found, with an estimate of its standard deviation from the
linearised least-squares problem, and leaves a plot in results/pinn. Ctrl-C stops it after a step; the same command with
--resume goes on from there.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to be run from any directory, installed or not

import torch
from torch import Tensor

from nde import pinn
from nde.taylor.operators import Unknown

VISCOSITY = 0.02


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    options = _parse(arguments)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    case = pinn.zoo.burgers_1d(VISCOSITY)
    generator = torch.Generator().manual_seed(options.seed)
    sensors = case.domain.sample(options.sensors, generator=generator)
    clean = case.solution(sensors)
    measured = clean + options.noise * torch.randn(len(clean), generator=generator)
    viscosity = pinn.Coefficient(10 * VISCOSITY, positive=True)
    u = Unknown("xt")
    points = pinn.ResidualPoints(case.domain.sample, options.points, every=10, pool=5)
    # residuals of the data weigh as their errors ask for; without noise, a thousandth
    conditions = {
        "equation": pinn.Equation(u.t + u * u.x - u.given(viscosity) * u.xx, points),
        "sensors": pinn.Data(sensors, measured, weight=1 / max(options.noise, 1e-3) ** 2 * 1e-2),
    }
    problem = pinn.Problem(pinn.MLP(2, width=20, depth=2), conditions, coefficients={"viscosity": viscosity})
    options.output.mkdir(parents=True, exist_ok=True)
    checkpoint = options.output / "inverse.pt"
    trainer = pinn.Trainer(
        problem,
        pinn.NaturalGradient(problem, adaptive=True),
        seed=options.seed,
        reference=case.reference(2000),
        evaluate_every=5,
        checkpoint=checkpoint,
        checkpoint_every=50,
    )
    if options.resume and checkpoint.exists():
        trainer.resume()
    begin = time.process_time()
    ending = trainer.run(options.steps)
    found = float(viscosity().detach())
    print(
        f"{ending} after {trainer.iteration} steps, {time.process_time() - begin:.0f} s of processor time\n"
        f"viscosity {found:.5f} +- {deviation(problem, options.noise):.5f}, truly {VISCOSITY}: "
        f"off by {abs(found / VISCOSITY - 1):.2%}\n"
        f"relative L2 error of the solution {trainer.history.last('error'):.2e}, from {options.sensors} measurements "
        f"with noise of {options.noise:g}"
    )
    draw(trainer, case, sensors, options.output / "inverse.png")
    return 130 if ending == "interrupted" else 0


def deviation(problem: pinn.Problem, noise: float) -> float:
    """Return the standard deviation of the viscosity that the noise of the data leaves, to first order.

    With the equation as it is and ``J`` the Jacobian of all weighted residuals, a noise in the data moves the minimum
    by ``-(J^T J)^-1 J^T`` times the weighted noise.
    """
    parts, masses = [], []
    for name, condition in problem.conditions.items():
        jacobian = pinn.residual_jacobian(problem, name, problem.points(name))
        factor = (condition.weight / len(jacobian)) ** 0.5
        parts.append(factor * jacobian)
        masses.append(torch.full((len(jacobian),), factor * noise if name == "sensors" else 0.0))
    jacobian, spread = torch.cat(parts), torch.cat(masses)
    response = torch.linalg.pinv(jacobian, rtol=1e-8) * spread
    names = [name for name, _ in problem.named_parameters()]
    place = next(index for index, name in enumerate(names) if "viscosity" in name)
    start = sum(parameter.numel() for parameter in list(problem.parameters())[:place])
    coefficient = problem.coefficients["viscosity"]
    return float(response[start].norm() * coefficient().detach())  # the logarithm is what is trained


def draw(trainer: pinn.Trainer, case: pinn.zoo.Case, sensors: Tensor, path: Path) -> None:
    """Save pictures of the solution with the sensors, and of the viscosity along the training."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    axes = [torch.linspace(float(low), float(high), 101) for low, high in zip(*case.domain.bounds, strict=True)]
    x, t = torch.meshgrid(*axes, indexing="ij")
    with torch.no_grad():
        values = trainer.problem.model(torch.stack([x, t], -1).reshape(-1, 2)).reshape(101, 101)
    image = left.pcolormesh(t, x, values, cmap="RdBu_r", vmin=-1.1, vmax=1.1, rasterized=True)
    left.plot(sensors[:, 1], sensors[:, 0], "k.", markersize=2)
    left.set(xlabel="t", ylabel="x", title="solution found, with the sensors")
    figure.colorbar(image, ax=left)
    name = "coefficient/viscosity"
    right.semilogy(trainer.history.steps[name], trainer.history.values[name])
    right.axhline(VISCOSITY, color="black", linewidth=0.8, linestyle=":")
    right.set(xlabel="step", title="viscosity; dotted: the true one")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    print(f"plot: {path}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add = parser.add_argument
    add("--sensors", type=int, default=200)
    add("--noise", type=float, default=0.01, help="standard deviation of the measurements' errors")
    add("--steps", type=int, default=150)
    add("--points", type=int, default=1000, help="of the equation")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=1)
    add("--resume", action="store_true", help="go on from the checkpoint in the output folder")
    add("--output", type=Path, default=Path("results/pinn"))
    options = parser.parse_args(arguments)
    for name in ("sensors", "steps", "points"):
        if getattr(options, name) < 1:
            parser.error(f"argument --{name}: must be at least 1, but is {getattr(options, name)}")
    if not 0 <= options.noise < 10:
        parser.error(f"argument --noise: must be from 0 to 10, but is {options.noise}")
    return options


if __name__ == "__main__":
    sys.exit(main())
