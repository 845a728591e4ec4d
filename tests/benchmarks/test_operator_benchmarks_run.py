"""The benchmark of neural operators builds and measures what it says."""

import sys

import pytest

from benchmarks import operators


@pytest.mark.slow
def test_the_benchmark_of_operators_measures_each_of_our_models_in_a_process_of_its_own(capsys):
    operators.steps([32], 1, None)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0].strip() for line in lines[-3:]] == list(operators.OURS)


def test_one_row_is_the_time_of_a_training_step_and_the_parameters():
    row = operators.in_process(sys.executable, "fno", 32, 1)
    assert 0 < row["forward"] < row["both"]
    # 25 x 25 real numbers in each of 4 layers and 32 x 32 pairs of channels, and little else
    assert 4 * 32 * 32 * 625 < row["parameters"] < 1.01 * 4 * 32 * 32 * 625
