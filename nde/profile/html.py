"""A report in one file: no scripts, no network, light and dark as the reader's browser has it."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from nde.files import write_atomically
from nde.profile.charts import bar_of_shares, heat_map, line_chart
from nde.profile.solve_record import SolveRecord
from nde.profile.statistics import Group, accounted, groups, steps_along
from nde.profile.summary import counted, findings, rows_of

if TYPE_CHECKING:
    from nde.profile.advice import Advice
    from nde.profile.cost import Cost

__all__ = ["to_html"]

_MOST_ROWS, _MOST_COLUMNS, _BINS = 200, 120, 24

_STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --text: #1d2330; --quiet: #5c6575; --rule: #d9dde5; --card: #f6f7f9;
  --c0: #2f6fb5; --c1: #c8641f; --c2: #2f8a57; --c3: #b5343c; --c4: #8a93a3; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171d; --text: #e4e7ed; --quiet: #9aa3b2; --rule: #343a46; --card: #1c2028;
    --c0: #6fa8e6; --c1: #eb9a5c; --c2: #6cc494; --c3: #ee7f86; --c4: #7b8494; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 24px; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 32px 0 8px; overflow-wrap: anywhere; }
.quiet, figcaption { color: var(--quiet); }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; margin: 12px 0;
  padding: 14px 18px; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); gap: 12px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 10px; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--quiet); font-size: 10.5px; }
.axis { stroke: var(--quiet); fill: none; } .grid { stroke: var(--rule); fill: none; }
.line { fill: none; stroke-width: 1.1; } .cells { fill: var(--c0); }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); }
.line.c3 { stroke: var(--c3); } .line.c4 { stroke: var(--c4); }
.dots.c0 { fill: var(--c0); } .dots.c1 { fill: var(--c1); } .dots.c2 { fill: var(--c2); } .dots.c3 { fill: var(--c3); }
.dots.c4 { fill: var(--c4); }
.bar { display: flex; height: 18px; border-radius: 5px; overflow: hidden; background: var(--rule); }
.part.c0, .swatch.c0 { background: var(--c0); } .part.c1, .swatch.c1 { background: var(--c1); }
.part.c2, .swatch.c2 { background: var(--c2); } .part.c3, .swatch.c3 { background: var(--c3); }
.part.c4, .swatch.c4 { background: var(--c4); }
.key { margin-right: 16px; white-space: nowrap; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; } caption { text-align: left; color: var(--quiet); }
td, th { text-align: left; padding: 3px 18px 3px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
li { margin: 2px 0; } code { font-size: 13px; overflow-wrap: anywhere; } summary { cursor: pointer; }
"""


