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
    assert "1 solve in" in result.output and f"wrote {page}" in result.output
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
    assert "1 solve in" in result.output and said in result.output
    assert "runpy" not in result.output and "run_script" not in result.output
    sys.modules.pop("beside", None)


def test_modules_are_run_as_python_does(script, monkeypatch):
    monkeypatch.chdir(script.parent)
    result = invoke("profile", "-m", "train", "one")
    assert result.exit_code == 0 and "arguments ['one']" in result.output and "1 solve in" in result.output
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
        (["compare", "van-der-pol", "--span", "1,1"], "--span must be two different finite numbers"),
        (["compare", "van-der-pol", "--span", "0,inf"], "--span must be two different finite numbers"),
        (["compare", "van-der-pol", "--y0", ""], "--y0 must be numbers"),
        (["compare", "van-der-pol", "--plot", "."], "--plot must be a file"),
        (["profile", "-m", "missing_module"], "there is no module missing_module"),
        (["profile", "-m", "os.missing_module"], "there is no module os.missing_module"),
        (["profile", "--htlm", "x.html", "train.py"], "there is no option --htlm"),
        (["profile", "--html", ".", "missing.py"], "there is no script missing.py"),
        (["demo", "--html", "."], "--html must be a file"),
    ],
)
def test_errors_of_users_are_one_line_and_status_two(arguments, said):
    result = invoke(*arguments)
    assert result.exit_code == 2 and said in result.output.replace("\n", " ")
    assert "Traceback" not in result.output and result.output.startswith("error: ")


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("def f(t, y):\n    raise RuntimeError('in the field')\n", 1, "RuntimeError: in the field (field.py, line 2)"),
        ("def f(t, y):\n    return y[:1]\n", 1, "must have shape (2,)"),
        ("def f(t, y):\n    return 3\n", 1, "must be a tensor"),
        ("def f(:\n", 2, "cannot import field.py: SyntaxError"),
        ("1 / 0\n", 2, "ZeroDivisionError: division by zero (field.py, line 1)"),
        ("raise SystemExit(9)\n", 2, "SystemExit: 9"),
    ],
)
def test_errors_of_a_users_field_are_one_line_with_the_place(tmp_path, monkeypatch, text, status, said):
    (tmp_path / "field.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "field", raising=False)
    result = invoke("compare", "field.py:f", "--y0", "1,2", "--span", "0,1")
    assert result.exit_code == status and said in result.output and result.output.startswith("error: ")
    assert "Traceback" not in result.output and len(result.output.splitlines()) == 1
    sys.modules.pop("field", None)


def test_nothing_is_run_where_its_report_could_not_be_written(script, tmp_path):
    result = invoke("profile", "--json", tmp_path, script)
    assert result.exit_code == 2 and "--json must be a file" in result.output and "arguments" not in result.output


def test_a_file_that_cannot_be_written_keeps_no_other_from_being(script, tmp_path, monkeypatch):
    script.write_text(SCRIPT + f"import pathlib; pathlib.Path({str(tmp_path / 'cost.json')!r}).mkdir()\n")
    page = tmp_path / "cost.html"
    result = invoke("profile", "--json", tmp_path / "cost.json", "--html", page, script)
    assert result.exit_code == 2 and "error: cannot write" in result.output and f"wrote {page}" in result.output
    sys.modules.pop("beside", None)


def test_the_help_of_a_script_is_the_scripts_own(tmp_path):
    path = tmp_path / "parses.py"
    path.write_text("import argparse\nargparse.ArgumentParser(description='of the script').parse_args()\n")
    result = invoke("profile", path, "--help")
    assert result.exit_code == 0 and "of the script" in result.output and "Where the time" not in result.output
    result = invoke("profile", path, "--wrong")
    assert result.exit_code == 2 and "unrecognized arguments: --wrong" in result.output


def test_help_info_and_demo_are_there(tmp_path):
    for arguments in (["--help"], ["profile", "--help"], ["compare", "--help"]):
        result = invoke(*arguments)
        assert result.exit_code == 0 and "Usage" in result.output
    result = invoke()
    assert "Usage" in result.output and "profile" in result.output
    result = invoke("--version")
    assert result.exit_code == 0 and result.output.startswith("nde ")
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
