"""The benchmark runs and counts right. What it measures is never asserted: a test machine's speed proves nothing."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import nde
from benchmarks.goals import Goal, judge
from benchmarks.problems import CountingField, make_problem
from benchmarks.timing import Budget, interleave
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory):
    output = tmp_path_factory.mktemp("benchmarks") / "new folder" / "results.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "tiny", "--threads", "1", "--memory"]
    done = subprocess.run([*command, "--output", output], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(report=done.stdout, results=json.loads(output.read_text()))


def test_report_has_a_row_for_every_library_and_a_verdict_for_every_goal(quick_run):
    goals = quick_run.report.partition("Goals")[2]
    for library in ("nde", "torchdiffeq", "torchode"):
        assert f"{library} " in quick_run.report
    for goal in quick_run.results["goals"]:
        assert goal["what"] in goals
    assert goals.count("met") + goals.count("missed by") == len(quick_run.results["goals"])


def test_every_row_says_what_it_did_and_how_accurate_it_was(quick_run):
    (run,) = quick_run.results["runs"]
    for mode in ("inference", "training"):
        for row in run["workloads"]["tiny"][mode]:
            seconds = row["seconds"]
            assert 0 < seconds["lower"] <= seconds["median"] <= seconds["upper"]
            assert row["floor"] == row["evaluations"] * run["workloads"]["tiny"]["evaluation"][mode]["median"]
            # ten times the tolerance of 1e-7, which is near the rounding of float32: the rows solve the same problem
            assert row["state_error"] < 1e-6
            assert row["gradient_error"] is None or row["gradient_error"] < 1e-5


def test_counts_are_those_of_dopri5(quick_run):
    (run,) = quick_run.results["runs"]
    rows = run["workloads"]["tiny"]["inference"] + run["workloads"]["tiny"]["training"]
    for row in rows:
        # two evaluations to choose the first step, then six per step: the seventh stage is the next step's first
        assert row["evaluations"] == 2 + 6 * (row["accepted"] + row["rejected"])
    for row in rows:
        if row["way"] == "direct":
            assert row["backward_evaluations"] == 0
        elif row["way"] == "backsolve":
            assert row["backward_evaluations"] > row["evaluations"]


def test_memory_is_compared_over_equally_many_steps(quick_run):
    assert [(row["accepted"], row["rejected"]) for row in quick_run.results["memory"]] == [(5, 0), (5, 0)]
    for row in quick_run.results["memory"]:
        assert row["extra_live"] > 0 and row["peak_resident"] >= row["peak_resident_before"]


def test_counting_field_agrees_with_the_statistics_of_a_solve():
    problem = make_problem(WORKLOADS["medium"])
    field = CountingField(problem.field)
    solution = nde.solve_ode(field, problem.y0, problem.ts, method="dopri5", rtol=1e-5, atol=1e-5)
    assert field.evaluations == solution.stats.n_field_evals
    solution.y1.square().sum().backward()
    assert field.evaluations == solution.stats.n_field_evals + solution.stats.n_backward_field_evals


def test_calls_are_timed_in_turns_and_slow_ones_are_spread_over_the_rounds():
    order = []

    def slow():
        order.append("slow")
        sum(range(300_000))

    budget = Budget(seconds=0.05, fewest=3, most=12, warm_up=1)
    spreads = interleave({"fast": lambda: order.append("fast"), "slow": slow}, budget)
    assert spreads["fast"].repetitions == 12
    assert 3 <= spreads["slow"].repetitions <= 12
    timed = "".join(name[0] for name in order[2:])  # after one warm-up call of each
    assert timed.count("f") == 12 and timed.count("s") == spreads["slow"].repetitions
    longest_wait = max(len(wait) for wait in timed.split("s"))
    assert longest_wait <= 12 // spreads["slow"].repetitions + 2  # + 2: rounding, and the rotation within a round


def test_a_slow_or_inaccurate_result_misses_its_goal():
    def row(library, seconds, error):
        spread = {"median": seconds, "lower": seconds, "upper": seconds * 1.2}
        return {
            "library": library, "way": "", "seconds": spread, "floor": 1.0, "evaluations": 20, "state_error": error,
        }  # fmt: skip

    measured = {
        "inference": [row("nde", 1.8, 1e-3), row("torchdiffeq", 2.0, 1e-7)],
        "training": [],
        "evaluation": {"inference": {"median": 1.0, "lower": 0.8, "upper": 1.2}},
    }
    goals = judge({"runs": [{"threads": 1, "workloads": {"wide": measured}}], "memory": []})
    verdicts = {goal.what: goal.verdict() for goal in goals}
    assert verdicts["inference: time / floor"] == "missed by 20% (noisy)"  # the evaluation scatters
    assert verdicts["inference: time / torchdiffeq"] == "missed by 100%"
    assert verdicts["evaluations / torchdiffeq"] == "met"
    assert verdicts["state error / max(torchdiffeq's, tol)"].startswith("missed")
    assert Goal("", "", 1.5, 1.5).met
