"""The forecasts of sunspots: a tiny run, interruption and resumption, and the scores that it prints."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from examples import sde_bands
from examples.common import Stopped, Training
from examples.sde_bands_model import HORIZON, Forecaster, autoregression, crps, load_sunspots, scores


@pytest.fixture(scope="module")
def data():
    return load_sunspots()


@pytest.fixture(autouse=True)
def restore_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_quick_run_prints_the_table_leaves_plots_and_is_not_repeated(tmp_path, capsys):
    arguments = ["--quick", "--iterations", "2", "--output", str(tmp_path)]
    assert sde_bands.main(arguments) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("neural SDE", "AR(9)", "all earlier years"))
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("bands.png", "scores.png"))
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["scores"]
    assert all(0 <= score["in_50"] <= score["in_90"] <= 1 and score["crps"] > 0 for score in found.values())
    assert sde_bands.main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out == printed and "training" not in captured.err


def test_nothing_of_the_held_out_years_is_seen_in_training(data):
    assert int(data.train.last.max()) + HORIZON < data.split
    assert int(data.test.last.min()) == data.split - 1
    torch.testing.assert_close(data.numbers(data.series), data.observed, rtol=1e-4, atol=1e-3)  # float32


def training_of(data, checkpoint, loss=None) -> Training:
    torch.manual_seed(0)
    loss = loss or (lambda model, generator: model.loss(data.train, generator))
    return Training(Forecaster(), loss, 6, checkpoint, {"version": "1"}, learning_rate=0.01)


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, data):
    whole = training_of(data, tmp_path / "whole.pt")
    whole.run("whole")
    stops = iter([False, False, False, True])
    with pytest.raises(Stopped):
        training_of(data, tmp_path / "parts.pt").run("parts", lambda: next(stops))
    rest = training_of(data, tmp_path / "parts.pt")
    assert len(rest.history) == 3
    rest.run("rest")
    assert rest.history == whole.history
    pairs = zip(rest.model.parameters(), whole.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_not_resumed(tmp_path, data):
    file = tmp_path / "run.pt"
    training_of(data, file).run("run")
    assert len(training_of(data, file).history) == 6
    other = Training(Forecaster(), lambda model, generator: None, 6, file, {"version": "2"}, learning_rate=0.01)
    assert other.history == []
    file.write_bytes(file.read_bytes()[:1000])
    assert training_of(data, file).history == []


def test_score_is_that_of_its_definition():
    torch.manual_seed(1)
    paths, future = torch.randn(2, 7, 3).double(), torch.randn(2, 3).double()
    pairs = (paths.unsqueeze(1) - paths.unsqueeze(2)).abs().sum((1, 2)) / (7 * 6)
    expected = (paths - future.unsqueeze(1)).abs().mean(1) - pairs / 2
    torch.testing.assert_close(crps(paths, future), expected, rtol=1e-12, atol=1e-12)


def test_bands_of_the_right_law_hold_as_often_as_they_say():
    torch.manual_seed(2)
    found = scores(torch.randn(4000, 400, 1), torch.randn(4000, 1))
    # four standard errors of a share of 4000 years, and the error of a quantile of 400 paths
    assert found["in_50"] == pytest.approx(0.5, abs=0.04) and found["in_90"] == pytest.approx(0.9, abs=0.025)


def test_the_autoregression_forecasts_what_its_equation_says(data):
    order, paths = autoregression(data, [9], 4000)
    assert order == 9 and paths.shape == (len(data.test.last), 4000, HORIZON)
    rows = torch.stack([data.series[i - 9 : i] for i in range(9, data.split)]).double()
    design = torch.cat([rows, torch.ones(len(rows), 1).double()], 1)
    solution = torch.linalg.lstsq(design, data.series[9 : data.split, None].double()).solution[:, 0]
    expected = data.test.history.double() @ solution[:9] + solution[9]
    # 4 standard errors of a mean of 4000 paths of spread 0.4
    torch.testing.assert_close(paths[:, :, 0].mean(1).double(), expected, rtol=0, atol=0.03)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_and_says_how_to_go_on(tmp_path, number):
    run = subprocess.Popen(
        [sys.executable, sde_bands.__file__, "--iterations", "5000", "--output", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        # where the tests run in the background, SIGINT is ignored, and so it would be by what they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 120
        while not any(tmp_path.glob("*.pt")):
            assert time.monotonic() < deadline and run.poll() is None
            time.sleep(0.1)
        run.send_signal(number)
        _, printed = run.communicate(timeout=60)
    finally:
        if run.poll() is None:
            run.kill()
            run.communicate()
    assert run.returncode == 130
    assert "Interrupted" in printed and "Traceback" not in printed
