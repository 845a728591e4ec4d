"""Tables, plots, exports and the page say what was recorded, of long recordings and of empty ones."""

import html.parser
import json
import math
import re
import shutil
import subprocess

import numpy
import pytest
import torch

import nde
import nde.profile
from nde.profile.statistics import Group, joined_steps, steps_along
from tests.problems import Net, double


@pytest.fixture(scope="module")
def cost():
    torch.manual_seed(0)
    layer = nde.NeuralODE(Net(size=3), rtol=1e-6, atol=1e-8)
    y0 = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
    with nde.profile.record(layer, samples=True, memory=True) as cost:
        for _ in range(3):
            layer(y0).y1.square().mean().backward()
        nde.solve_ode(lambda t, y: -y, y0, (0.0, 1.0), throw=False, max_steps=2, rtol=1e-10)
    return cost


@pytest.fixture
def empty():
    with nde.profile.record() as cost:
        pass
    return cost


def test_the_summary_has_every_field_and_what_stands_out(cost):
    text = cost.summary()
    assert ("4 solves in" in text and "3 iterations" in text) or "4 iterations" in text
    assert "field (ode, tsit5, adjoint discrete)" in text and "time of a backward pass" in text
    evaluations = [solve.forward.field for solve in cost.solves if solve.label == "field"]
    assert float(re.search(r"evaluations a solve +(\S+)", text)[1]) == pytest.approx(sum(evaluations) / 3, abs=0.05)
    assert "1 of 1 solve failed: " in text and "memory of the tape" in text and "hardest samples" in text
    shares = [int(share) for share in re.findall(r"(?:field|solver|backward|rest) (\d+)%", text.split("\n\n")[1])]
    assert len(shares) == 4 and abs(sum(shares) - 100) <= 2


def test_the_best_step_count_is_the_integral_of_the_steps_that_errors_ask_for(cost):
    (group,) = (group for group in nde.profile.groups(cost.solves) if group.label == "field")
    total = 0.0
    for solve in group.solves:
        columns = solve.steps.columns()
        for error, accepted in zip(columns["error"], columns["accepted"], strict=True):
            if accepted:
                total += (error / solve.set_point) ** (1 / solve.error_order)
    assert math.isclose(group.best_steps(), total) and 1 < group.accepted / total < 2


def test_stiff_steps_are_said_to_be_limited_by_stability():
    with nde.profile.record() as cost:
        nde.solve_ode(lambda t, y: -2000 * (y - torch.cos(t)), double(1.0), (0.0, 1.0), rtol=1e-3, atol=1e-3)
        nde.solve_ode(Net(size=3), double(1.0, 0.0, 0.5), (0.0, 1.0))
    stiff, mild = nde.profile.groups(cost.solves)
    assert stiff.limited_by_stability() > 0.5 and mild.limited_by_stability() == 0
    assert "stability, not accuracy, limits" in cost.summary()


def test_rejections_at_a_kink_are_said():
    with nde.profile.record() as cost:
        nde.solve_ode(lambda t, y: torch.sign(torch.sin(40 * t)) * 50 - y, double(0.0), (0.0, 1.0), rtol=1e-7)
    group = nde.profile.groups(cost.solves)[0]
    assert group.rejected_share > 0.15 and "of the steps were rejected" in cost.summary()


def test_steps_are_spread_over_the_parts_of_the_span_that_they_cover():
    columns = {"t": numpy.array([0.0, 0.5, 1.0]), "h": numpy.array([0.5, 0.5, -1.0])}
    numpy.testing.assert_allclose(steps_along(columns, 0.0, 1.0, 4), [0.75, 0.75, 0.75, 0.75])
    numpy.testing.assert_allclose(steps_along(columns, 0.0, 2.0, 2), [3.0, 0.0])
    assert steps_along({"t": numpy.zeros(0), "h": numpy.zeros(0)}, 0.0, 1.0, 3).tolist() == [0, 0, 0]


def test_json_and_pandas_have_every_solve_and_step(cost, tmp_path):
    path = cost.to_json(tmp_path / "new" / "cost.json")
    read = json.loads(path.read_text())
    assert len(read["solves"]) == 4 and read["solves"][-1]["status"] == "MAX_STEPS"
    for found, solve in zip(read["solves"], cost.solves, strict=True):
        assert found["forward_field_calls"] == solve.forward.field
        assert found["steps"]["h"] == solve.steps.columns()["h"].tolist()
    assert math.isclose(
        sum(read["times"][name] for name in ("field", "solver", "backward", "elsewhere")), read["seconds"]
    )
    pytest.importorskip("pandas")
    solves, steps = cost.to_pandas()
    assert len(solves) == 4 and len(steps) == sum(solve.steps.attempts for solve in cost.solves)
    assert (steps.groupby("solve").size().to_numpy() == [solve.steps.attempts for solve in cost.solves]).all()


