#!/usr/bin/env python3
"""Runs fanfare-microbench in many short interleaved repetitions, and compares medians.

usage: micro.py micro [FILTER] [OPTION]...
       micro.py guard [--store] [OPTION]...

  micro                prints the medians, grouped, with each rival's ratio to fanfare. FILTER is a regular expression
                       that is looked for in the names as the program lists them.
  guard                measures what guard.json has ratios of, and fails where one is worse than the stored ratio by
                       more than its tolerance. A name in it may have a * in place of one part; the smallest median of
                       all that match counts then, which takes the luck of where code lies in memory out of a ratio.
                       One that says "own_process" is measured as with --own-process.
  --store              writes the measured ratios into guard.json instead

  --own-process        gives each repetition a process of its own, with memory in which nothing has been yet: what a
                       hundred thousand objects cost depends on where they lie

  --program PATH       the benchmarks (build/release/benchmarks/fanfare-microbench)
  --repetitions N      how often each benchmark runs, in random order among the others (15)
  --min-time S         for how long, each time (0.02)
  --json PATH          where the program's own report goes (build/bench/micro.json, guard.json)
  --table PATH         the table of ratios (benchmarks/guard.json)

Times of different runs are never compared: they move by half within minutes.

exit codes: 0: done; 1: a benchmark failed or a ratio is worse; 2: wrong use
"""
import argparse
import json
import pathlib
import random
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
BASE = "fanfare"  # what the others of a group are compared with
SHOWN = {"bytes": "bytes", "pairs/s": "/s"}  # counters that say more than the time, and their unit


class Failed(Exception):
    """The measurement cannot be made."""


def plain_name(name):
    """A benchmark's name without what the framework adds to it."""
    return re.sub(r"/(iterations:\d+|min_time:[\d.]+|repeats:\d+|real_time)", "", name)


def run(command):
    try:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True).stdout
    except OSError as error:
        raise Failed(f"{command[0]} does not run: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise Failed(f"{command[0]} ended with {error.returncode}\n{error.stderr}") from error


def measure(options, pattern, own_process):
    """Runs all whose names match. Returns {name: {"ns": median, counter: median}}, in the program's order."""
    options.json.parent.mkdir(parents=True, exist_ok=True)
    chosen = [str(options.program), f"--benchmark_filter={pattern}"]
    listed = run([*chosen, "--benchmark_list_tests=true"]).splitlines()
    if not listed:
        raise Failed(f"no benchmark matches {pattern}")
    output = [
        f"--benchmark_min_time={options.min_time}",
        f"--benchmark_out={options.json}",
        "--benchmark_out_format=json",
    ]
    if own_process:
        report = {"benchmarks": []}
        for _ in range(options.repetitions):
            for name in random.sample(listed, len(listed)):
                run([str(options.program), f"--benchmark_filter=^{re.escape(name)}$", *output])
                once = json.loads(options.json.read_text())
                report["benchmarks"] += once["benchmarks"]
        options.json.write_text(json.dumps({**once, **report}, indent=2) + "\n")
    else:
        repetitions = f"--benchmark_repetitions={options.repetitions}"
        run([*chosen, repetitions, "--benchmark_enable_random_interleaving=true", *output])
        report = json.loads(options.json.read_text())

    measured = {plain_name(name): {} for name in listed}
    for entry in report["benchmarks"]:
        if entry.get("run_type") == "aggregate":
            continue
        name = plain_name(entry["run_name"])
        if entry.get("error_occurred"):
            raise Failed(f"{name}: {entry['error_message']}")
        # The thread's own time, so that other processes do not count; where threads wait for each other, the clock.
        time = entry["real_time"] if "/real_time" in entry["run_name"] else entry["cpu_time"]
        values = measured[name]
        values.setdefault("ns", []).append(time)
        for counter in SHOWN:
            if counter in entry:
                values.setdefault(counter, []).append(entry[counter])
    return {name: {key: statistics.median(values) for key, values in each.items()} for name, each in measured.items()}


# -- the table of all ---------------------------------------------------------------------------------------------


def number(value):
    if value >= 1e6:
        return f"{value / 1e6:,.1f} M"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def print_table(medians):
    """A table for each first part of the names, with a column for each second part and a row for the rest."""
    groups = {}
    for name, values in medians.items():
        group, subject, *rest = name.split("/")
        groups.setdefault(group, {}).setdefault("/".join(rest), {})[subject] = values
    for group, rows in groups.items():
        subjects = list(dict.fromkeys(subject for row in rows.values() for subject in row))
        if any("bytes" in values for row in rows.values() for values in row.values()):
            print(f"\n{group}")
        else:
            print(f"\n{group}, ns" + (f" (how many times {BASE})" if BASE in subjects and len(subjects) > 1 else ""))
        lines = [["", *subjects]]
        for rest, row in rows.items():
            base = row.get(BASE, {}).get("ns")
            line = [rest]
            for subject in subjects:
                values = row.get(subject)
                cell = ""
                if values is not None:
                    shown = [f"{number(values[key])} {unit}" for key, unit in SHOWN.items() if key in values]
                    # Where bytes are counted, the time means nothing.
                    cell = "" if "bytes" in values else number(values["ns"])
                    if cell and base and subject != BASE:
                        cell += f" ({values['ns'] / base:.2f})"
                    cell = " ".join(filter(None, [cell, *shown]))
                line.append(cell)
            lines.append(line)
        if len(lines[0]) > len(lines) and len(lines) == 2:  # one row: stand it upright
            lines = [list(column) for column in zip(*lines)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        for first, *others in lines:
            cells = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:]))]
            print("  " + "  ".join(cells).rstrip())