def to_html(
    cost: Cost, path: str | os.PathLike[str], title: str = "Solver cost", advice: Sequence[Advice] = ()
) -> Path:
    """Write a report of a recording.

    Args:
        cost: The recording.
        path: File to write.
        title: Of the page.
        advice: Of `nde.profile.advise`, to be shown as well.

    Returns:
        The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = _page(title, _body(cost, title, advice))
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _body(cost: Cost, title: str, advice: Sequence[Advice]) -> str:
    heading = f"<h1>{html.escape(title)}</h1>"
    if not cost.solves:
        return f'{heading}<div class="card">No solves were recorded in {cost.seconds:.3g} s.</div>'
    times = accounted(cost.solves, cost.seconds)
    iterations = f", {cost.iterations} iterations" if cost.iterations > 1 else ""
    shares = [
        ("field", "c0", times.field),
        ("solver", "c1", times.solver),
        ("backward", "c2", times.backward),
        ("rest", "c4", times.elsewhere),
    ]
    parts = [
        heading,
        f'<p class="quiet">{counted(len(cost.solves), "solve")} in {cost.seconds:.3g} s{iterations}</p>',
        f'<div class="card">{bar_of_shares(shares)}</div>',
    ]
    advised = {one.label: one for one in advice}
    parts += [_section(group, advised.get(group.label)) for group in groups(cost.solves)]
    parts.append(_solves(cost.solves))
    return "\n".join(parts)


def _section(group: Group, advice: Advice | None) -> str:
    rows = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows_of(group))
    found = "".join(f"<li>{_text(finding)}</li>" for finding in findings(group))
    parts = [
        f"<h2>{_text(group.label)} <span class='quiet'>{_text(group.kind)}, {_text(group.method)}, adjoint "
        f"{_text(group.adjoint)}</span></h2>",
        f'<div class="card wide"><table>{rows}</table>{f"<ul>{found}</ul>" if found else ""}</div>',
        f'<div class="charts">{_along(group.solves[-1])}{_training(group)}{_samples(group)}</div>',
    ]
    if advice is not None:
        parts.append(_advice(advice))
    return "\n".join(parts)


def _along(solve: SolveRecord) -> str:
    columns = solve.steps.columns()
    taken, middle = columns["accepted"], columns["t"] + 0.5 * columns["h"]
    size = numpy.abs(columns["h"])
    order = numpy.argsort(middle[taken], kind="stable")

    def picked(values: numpy.ndarray) -> list[float]:
        chosen: list[float] = values[taken][order].tolist()
        return chosen

    series = [
        ("step size", "c0", picked(middle), picked(size)),
        ("rejected", "c3", middle[~taken].tolist(), size[~taken].tolist()),
        ("error, in tolerances", "c1", picked(middle), picked(columns["error"])),
        ("stiffness", "c2", picked(middle), picked(columns["stiffness"])),
    ]
    return line_chart(series, "t, in the last solve", "size, error, stiffness", log=True, lines=False)


def _training(group: Group) -> str:
    """Return what changes from solve to solve, where there are several."""
    return _evaluations(group) + _heat(group) if len(group.solves) > 1 else ""


def _evaluations(group: Group) -> str:
    places = list(range(len(group.solves)))
    series = [("evaluations", "c0", places, [float(value) for value in group.evaluations])]
    if group.evaluations_backward:
        backward = [float(solve.backward.field) for solve in group.solves]
        series.append(("in backward passes", "c2", places, backward))
    series.append(("rejected steps", "c3", places, [float(solve.rejected) for solve in group.solves]))
    return line_chart(series, "solve", "count")


def _heat(group: Group) -> str:
    solves = group.solves[:: -(-len(group.solves) // _MOST_COLUMNS)]
    first, last = group.span
    columns = [steps_along(solve.steps.columns(), first, last, _BINS).tolist() for solve in solves]
    return heat_map(columns, "solve", "t: steps along the span", (0, len(group.solves)), (first, last))


def _samples(group: Group) -> str:
    shares = [share for _, share in group.hard_samples(most=10**9)]
    if not shares:
        return ""
    return line_chart(
        [("samples, hardest first", "c0", list(range(len(shares))), shares)], "sample", "share of the work"
    )


def _advice(advice: Advice) -> str:
    rows = "".join(
        f'<tr><td class="n">{one.seconds * 1e3:.3g} ms</td><td class="n">{one.evaluations}</td>'
        f'<td class="n">{one.error:.3g}</td><td><code>{_text(one.settings)}</code>'
        f"{' (recorded)' if one.recorded else ''}</td></tr>"
        for one in advice.candidates
    )
    head = '<tr><th class="n">time</th><th class="n">evaluations</th><th class="n">error</th><th>settings</th></tr>'
    conclusion = str(advice).rsplit("\n", 1)[-1]
    return (
        f'<div class="card wide"><table><caption>Solved again; errors are in tolerances</caption>{head}{rows}</table>'
        f"<p><strong>{_text(conclusion)}</strong></p></div>"
    )


def _solves(solves: Sequence[SolveRecord]) -> str:
    names = (
        "solve",
        "iteration",
        "field",
        "method",
        "status",
        "evaluations",
        "accepted",
        "rejected",
        "ms",
        "backward ms",
    )
    rows = []
    for solve in solves[:_MOST_ROWS]:
        values = (
            solve.forward.field,
            solve.accepted,
            solve.rejected,
            solve.seconds * 1e3,
            solve.backward_seconds * 1e3,
        )
        words = "".join(f"<td>{_text(word)}</td>" for word in (solve.label, solve.method, solve.status))
        rows.append(f"<tr>{_numbers((solve.index, solve.iteration))}{words}{_numbers(values)}</tr>")
    head = "".join(f"<th{'' if name in words else ' class=n'}>{name}</th>" for name in names)
    left = len(solves) - _MOST_ROWS
    more = f'<p class="quiet">and {left} more, in to_json and to_pandas</p>' if left > 0 else ""
    return (
        f'<details><summary>All solves</summary><div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
        f"{more}</details>"
    )


def _numbers(values: Iterable[float]) -> str:
    return "".join(f'<td class="n">{value:.4g}</td>' for value in values)


def _text(value: object) -> str:
    return html.escape(str(value))
