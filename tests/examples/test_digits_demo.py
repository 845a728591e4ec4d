"""The digits demo: a tiny run, interruption and resumption, and its complaints."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from examples import digits, digits_measure
from examples.common import Stopped
from examples.digits_model import CONFIGS, TABLE, UNREGULARISED, Classifier, load_digits
from examples.digits_training import Job

ANNEALED = next(name for name in CONFIGS if name.startswith("GlobalError,"))
PLOTS = ("accuracy-against-evaluations.png", "training.png", "along-the-solution.png")


@pytest.fixture(scope="module")
def data():
    return load_digits()


@pytest.fixture(autouse=True)
def restore_process_settings():
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    yield
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, handler)


def stop_after(batches):
    remaining = iter(range(batches))
    return lambda: next(remaining, None) is None


def test_a_quick_run_prints_the_table_and_leaves_plots_and_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(digits_measure, "REPETITIONS", 1)
    arguments = ["--quick", "--epochs", "1", "--workers", "2", "--output", str(tmp_path)]
    assert digits.main(arguments) == 0
    printed = capsys.readouterr().out
    assert all(config.name in printed for config in TABLE)
    assert all((tmp_path / plot).read_bytes().startswith(b"\x89PNG") for plot in PLOTS)
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [run["name"] for run in results["runs"]] == [config.name for config in TABLE]
    assert all(run["test_evals"] > 0 and run["predict_seconds"] > 0 for run in results["runs"])

    assert digits.main(arguments) == 0
    assert "results of an earlier run" in capsys.readouterr().out


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, data):
    whole, resumed = Job(ANNEALED, 0, 3, tmp_path / "whole"), Job(ANNEALED, 0, 3, tmp_path / "resumed")
    expected = whole.train(data)
    with pytest.raises(Stopped):
        resumed.train(data, stop=stop_after(10))  # in the second epoch
    assert resumed.epochs_done() == 1 and resumed.finished() is None
    figures = resumed.train(data)
    assert figures["history"] == expected["history"]
    assert figures["train_field_evals"] == expected["train_field_evals"]
    assert all(
        torch.equal(one, other)
        for one, other in zip(resumed.trained().parameters(), whole.trained().parameters(), strict=True)
    )
    assert resumed.finished() == figures


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_not_resumed(tmp_path, data):
    job = Job(UNREGULARISED, 0, 2, tmp_path)
    with pytest.raises(Stopped):
        job.train(data, stop=stop_after(7))
    assert job.epochs_done() == 1
    other = Job(ANNEALED, 0, 2, tmp_path)
    os.replace(job.checkpoint, other.checkpoint)
    assert other.epochs_done() == 0
    other.checkpoint.write_bytes(other.checkpoint.read_bytes()[:1000])
    assert other.epochs_done() == 0


def test_a_failed_solve_ends_the_job_and_is_reported(tmp_path, data):
    job = Job(UNREGULARISED, 0, 2, tmp_path)
    spoilt = data._replace(train_x=data.train_x * float("nan"))
    figures = job.train(spoilt)
    assert figures["failure"].startswith("epoch 1: ") and figures["history"] == []
    assert job.finished() == figures


def test_only_the_field_is_trained(data):
    model = Classifier(0)
    assert {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad} == {"flow"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--epochs", "0"], "--epochs: must be a whole number of at least 1, but is '0'"),
        (["--seeds", "many"], "--seeds: must be a whole number of at least 1, but is 'many'"),
        (["--workers", "-1"], "--workers: must be a whole number of at least 1, but is '-1'"),
        (["--output", __file__], "--output: cannot make the folder"),
    ],
)
def test_wrong_options_are_explained(arguments, complaint, capsys):
    with pytest.raises(SystemExit):
        digits.main(arguments)
    assert complaint in capsys.readouterr().err


def session_is_alive(number):
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_stops_its_workers_and_says_how_to_go_on(tmp_path, number):
    demo = subprocess.Popen(
        [sys.executable, digits.__file__, "--quick", "--epochs", "500", "--workers", "2", "--output", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # where the tests run in the background, SIGINT is ignored, and so it would be by what they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 120
        while not any(Path(tmp_path, "runs").glob("*.pt")):
            assert time.monotonic() < deadline and demo.poll() is None
            time.sleep(0.1)
        os.killpg(demo.pid, number) if number == signal.SIGINT else demo.send_signal(number)  # Ctrl-C reaches all
        _, printed = demo.communicate(timeout=60)
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.communicate()
    assert demo.returncode == 130
    assert "Interrupted" in printed and "Traceback" not in printed
    deadline = time.monotonic() + 10
    while session_is_alive(demo.pid):  # multiprocessing's resource tracker ends a moment after its parent
        assert time.monotonic() < deadline
        time.sleep(0.1)
