"""Examples of systems, of many dimensions with time, and of time windows: tiny runs, their pictures, and resumption."""

import re

import pytest
import torch

from examples.pinn import control_and_finance, kuramoto_sivashinsky, runs, systems
from nde import pinn
from nde.checkpoints import read_checkpoint


@pytest.fixture(autouse=True)
def restore_settings():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def is_picture(path):
    return path.read_bytes().startswith(b"\x89PNG")


def test_a_system_prints_the_error_of_every_output_and_can_be_resumed(tmp_path, capsys):
    arguments = ["--case", "kovasznay", "--points", "60", "--output", str(tmp_path)]
    assert systems.main([*arguments, "--steps", "2"]) == 0
    said = capsys.readouterr().out
    assert "finished after 2 steps: relative L2 error" in said and re.search(r"by output: u \S+, v \S+, p \S+", said)
    for kind in ("history", "residual", "solution_u", "solution_v", "solution_p"):
        assert is_picture(tmp_path / f"kovasznay_{kind}.png")
    assert systems.main([*arguments, "--steps", "3", "--resume"]) == 0
    assert read_checkpoint(tmp_path / "kovasznay.pt")["iteration"] == 3


def test_equations_of_elasticity_make_a_field_from_noisy_measurements_several_times_better(tmp_path, capsys):
    assert systems.main(["--case", "tissue", "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    alone, informed = map(float, re.findall(r"relative L2 error (\S+), loss", said))
    best = float(re.search(r"least error along the way (\S+)", said).group(1))
    assert informed < 0.1 < alone and informed < 0.3 * best


@pytest.mark.slow
@pytest.mark.parametrize(("case", "bound"), [("cavity", 1e-2), ("kovasznay", 1e-3), ("elasticity", 2e-5)])
def test_flows_and_elastic_bodies_are_found(case, bound, tmp_path, capsys):
    assert systems.main(["--case", case, "--output", str(tmp_path)]) == 0
    assert float(re.search(r"relative L2 error (\S+), loss", capsys.readouterr().out).group(1)) < bound


def test_many_dimensions_are_learned_where_the_network_knows_that_their_order_does_not_matter(tmp_path, capsys):
    arguments = ["--dimension", "5", "--points", "100", "--steps", "40", "--output", str(tmp_path)]
    for equation in ("hjb", "bsb"):
        assert control_and_finance.main(["--equation", equation, *arguments]) == 0
        assert float(re.search(r"skill (\S+),", capsys.readouterr().out).group(1)) < 0.2
        assert is_picture(tmp_path / f"{equation}_5_symmetric_history.png")
    assert control_and_finance.main([*arguments, "--network", "perceptron", "--steps", "1"]) == 0


def test_windows_of_time_go_on_where_they_stopped(tmp_path, capsys):
    arguments = ["--end", "0.05", "--points", "50", "--output", str(tmp_path)]
    assert kuramoto_sivashinsky.main([*arguments, "--steps", "2"]) == 0
    whole = re.search(r"to t = 0.05: relative L2 error (\S+)", capsys.readouterr().out).group(1)
    assert is_picture(tmp_path / "kuramoto_sivashinsky.png")
    (tmp_path / "kuramoto_sivashinsky_1.pt").unlink()  # as if it had been stopped in the second window
    assert kuramoto_sivashinsky.main([*arguments, "--steps", "2", "--resume"]) == 0
    assert f"relative L2 error {whole}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_first_window_is_found_to_six_digits(tmp_path, capsys):
    assert kuramoto_sivashinsky.main(["--end", "0.025", "--output", str(tmp_path)]) == 0
    assert float(re.search(r"to t = 0.025: relative L2 error (\S+)", capsys.readouterr().out).group(1)) < 5e-6


def test_the_series_through_values_is_the_function_that_they_are_of():
    grid = kuramoto_sivashinsky.PERIOD * torch.arange(48, dtype=torch.float64) / 48
    series = kuramoto_sivashinsky.Series(torch.cos(3 * grid) + torch.sin(grid) + 0.5)
    x = torch.rand(20, 2, dtype=torch.float64)
    torch.testing.assert_close(series(x), torch.cos(3 * x[:, 0]) + torch.sin(x[:, 0]) + 0.5)


def test_coordinates_are_rescaled_to_the_unit_interval_about_zero():
    domain = pinn.TimeProduct(pinn.Interval(2.0, 4.0), 0.0, 8.0)
    points = torch.tensor([[2.0, 8.0], [3.0, 4.0]])
    assert runs.Rescaled(torch.nn.Identity(), domain)(points).tolist() == [[-1.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("example", "wrong"),
    [
        (systems, ["--sensors", "0"]),
        (systems, ["--steps", "0"]),
        (systems, ["--case", "cavity", "--reynolds", "-1"]),
        (control_and_finance, ["--dimension", "0"]),
        (kuramoto_sivashinsky, ["--end", "0.51"]),
    ],
)
def test_wrong_arguments_end_with_an_explanation(example, wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        example.main(wrong)
    assert caught.value.code == 2 and "error: argument" in capsys.readouterr().err
