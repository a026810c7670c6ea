#!/usr/bin/env python3
"""Draws figures as SVG, with gnuplot.

usage: plot.py FILE.json... [--output DIR]

A file is what compare.py wrote for a sweep, or what fanfare-microbench wrote with --benchmark_out (script/bench micro
leaves it in build/bench/micro.json): of that, fan-out, look-ups and subscribing are drawn. The plots are written beside
the files, or into DIR.

example: plot.py build/bench/micro.json --output docs/benchmarks/plots

exit codes: 0: drawn; 1: a file is not readable, or gnuplot failed; 2: wrong use
"""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys

# Told apart also by those who see few colours (Okabe and Ito), and by their points.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"]
# Of fanfare-microbench, whose benchmarks are called SUBJECT/WHO/N: the title, the axes, and whether the time is for N.
SUBJECTS = {
    "fanout": ("fan-out in one process", "subscribers", "a delivery, ns", True),
    "lookup": ("finding a channel by its name", "channels", "a look-up, ns", False),
    "subscribe": ("coming and going in one process", "subscribers who stay", "subscribing and leaving, ns", False),
}


class Failed(Exception):
    """It cannot be drawn."""


def markdown(figure):
    """The medians as a table."""
    names = [name for name, points in figure["series"].items() if points]
    xs = sorted({point[0] for name in names for point in figure["series"][name]})
    lines = [f"{figure['y']}\n", f"| {figure['x']} | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for x in xs:
        found = [next((f"{point[1]:,.3g}" if point[1] < 1000 else f"{point[1]:,.0f}"
                       for point in figure["series"][name] if point[0] == x), "-") for name in names]
        lines.append(f"| {x:,} | " + " | ".join(found) + " |")
    return "\n".join(lines)


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def format_of(values):
    """How gnuplot is to write the numbers of an axis: 10k from a thousand on."""
    return "'%.0s%c'" if max(values) >= 1000 else "'%g'"


def draw(figure, path):
    """Writes the SVG. On its logarithmic axes there is no place for what is not above 0."""
    if not shutil.which("gnuplot"):
        raise Failed("there is no gnuplot (Debian: gnuplot-nox)")
    lines = {name: [point for point in points if point[0] > 0 and point[1] > 0]
             for name, points in figure["series"].items()}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        raise Failed(f"{path}: nothing to draw")
    every = [point for points in lines.values() for point in points]
    xs, ys = [point[0] for point in every], [point[1] for point in every]
    blocks, parts = [], []
    for number, (name, points) in enumerate(lines.items()):
        rows = "\n".join(f"{x} {middle} {max(low, middle / 1e3)} {high}" for x, middle, low, high in points)
        blocks.append(f"$data{number} << END\n{rows}\nEND")
        colour = f'lc rgb "{COLOURS[number % len(COLOURS)]}" lw 1.5'
        # The bars hold the middle half of the rounds.
        parts.append(f"$data{number} using 1:2:3:4 with yerrorbars {colour} pt 0 notitle")
        mark = f"pt {number % 11 + 4} ps 0.8"
        parts.append(f"$data{number} using 1:2 with linespoints {colour} {mark} title {quoted(name)}")
    script = "\n".join([
        "set terminal svg size 760,440 dynamic enhanced font 'sans-serif,13' background '#ffffff'",
        f"set output {quoted(str(path))}",
        *blocks,
        f"set title {quoted(figure['title'])} noenhanced",
        f"set xlabel {quoted(figure['x'])} noenhanced",
        f"set ylabel {quoted(figure['y'])} noenhanced",
        "set logscale xy",
        f"set xrange [{min(xs) / 1.3}:{max(xs) * 1.3}]",
        f"set yrange [{min(ys) / 1.6}:{max(ys) * 1.6}]",
        f"set format x {format_of(xs)}",
        f"set format y {format_of(ys)}",
        "set key outside right top reverse Left noenhanced",
        "set grid lc rgb '#dddddd'",
        "plot " + ", \\\n  ".join(parts),
    ])
    done = subprocess.run(["gnuplot"], input=script, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise Failed(f"gnuplot failed: {done.stderr.strip()}")


def figures_of_benchmarks(content):
    """The figures in what Google Benchmark wrote, with their names. Repetitions become a median and quartiles."""
    times = {}
    for entry in content["benchmarks"]:
        parts = entry["run_name"].split("/")
        is_point = parts[0] in SUBJECTS and len(parts) > 2 and parts[2].isdigit()
        if not is_point or entry["run_type"] != "iteration" or entry.get("error_occurred"):
            continue
        scale = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}[entry["time_unit"]]
        n = int(parts[2])
        value = entry["cpu_time"] * scale / (n if SUBJECTS[parts[0]][3] else 1)
        times.setdefault(parts[0], {}).setdefault(parts[1], {}).setdefault(n, []).append(value)
    for subject, series in times.items():
        title, x, y, _ = SUBJECTS[subject]
        points = {}
        # The program runs them in a random order; each is to look the same in every plot.
        for who, by_n in sorted(series.items(), key=lambda entry: (not entry[0].startswith("fanfare"), entry[0])):
            points[who] = []
            for n, found in sorted(by_n.items()):
                low, _, high = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
                points[who].append([n, statistics.median(found), low, high])
        yield f"in-process-{subject}", {"title": title, "x": x, "y": y, "series": points}


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0], add_help=False)
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--help", "-h", action="store_true")
    options = parser.parse_args()
    if options.help:
        print(__doc__, end="")
        return 0
    if not options.files:
        parser.error("a file is needed")
    try:
        for file in options.files:
            directory = options.output or file.parent
            directory.mkdir(parents=True, exist_ok=True)
            content = json.loads(file.read_text(encoding="utf-8"))
            figures = figures_of_benchmarks(content) if "benchmarks" in content else [(file.stem, content)]
            for name, figure in figures:
                draw(figure, directory / f"{name}.svg")
                print(directory / f"{name}.svg")
    except (Failed, OSError, ValueError, KeyError) as failure:
        print(f"plot.py: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
