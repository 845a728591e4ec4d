"""The command line: ``nde profile``, ``nde compare``, ``nde demo``, ``nde info``."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nde.profile.command.compare import PROBLEMS, FieldError, Measurement, UsageError, load_problem, measure
from nde.profile.command.script import Outcome, is_module, run_script
from nde.profile.cost import Cost, record

__all__ = ["app"]

app = typer.Typer(
    name="nde",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Where the time of differential equation solvers goes.",
)
_out, _errors = Console(soft_wrap=True, highlight=False), Console(stderr=True, soft_wrap=True, highlight=False)

# what follows the script is the script's
_SCRIPT_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
_Html = Annotated[Path | None, typer.Option("--html", help="Write a report for the browser here.")]
_Json = Annotated[Path | None, typer.Option("--json", help="Write all that was recorded here, as JSON.")]
_Trace = Annotated[Path | None, typer.Option("--trace", help="Write a trace for ui.perfetto.dev here.")]


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        import importlib.metadata

        _out.print(f"nde {importlib.metadata.version('nde')}", markup=False)
        raise typer.Exit


@app.command(context_settings=_SCRIPT_ARGUMENTS)
def profile(
    context: typer.Context,
    script: Annotated[
        str,
        typer.Argument(
            metavar="SCRIPT [ARGS]...", help="Script to run; with -m, a module. What follows are its arguments."
        ),
    ],
    module: Annotated[bool, typer.Option("-m", help="SCRIPT is a module, as with python -m.")] = False,
    html: _Html = None,
    json: _Json = None,
    trace: _Trace = None,
    advice: Annotated[
        bool, typer.Option(help="Solve the hardest solves again by other methods and tolerances.")
    ] = False,
    memory: Annotated[bool, typer.Option(help="Count the memory of tapes.")] = False,
    samples: Annotated[bool, typer.Option(help="Note which samples are hard.")] = False,
) -> None:
    """Run a script, unchanged, and say what its solves cost.

    Options of nde come before the script. What was recorded is reported however the script ends.
    """
    if script.startswith("-"):
        _fail(f"there is no option {script}; see nde profile --help. Options of the script itself stand behind it.")
    if module and not is_module(script):
        _fail(f"there is no module {script}. Give its name as with python -m, in the folder where it can be imported.")
    if not module and not Path(script).is_file():
        _fail(f"there is no script {script}. Give the path of a Python file, or -m and a module.")
    _check_writable({"--html": html, "--json": json, "--trace": trace})  # before hours of training
    cost, outcome = run_script(script, context.args, module=module, memory=memory, samples=samples)
    sys.stdout.flush()
    _out.print()
    written = _report(cost, advice, html, json, trace, f"Solver cost of {Path(script).name}")
    status = _status(outcome)
    raise typer.Exit(status or written)


@app.command()
def compare(
    problem: Annotated[str, typer.Argument(help=f"{', '.join(PROBLEMS)}; or module:function, file.py:function.")],
    methods: Annotated[str, typer.Option(help="With commas between.")] = "bosh3,tsit5,dopri5,dopri8",
    tolerances: Annotated[str, typer.Option(help="With commas between.")] = "1e-3,1e-5,1e-7,1e-9",
    y0: Annotated[str | None, typer.Option(help="Initial state, numbers with commas between.")] = None,
    span: Annotated[str | None, typer.Option(help="First and last time.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw error against evaluations here.")] = None,
) -> None:
    """Print work and precision of methods on a field f(t, y).

    The field is a function of a module or of a file. Where y0 and ts stand beside it, they are its initial state and
    its times; --y0 and --span say so, too.
    """
    _check_writable({"--plot": plot})
    try:
        field, start, times = load_problem(problem, y0, span)
        asked = [_tolerance(text) for text in tolerances.split(",")]
        found = measure(field, start, times, [name.strip() for name in methods.split(",")], asked)
    except FieldError as error:
        _errors.print(f"error: {error}", markup=False)
        raise typer.Exit(1) from None
    except UsageError as error:
        _fail(str(error))
    table = Table(box=None, pad_edge=False)
    for name in ("method", "tolerance", "error", "evaluations", "accepted", "rejected", "ms", ""):
        table.add_column(name, justify="left" if name in ("method", "") else "right")
    for one in found:
        counts = (str(one.evaluations), str(one.accepted), str(one.rejected))
        words = (one.method, f"{one.tolerance:.0e}", f"{one.error:.2e}")
        table.add_row(*words, *counts, f"{one.seconds * 1e3:.2f}", one.failure)
    _out.print(table)
    if plot is not None:
        _draw(found, plot, problem)


@app.command()
def demo(html: _Html = None, iterations: Annotated[int, typer.Option(min=1)] = 60) -> None:
    """Train a small neural ODE and say what its solves cost."""
    _check_writable({"--html": html})
    import torch

    import nde

    torch.manual_seed(0)
    angle = torch.rand(256) * 6.28
    radius = 0.5 + torch.randint(2, (256,)).float()
    points, labels = torch.stack([radius * angle.cos(), radius * angle.sin()], 1), (radius > 1).long()
    net = torch.nn.Sequential(torch.nn.Linear(3, 32), torch.nn.Tanh(), torch.nn.Linear(32, 3))
    layer = nde.NeuralODE(lambda t, y: net(y), augment=1)
    head = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], 1e-2)
    _out.print(f"Training a neural ODE to part two rings, {iterations} iterations ...")
    with record(torch.nn.ModuleDict({"net": net}), samples=True) as cost:
        for _ in range(iterations):
            loss = torch.nn.functional.cross_entropy(head(layer(points).y1), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    _out.print(f"Loss {loss.item():.3f}.\n")
    raise typer.Exit(_report(cost, True, html, None, None, "Solver cost of the demonstration"))


@app.command()
def info() -> None:
    """Print versions, devices, methods, and what is installed besides."""
    import importlib.metadata
    import importlib.util
    import platform

    import torch

    from nde.adjoint import ADJOINTS
    from nde.solvers.registry import method_names

    devices = ["cpu"] + [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    extras = ("matplotlib", "pandas", "tensorboard", "tqdm", "h5py", "lightning")
    here = [name for name in extras if importlib.util.find_spec(name)]
    rows = {
        "nde": importlib.metadata.version("nde"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "devices": ", ".join(devices),
        "threads": str(torch.get_num_threads()),
        "methods": ", ".join(method_names()),
        "adjoints": ", ".join(ADJOINTS),
        "extras": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in here) or "none",
    }
    for name, value in rows.items():
        _out.print(f"{name:<10}{value}", markup=False)


def _check_writable(paths: dict[str, Path | None]) -> None:
    """Fail where a report cannot be written, as far as that is known beforehand."""
    for option, path in paths.items():
        if path is None:
            continue
        if path.is_dir():
            _fail(f"{option} must be a file, but {path} is a folder. Try {option} {path / 'cost'}.")
        folder = next(one for one in path.resolve().parents if one.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            _fail(f"{option}: nothing can be written in {folder}. Give another folder.")


def _report(cost: Cost, advice: bool, html: Path | None, json: Path | None, trace: Path | None, title: str) -> int:
    """Print and write what was recorded, and return 0, or 2 where a file could not be written."""
    _out.print(cost.summary(), markup=False)
    found: list[Any] = []
    if advice:
        for label in dict.fromkeys(solve.label for solve in cost.solves):
            try:
                found.append(cost.advice(label))
            except ValueError as error:
                _errors.print(f"no advice on {label}: {error}", markup=False)
        for one in found:
            _out.print(f"\n{one}", markup=False)
    status = 0

    def page(path: Path) -> Path:
        return cost.to_html(path, title, found)

    for given, write in ((json, cost.to_json), (trace, cost.to_chrome_trace), (html, page)):
        if given is None:
            continue
        try:
            _out.print(f"wrote {write(given)}", markup=False)
        except OSError as error:
            _errors.print(f"error: cannot write {given}: {error.strerror or error}", markup=False)
            status = 2
    return status


def _status(outcome: Outcome) -> int:
    """Return the exit status that Python would have had, after telling how the script ended."""
    if outcome is None:
        return 0
    if isinstance(outcome, SystemExit):
        if outcome.code is None or isinstance(outcome.code, int):
            return outcome.code or 0
        _errors.print(str(outcome.code), markup=False)
        return 1
    if isinstance(outcome, KeyboardInterrupt):
        _errors.print("The script was interrupted.")
        return 130
    # the user's error, without the frames that ran the script
    frames = outcome.__traceback__
    while frames is not None and ("runpy" in frames.tb_frame.f_code.co_filename or _is_ours(frames)):
        frames = frames.tb_next
    _errors.print("".join(traceback.format_exception(type(outcome), outcome, frames)), markup=False, end="")
    return 1


def _is_ours(frame: Any) -> bool:
    return str(frame.tb_frame.f_code.co_filename).endswith(("command/script.py",))


def _draw(found: list[Measurement], path: Path, title: str) -> None:
    try:
        import matplotlib as mpl
    except ImportError:
        _fail("--plot needs matplotlib: pip install 'nde[plots]'")
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for name in dict.fromkeys(one.method for one in found):
        mine = [one for one in found if one.method == name and not one.failure]
        axes.loglog([one.evaluations for one in mine], [one.error for one in mine], "o-", label=name)
    axes.set(xlabel="evaluations of the field", ylabel="error", title=title)
    axes.legend(frameon=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        _fail(f"cannot write {path}: {error}")
    pyplot.close(figure)
    _out.print(f"wrote {path}", markup=False)


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise UsageError(f"--tolerances must be numbers between 0 and 1, such as 1e-3,1e-6, but one is {text!r}.")
    return value


def _fail(message: str) -> Any:
    _errors.print(f"error: {message}", markup=False)
    raise typer.Exit(2)
