"""The example of natural gradients: a tiny run, its pictures, and its resumption."""

import pytest
import torch

from examples.pinn import natural_gradient
from nde.checkpoints import read_checkpoint


@pytest.fixture(autouse=True)
def restore_settings():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("equation", ["poisson", "burgers", "allen-cahn"])
def test_a_tiny_run_prints_the_error_leaves_plots_and_can_be_resumed(equation, tmp_path, capsys):
    arguments = ["--equation", equation, "--points", "100", "--output", str(tmp_path)]
    assert natural_gradient.main([*arguments, "--steps", "3"]) == 0
    assert "finished after 3 steps: relative L2 error" in capsys.readouterr().out
    for kind in ("history", "solution", "residual"):
        assert (tmp_path / f"{equation}_{kind}.png").read_bytes().startswith(b"\x89PNG")
    assert natural_gradient.main([*arguments, "--steps", "5", "--resume"]) == 0
    assert read_checkpoint(tmp_path / f"{equation}.pt")["iteration"] == 5