def test_the_trace_holds_steps_inside_of_their_solves(cost, tmp_path):
    events = json.loads(cost.to_chrome_trace(tmp_path / "trace.json").read_text())["traceEvents"]
    solves = [event for event in events if event["name"].endswith(")")]
    steps = [event for event in events if "step" in event["name"]]
    assert len(solves) == 4 and len(steps) == sum(solve.steps.attempts for solve in cost.solves)
    for step in steps:
        inside = [
            one for one in solves if one["ts"] <= step["ts"] and step["ts"] + step["dur"] <= one["ts"] + one["dur"]
        ]
        assert len(inside) == 1


def test_tensorboard_gets_scalars_of_every_iteration(cost):
    class Writer:
        def __init__(self):
            self.found = {}

        def add_scalar(self, tag, value, step):
            self.found.setdefault(tag, []).append((step, value))

    writer = Writer()
    cost.to_tensorboard(writer)
    evaluations = [solve.forward.field for solve in cost.solves[:3]]
    assert writer.found["nde/field/evaluations"] == list(enumerate(evaluations))
    assert len(writer.found["nde/field/stiffness"]) == 3
    with nde.profile.record() as twice:  # two solves of one field in an iteration are one number
        for _ in range(2):
            nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0))
    writer = Writer()
    twice.to_tensorboard(writer)
    ((step, value),) = next(found for tag, found in writer.found.items() if tag.endswith("/evaluations"))
    assert (step, value) == (0, sum(solve.forward.field for solve in twice.solves))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_plots_are_drawn_of_any_field_and_of_none_not(cost, empty):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure = cost.plot()
    assert figure.axes[0].get_title() == "the last solve"
    sizes = figure.axes[0].lines[0].get_ydata()
    columns = [solve for solve in cost.solves if solve.label == "field"][-1].steps.columns()
    numpy.testing.assert_allclose(sizes, columns["h"][columns["accepted"]])
    pyplot.close(figure)
    with pytest.raises(ValueError, match="label must be one of"):
        cost.plot("nobody")
    with pytest.raises(ValueError, match="nothing was recorded"):
        empty.plot()


class Page(html.parser.HTMLParser):
    """Collects tags, what refers to elsewhere, and whether tags are closed in order."""

    VOID = ("meta", "circle", "rect", "path", "polyline")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_needs_no_network_and_says_what_the_summary_says(cost, tmp_path):
    advice = cost.advice("field", repeats=1)
    text = cost.to_html(tmp_path / "new" / "page.html", "A <title>", [advice]).read_text()
    page = Page(text)
    assert not page.open and not page.links and "script" not in page.tags and "http" not in text
    assert text.count("<svg") >= 4 and "prefers-color-scheme: dark" in text and "A &lt;title&gt;" in text
    words = " ".join(page.words)
    assert "1 of 1 solve failed" in words and "Solved again" in words and advice.recorded.settings in words
    assert "nan" not in re.sub("<style>.*?</style>", "", text, flags=re.DOTALL).lower().replace("nande", "")


def test_pages_of_nothing_and_of_much_are_pages(empty, tmp_path):
    text = empty.to_html(tmp_path / "empty.html").read_text()
    assert not Page(text).open and "No solves were recorded" in text and "No solves" in empty.summary()
    with nde.profile.record() as cost:
        for _ in range(260):
            nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), rtol=1e-2, atol=1e-2)
        nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), controller=nde.FixedStep(1e-4))
    text = cost.to_html(tmp_path / "long.html").read_text()
    assert not Page(text).open and len(text) < 600_000 and "and 61 more" in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize("scheme", ["0", "1"])  # dark, light
def test_a_browser_draws_the_page_dark_and_light(cost, tmp_path, scheme):
    page, picture = cost.to_html(tmp_path / "page.html"), tmp_path / "page.png"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,800"]
    command += [f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    image = pytest.importorskip("matplotlib.image").imread(picture)[..., :3]
    corner = image[2, 2].mean()  # the page's own colour
    assert corner < 0.3 if scheme == "0" else corner > 0.9
    assert image.std() > 0.02  # and something is on it


def test_groups_without_errors_or_stiffness_say_so():
    with nde.profile.record() as cost:
        nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), method="euler", controller=nde.FixedStep(0.1))
    (group,) = nde.profile.groups(cost.solves)
    assert isinstance(group, Group) and group.best_steps() is None and group.limited_by_stability() is None
    assert len(joined_steps(cost.solves)["t"]) == 10 and joined_steps([])["t"].shape == (0,)
    assert "over the best count" not in cost.summary()
