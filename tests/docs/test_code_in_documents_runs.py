"""The Python blocks of the documents are run as they stand."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def blocks(path):
    return re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.filterwarnings("ignore:rtol and atol ask for")
def test_readme_blocks_run_one_after_the_other(capsys):
    torch.manual_seed(0)
    names = {}
    for block in blocks("README.md"):
        exec(block, names)
    assert names["sol"].ys.shape == (31, 2, 2)
    assert names["noisy"].ys.shape == (3, 256, 2)
    assert torch.isfinite(names["loss"])
    assert "step size fell to" in capsys.readouterr().out
    layer = names["layer"]
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_the_two_penalties_that_the_readme_calls_the_same_are_the_same():
    torch.manual_seed(0)
    names = {}
    found = blocks("README.md")
    (place,) = (index for index, block in enumerate(found) if block.startswith("nde.regularize.GlobalError("))
    for block in found[:place]:
        exec(block, names)
    object_form, one_line = [line for line in found[place].splitlines() if line]
    assert torch.equal(eval(object_form, names), eval(one_line, names))


def test_the_method_in_the_architecture_document_has_its_order_and_both_adjoints():
    names = {}
    block = next(block for block in blocks("docs/architecture.md") if "class SSPRK3" in block)
    exec(block, names)
    nde = names["nde"]

    def field(t, y):
        return -y * (y + t.cos())

    y0 = torch.tensor([0.7], dtype=torch.float64)
    reference = nde.solve_ode(field, y0, (0.0, 1.0), method="dopri8", rtol=1e-12, atol=1e-12).y1
    errors = [
        float((nde.solve_ode(field, y0, (0.0, 1.0), method="ssprk3", controller=nde.FixedStep(h)).y1 - reference).abs())
        for h in (1 / 40, 1 / 80)
    ]
    order = torch.log2(torch.tensor(errors[0] / errors[1]))
    assert abs(float(order) - 3) < 0.15

    start = y0.clone().requires_grad_()
    grads = []
    for adjoint in ("direct", "discrete"):
        sol = nde.solve_ode(field, start, (0.0, 0.4, 1.0), method="ssprk3", adjoint=adjoint)
        loss = sol.ys.square().sum() + sol.steps.error.sum()
        grads.append(torch.autograd.grad(loss, start)[0])
    # the same steps in both: they differ by rounding alone
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-10, atol=1e-12)


def test_the_example_of_a_step_size_per_sample_runs(capsys):
    (block,) = blocks("docs/requests.md")
    names = {}
    exec(block, names)
    solution, rates, spans = names["solution"], names["rates"], names["spans"]
    expected = torch.exp(-rates * (spans[:, 1] - spans[:, 0]))
    torch.testing.assert_close(solution.y1[:, 0], expected, rtol=1e-3, atol=1e-5)
    assert capsys.readouterr().out


def test_the_import_for_users_of_torchdiffeq_works():
    (block,) = blocks("docs/torchdiffeq.md")
    names = {}
    exec(block, names)
    assert callable(names["odeint"])


def test_the_blocks_on_stochastic_equations_run_one_after_the_other():
    torch.manual_seed(0)
    names = {}
    for block in blocks("docs/stochastic.md"):
        exec(block, names)
    assert names["solution"].ys.shape == (3, 256, 3)
    assert torch.isfinite(names["slope"].grad)
    assert all(parameter.grad is not None for parameter in names["drift"].parameters())
    assert names["positions"].shape == (500, 1)


def test_the_blocks_on_penalties_run_one_after_the_other():
    torch.manual_seed(0)
    names = {}
    for block in blocks("docs/regularization.md"):
        exec(block, names)
    assert names["out"].penalty > 0
    assert names["layer"].regularizer.weight != 1.0
    assert all(parameter.grad is not None for parameter in names["field"].parameters())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_blocks_on_profiling_run_one_after_the_other(capsys):
    torch.manual_seed(0)
    names = {}
    for block in blocks("docs/profiling.md"):
        exec(block, names)
    said = capsys.readouterr().out
    assert "5 solves in" in said and "(recorded)" in said
    assert {path.name for path in names["folder"].iterdir()} == {"cost.png", "cost.html", "cost.json", "trace.json"}


def test_the_blocks_on_several_processes_run_one_after_the_other(capsys):
    torch.manual_seed(0)
    names = {}
    for block in blocks("docs/distributed.md"):
        exec(block, names)
    assert len(names["history"]) == 8 and names["history"][0]["penalty"] > 0 and names["numbers"]["nfe"] > 0
    assert names["shares"][1] < 1.1 < names["shares"][0]


def test_the_blocks_on_models_run_one_after_the_other(capsys):
    torch.manual_seed(0)
    names = {}
    for block in blocks("docs/models.md"):
        exec(block, names)
    assert names["drawn"].shape == (100, 2) and torch.isfinite(names["exact"])
    assert names["forecast"].shape == (3, 32, 1)
    assert torch.isfinite(names["loss"]) and not names["field"].use_network
    assert "log-density" in capsys.readouterr().out


def test_the_blocks_on_controlled_equations_run_one_after_the_other():
    torch.manual_seed(0)
    names = {}
    for block in blocks("docs/controlled.md"):
        exec(block, names)
    assert names["path"].coefficients.shape == (32, 49, 12)
    assert names["part"].batch_shape == (8,)
    assert names["sol"].ys.shape == (3, 32, 16)
    assert torch.isfinite(names["loss"])
    assert names["output"].penalty > 0


def test_the_blocks_on_neural_operators_run_one_after_the_other():
    torch.manual_seed(0)
    names = {}
    for block in blocks("docs/operators.md"):
        exec(block, names)
    assert names["fine"].shape == (4, 1, 64, 96) and names["scattered"].shape == (4, 1, 1000)
    coarse, fine = names["changes"]
    assert coarse > 3.5 * fine
    assert names["output"].penalty > 0
    assert all(parameter.grad is not None for parameter in names["field"].parameters())
    assert names["answer"].shape == (3, 1, 10)


def test_the_blocks_on_data_run_one_after_the_other():
    names = {}
    for block in blocks("docs/data.md"):
        exec(block, names)
    assert names["coefficients"].shape == (32, 1, 32, 32)
    assert len(names["again"]) == 48 and names["chaos"].shape == (2, 11, 1, 64)
    assert (names["again"]["solution"][:40] == names["data"]["solution"]).all()
    assert names["one"].shape == (6, 1, 32, 32) and names["u"].shape == (1, 128, 128)
    assert names["heat"]["end"].std() < names["heat"]["start"].std()
    assert names["history"][-1]["loss"] < names["history"][0]["loss"]
    assert names["h1_error"] > names["history"][-1]["validation"] > 0
    assert names["forecast"].shape == (2, 11, 1, 64) and torch.isfinite(names["forecast"]).all()