# -- the guard ----------------------------------------------------------------------------------------------------


def name_pattern(name):
    return re.escape(name).replace(r"\*", "[^/]+")


def value_of(medians, name):
    found = [values["ns"] for each, values in medians.items() if re.fullmatch(name_pattern(name), each)]
    if not found:
        raise Failed(f"there is no benchmark {name}")
    return min(found)


def guard(options):
    try:
        table = json.loads(options.table.read_text())
        entries = table["ratios"]
        names = {True: set(), False: set()}
        for entry in entries:
            names[options.own_process or entry.get("own_process", False)] |= {entry["numerator"], entry["denominator"]}
    except (OSError, ValueError, KeyError) as error:
        raise Failed(f"{options.table} cannot be read: {error}") from error
    medians = {}
    for own_process, those in names.items():
        if not those:
            continue
        pattern = "^(" + "|".join(map(name_pattern, sorted(those))) + ")(/iterations:.*|/real_time)?$"
        medians |= measure(options, pattern, own_process)

    worse = 0
    width = max(len(entry["name"]) for entry in entries)
    print(f"{'':{width}}  {'ratio':>7}  {'stored':>7}  {'target':>7}")
    for entry in entries:
        ratio = value_of(medians, entry["numerator"]) / value_of(medians, entry["denominator"])
        stored, target = entry.get("ratio"), entry.get("target")
        notes = []
        if options.store:
            entry["ratio"] = float(f"{ratio:.3g}")
        elif stored is None:
            worse += 1
            notes.append("nothing is stored")
        elif ratio > stored * (1 + entry["tolerance"]):
            worse += 1
            notes.append(f"worse by more than {entry['tolerance']:.0%}")
        if target is not None and ratio > target:
            notes.append("misses the target")
        shown = [f"{value:7.3f}" if value is not None else " " * 7 for value in (ratio, stored, target)]
        print(f"{entry['name']:{width}}  {'  '.join(shown)}  {', '.join(notes)}".rstrip())
    if options.store:
        options.table.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n")
        print(f"guard: {len(entries)} ratios stored")
        return 0
    print(f"guard: {len(entries)} ratios, {worse} worse")
    return 1 if worse else 0


def main():
    if len(sys.argv) > 1 and sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        return 0
    parser = argparse.ArgumentParser(add_help=False, usage=__doc__)
    parser.add_argument("mode", choices=["micro", "guard"])
    parser.add_argument("filter", nargs="?")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--own-process", action="store_true")
    parser.add_argument("--program", type=pathlib.Path,
                        default=ROOT / "build/release/benchmarks/fanfare-microbench")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--min-time", type=float, default=0.02)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--table", type=pathlib.Path, default=ROOT / "benchmarks/guard.json")
    options = parser.parse_args()
    if options.help:
        print(__doc__.strip())
        return 0
    if options.mode == "guard" and options.filter is not None:
        parser.error("guard has no filter")
    if options.mode == "micro" and options.store:
        parser.error("micro stores nothing")
    if options.repetitions < 1 or options.min_time <= 0:
        parser.error("--repetitions and --min-time must be above 0")
    if options.json is None:
        options.json = ROOT / f"build/bench/{options.mode}.json"
    try:
        if options.mode == "guard":
            return guard(options)
        print_table(measure(options, options.filter or ".", options.own_process))
        return 0
    except Failed as failure:
        print(f"{options.mode}: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
