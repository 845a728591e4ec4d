"""The command does what it says on scripts as they are, and tells users what was wrong without a traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("typer")
from typer.testing import CliRunner

from nde.profile.command.app import app

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
import torch
import nde
assert __name__ == "__main__"
from beside import RATE
print("arguments", sys.argv[1:])
y = nde.solve_ode(lambda t, y: -RATE * y, torch.ones(2, 3), (0.0, 1.0)).y1
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "beside.py").write_text("RATE = 2.0\n")
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return path


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_script_is_run_unchanged_with_its_arguments_and_reported(script, tmp_path):
    before = list(sys.path), sys.argv
    page, data, trace = tmp_path / "cost.html", tmp_path / "cost.json", tmp_path / "trace.json"
    result = invoke("profile", "--html", page, "--json", data, "--trace", trace, script, "--epochs", "3", "--html")
    assert result.exit_code == 0, result.output
    assert "arguments ['--epochs', '3', '--html']" in result.output
    assert "1 solves in" in result.output and f"wrote {page}" in result.output
    assert len(json.loads(data.read_text())["solves"]) == 1 and "<svg" in page.read_text()
    assert json.loads(trace.read_text())["traceEvents"]
    assert (list(sys.path), sys.argv) == before
    sys.modules.pop("beside", None)


@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [
        ("raise ValueError('in the script')", 1, "ValueError: in the script"),
        ("sys.exit(7)", 7, ""),
        ("sys.exit('a reason')", 1, "a reason"),
        ("raise KeyboardInterrupt", 130, "interrupted"),
    ],
)
def test_however_a_script_ends_what_was_recorded_is_reported(script, ending, status, said):
    script.write_text(SCRIPT + ending + "\n")
    result = invoke("profile", script)
    assert result.exit_code == status
    assert "1 solves in" in result.output and said in result.output
    assert "runpy" not in result.output and "run_script" not in result.output
    sys.modules.pop("beside", None)


def test_modules_are_run_as_python_does(script, monkeypatch):
    monkeypatch.chdir(script.parent)
    result = invoke("profile", "-m", "train", "one")
    assert result.exit_code == 0 and "arguments ['one']" in result.output and "1 solves in" in result.output
    sys.modules.pop("beside", None)


def test_advice_is_printed_on_demand(script):
    result = invoke("profile", "--advice", script)
    assert result.exit_code == 0 and "(recorded)" in result.output
    sys.modules.pop("beside", None)


def test_work_and_precision_are_printed(tmp_path):
    plot = tmp_path / "plot.png"
    result = invoke(
        "compare", "lotka-volterra", "--methods", "bosh3,tsit5", "--tolerances", "1e-3,1e-6", "--plot", plot
    )
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines() if line.startswith(("bosh3", "tsit5"))]
    assert [row[:2] for row in rows] == [["bosh3", "1e-03"], ["bosh3", "1e-06"], ["tsit5", "1e-03"], ["tsit5", "1e-06"]]
    errors = [float(row[2]) for row in rows]
    assert errors[1] < errors[0] and errors[3] < errors[2] < 0.1
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_fields_of_a_file_are_compared(tmp_path):
    path = tmp_path / "myfield.py"
    path.write_text("import torch\ny0, ts = [1.0], (0.0, 2.0)\ndef f(t, y):\n    return -y * torch.cos(t)\n")
    result = invoke("compare", f"{path}:f", "--methods", "tsit5", "--tolerances", "1e-6")
    assert result.exit_code == 0 and "tsit5" in result.output
    sys.modules.pop("myfield", None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["profile", "missing.py"], "there is no script missing.py"),
        (["compare", "nothing"], "no known problem"),
        (["compare", "missing_module:f"], "cannot import missing_module"),
        (["compare", "missing.py:f"], "there is no file missing.py"),
        (["compare", "math:nothing"], "has no function nothing"),
        (["compare", "math:sin"], "--y0 is missing"),
        (["compare", "van-der-pol", "--methods", "rk4"], "no error estimate"),
        (["compare", "van-der-pol", "--methods", "tsit"], "--methods"),
        (["compare", "van-der-pol", "--tolerances", "0"], "--tolerances must be"),
        (["compare", "van-der-pol", "--span", "0,x"], "--span must be numbers"),
    ],
)
def test_errors_of_users_are_one_line_and_status_two(arguments, said):
    result = invoke(*arguments)
    assert result.exit_code == 2 and said in result.output.replace("\n", " ")
    assert "Traceback" not in result.output and result.output.startswith("error: ")


def test_help_info_and_demo_are_there(tmp_path):
    for arguments in (["--help"], ["profile", "--help"], ["compare", "--help"]):
        result = invoke(*arguments)
        assert result.exit_code == 0 and "Usage" in result.output
    result = invoke("info")
    assert result.exit_code == 0 and "tsit5" in result.output and "torch" in result.output
    result = invoke("demo", "--iterations", "2", "--html", tmp_path / "demo.html")
    assert result.exit_code == 0 and "net (ode, tsit5, adjoint discrete)" in result.output
    assert (tmp_path / "demo.html").exists()


@pytest.mark.slow
def test_ctrl_c_half_way_reports_what_was_done(tmp_path):
    script = tmp_path / "long.py"
    script.write_text(
        "import torch, nde, time\nprint('begun', flush=True)\n"
        "while True:\n    nde.solve_ode(lambda t, y: -y, torch.ones(3), (0.0, 1.0))\n    time.sleep(0.01)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "nde.profile.command.main", "profile", str(script)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # where the tests run in the background, SIGINT is ignored, and so it would be by what they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "solves in" in output and "interrupted" in errors
    assert "Traceback" not in errors
