"""Examples of inverse, preconditioned and very high-dimensional problems: what they find, and how they go on."""

import re

import pytest
import torch

from examples.pinn import inverse, preconditioned, sine_gordon


@pytest.fixture(autouse=True)
def restore_settings():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.slow
def test_the_viscosity_is_found_within_its_own_standard_deviations(tmp_path, capsys):
    assert inverse.main(["--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    found, deviation = map(float, re.search(r"viscosity ([\d.]+) \+- ([\d.]+)", said).groups())
    assert abs(found - inverse.VISCOSITY) < 3 * deviation < 0.1 * inverse.VISCOSITY
    assert (tmp_path / "inverse.png").read_bytes().startswith(b"\x89PNG")


def test_an_inverse_run_goes_on_where_it_stopped(tmp_path, capsys):
    arguments = ["--points", "60", "--sensors", "20", "--output", str(tmp_path)]
    assert inverse.main([*arguments, "--steps", "2"]) == 0
    assert inverse.main([*arguments, "--steps", "3", "--resume"]) == 0
    assert "finished after 3 steps" in capsys.readouterr().out


def test_descent_takes_a_few_steps_at_every_frequency_where_plain_descent_takes_thousands(tmp_path, capsys):
    assert preconditioned.main(["--frequencies", "4", "8", "--output", str(tmp_path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:3]]
    assert [row[0] for row in rows] == ["4", "8"]
    for row in rows:
        assert 3 < float(row[2]) < 3.6 and int(row[3].replace(",", "")) > 5000
        assert float(row[4]) < 1.4 and int(row[5]) < 20


@pytest.mark.parametrize("kind", [["local"], ["local", "--optimizer", "adam"], ["perceptron"]])
def test_a_tiny_run_in_many_dimensions_prints_the_skill_and_can_be_resumed(kind, tmp_path, capsys):
    arguments = ["--dimension", "20", "--points", "10", "--network", *kind, "--width", "2", "--output", str(tmp_path)]
    assert sine_gordon.main([*arguments, "--steps", "3"]) == 0
    said = capsys.readouterr().out
    assert "that of the trivial fit" in said and "skill" in said
    error, trivial, skill = map(float, re.search(r"error ([\d.]+), .* fit ([\d.]+), skill ([\d.]+)", said).groups())
    assert error / trivial == pytest.approx(skill, rel=0.02)
    assert sine_gordon.main([*arguments, "--steps", "5", "--resume"]) == 0
    assert "finished after 5 steps" in capsys.readouterr().out


@pytest.mark.slow
def test_neighbours_are_learned_in_a_hundred_dimensions(tmp_path, capsys):
    assert sine_gordon.main(["--dimension", "100", "--steps", "80", "--output", str(tmp_path)]) == 0
    assert float(re.search(r"skill ([\d.]+)", capsys.readouterr().out).group(1)) < 0.15


@pytest.mark.parametrize(
    ("example", "wrong"),
    [
        (sine_gordon, ["--dimension", "1"]),
        (sine_gordon, ["--dimension", "20001"]),
        (inverse, ["--noise", "-1"]),
        (inverse, ["--steps", "0"]),
        (preconditioned, ["--frequencies", "0"]),
    ],
)
def test_wrong_arguments_end_with_an_explanation(example, wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        example.main(wrong)
    assert caught.value.code == 2 and "error: argument" in capsys.readouterr().err
