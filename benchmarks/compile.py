#!/usr/bin/env python3
"""Measures what it costs to compile with fanfare: time, memory, lines, and the size of small programs.

usage: compile.py [OPTION]...

  --compilers LIST     separated by commas (g++,clang++)
  --rounds N           how often each unit is compiled, in turns with the others (7)
  --only REGEX         the units whose names match, and those that they are compared with
  --json PATH          where the figures go as well (build/bench/compile.json)

Prints tables in Markdown. A time is what the compiler's processes take of a processor, so that others hardly count. What
a header adds is the median of its differences, in each round, to a unit that includes only what that header includes
from elsewhere.

Then it says which goals are met: what the core adds, what a server's unit takes, and that a unit which only triggers,
or is compiled separately, includes nothing of the server's packages.

exit codes: 0: done, all goals are met; 1: one is missed, or something does not compile; 2: wrong use
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
HEADERS = ROOT / "include"
PROGRAMS = ROOT / "benchmarks/compile"
PACKAGES = re.compile(r"^(asio|boost|websocketpp|openssl|liburing|sqlite3)\b")
# Compilers for which the goals hold.
GOAL_COMPILER = "g++"
CORE_ADDS = 0.5
SERVER_TAKES = 15.0


class Failed(Exception):
    """The measurement cannot be made."""


class Unit:
    """One file to compile: what it says, how, and with which other one it is compared."""

    def __init__(self, name, text, flags, base=None):
        self.name, self.text, self.flags, self.base = name, text, flags, base
        self.seconds, self.megabytes = [], []
        self.lines = 0
        self.path = None


def output_of(command):
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stderr}")
    return done.stdout, done.stderr


def server_flags():
    """What the server's headers want to be told, and its libraries."""
    libraries = ["-lboost_json", "-lssl", "-lcrypto"]
    if subprocess.run(["pkg-config", "--exists", "liburing"], check=False).returncode != 0:
        return ["-DASIO_STANDALONE"], libraries
    return ["-DASIO_STANDALONE", "-DFANFARE_IO_URING=1"], [*libraries, "-luring"]


class Compiler:
    def __init__(self, name, directory):
        if shutil.which(name) is None:
            raise Failed(f"there is no {name}")
        self.name = name
        self.directory = directory / name
        self.directory.mkdir()
        self.command = [name, "-std=c++20", f"-I{HEADERS}"]
        self.version = output_of([name, "-dumpfullversion" if "g++" == name else "-dumpversion"])[0].strip()
        _, text = output_of([name, "-std=c++20", "-E", "-v", "-x", "c++", "/dev/null"])
        searched = re.search(r"search starts here:\n(.*)End of search list", text, re.DOTALL)[1]
        found = [os.path.realpath(line.strip()) for line in searched.splitlines() if line.startswith(" ")]
        self.searched = sorted(found, key=len, reverse=True)

    def included_from_elsewhere(self, header, flags):
        """The headers of others that fanfare's own headers include, in their order."""
        source = self.directory / "tree.cpp"
        source.write_text(f"#include <{header}>\n")
        _, tree = output_of([*self.command, *flags, "-fsyntax-only", "-H", source])
        ours, found = [True], []
        for line in tree.splitlines():
            if not (match := re.match(r"(\.+) (.*)$", line)):
                continue
            depth, path = len(match[1]), os.path.realpath(match[2])
            del ours[depth:]
            is_ours = path.startswith(f"{HEADERS}/")
            if ours[depth - 1] and not is_ours:
                found.append(next((path[len(d) + 1 :] for d in self.searched if path.startswith(d + "/")), path))
            ours.append(is_ours)
        return found

    def write(self, unit):
        unit.path = self.directory / f"{re.sub(r'[^a-z0-9]+', '-', unit.name.lower())}.cpp"
        unit.path.write_text(unit.text)
        text, _ = output_of([*self.command, *unit.flags, "-E", unit.path])
        unit.lines = sum(1 for line in text.splitlines() if line.strip() and not line.startswith("#"))

    def compile(self, unit):
        """Once; notes what it took."""
        command = [*self.command, *unit.flags, "-c", unit.path, "-o", unit.path.with_suffix(".o")]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stderr=errors)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                errors.seek(0)
                raise Failed(f"{self.name}: {unit.name} does not compile\n{errors.read().decode(errors='replace')}")
        unit.seconds.append(usage.ru_utime + usage.ru_stime)
        unit.megabytes.append(usage.ru_maxrss / 1024)

    def size_of(self, unit, libraries):
        """Of the program that a unit is, stripped."""
        program = unit.path.with_suffix("")
        output_of([self.name, "-s", unit.path.with_suffix(".o"), "-o", program, *libraries, "-pthread"])
        return program.stat().st_size


def units_of(compiler, of_server):
    """All units for a compiler. The first is what a compiler takes for nothing."""
    units = [Unit("an empty unit", "", ["-O0"])]
    for header, flags in (("fanfare/fanfare.hpp", []), ("fanfare/app.hpp", []), ("fanfare/server.hpp", of_server)):
        short = header.removeprefix("fanfare/")
        elsewhere = compiler.included_from_elsewhere(header, flags)
        text = "".join(f"#include <{name}>\n" for name in elsewhere)
        base = Unit(f"what `{short}` includes from elsewhere", text, [*flags, "-O0"])
        units += [base, Unit(f"`{short}`", f"#include <{header}>\n", [*flags, "-O0"], base)]
    for name, what, flags in (
        ("core", "a program with the core", []),
        ("trigger", "a unit that only triggers", []),
        ("server", "a program with a server", of_server),
    ):
        text = (PROGRAMS / f"{name}.cpp").read_text()
        units += [Unit(f"{what}, `{level}`", text, [*flags, level]) for level in ("-O0", "-O2")]
    # The same program where the server is compiled once, and what is compiled then.
    separate = [*of_server, "-DFANFARE_SEPARATE_COMPILATION"]
    text = (PROGRAMS / "server.cpp").read_text()
    for level in ("-O0", "-O2"):
        units.append(Unit(f"its unit, compiled separately, `{level}`", text, [*separate, level]))
        units.append(Unit(f"`src.hpp`, `{level}`", "#include <fanfare/src.hpp>\n", [*separate, level]))
    return units


def added(unit):
    return statistics.median(own - base for own, base in zip(unit.seconds, unit.base.seconds))


def table_of(compiler, units):
    head = f"| {compiler.name} {compiler.version} | time, s | adds, s | peak memory, MB | lines |"
    rows = [head, "|---|---|---|---|---|"]
    for unit in units:
        adds = f"{added(unit):.2f}" if unit.base else ""
        seconds, megabytes = statistics.median(unit.seconds), statistics.median(unit.megabytes)
        rows.append(f"| {unit.name} | {seconds:.2f} | {adds} | {megabytes:,.0f} | {unit.lines:,} |")
    return "\n".join(rows)


def goals(compiler, units):
    """(what, the goal, what it is, whether it is met)"""
    by_name = {unit.name: unit for unit in units}
    included = compiler.included_from_elsewhere("fanfare/app.hpp", [])
    included += compiler.included_from_elsewhere("fanfare/server.hpp", ["-DFANFARE_SEPARATE_COMPILATION"])
    packages = [name for name in included if PACKAGES.match(name) and name != "asio/detail/config.hpp"]
    if core := by_name.get("`fanfare.hpp`"):
        yield "the core adds", f"< {CORE_ADDS} s", f"{added(core):.2f} s", added(core) < CORE_ADDS
    if server := by_name.get("a program with a server, `-O2`"):
        seconds = statistics.median(server.seconds)
        yield "a server's unit takes", f"< {SERVER_TAKES:.0f} s", f"{seconds:.1f} s", seconds < SERVER_TAKES
    what = "what only triggers, or is compiled separately, includes of the server's packages"
    yield what, "nothing", ", ".join(packages) or "nothing", not packages


def measure(options, directory):
    of_server, libraries = server_flags()
    report = {}
    met = True
    for name in options.compilers.split(","):
        compiler = Compiler(name, directory)
        units = units_of(compiler, of_server)
        chosen = [unit for unit in units if re.search(options.only, unit.name)]
        units = [unit for unit in units if unit in chosen or any(unit is other.base for other in chosen)]
        for unit in units:
            compiler.write(unit)
            compiler.compile(unit)  # once for the files to be in memory
            unit.seconds, unit.megabytes = [], []
        for i in range(options.rounds):
            print(f"{name}: round {i + 1} of {options.rounds}", file=sys.stderr)
            for unit in units:
                compiler.compile(unit)
        print(f"\n{table_of(compiler, units)}\n", flush=True)
        programs = {u.name: u for u in units if u.name.startswith("a program with") and "-O2" in u.flags}
        sizes = {what: compiler.size_of(unit, libraries if unit.flags[:-1] else []) for what, unit in programs.items()}
        if sizes:
            print(f"| {name} {compiler.version}, stripped | bytes |\n|---|---|")
            print("\n".join(f"| {what} | {size:,} |" for what, size in sizes.items()), flush=True)
            print()
        report[name] = {
            "version": compiler.version,
            "sizes": sizes,
            "units": {u.name: {"seconds": u.seconds, "megabytes": u.megabytes, "lines": u.lines} for u in units},
        }
        if name == GOAL_COMPILER:
            for what, goal, value, is_met in goals(compiler, units):
                print(f"{'met' if is_met else 'missed'}: {what}: {value} (goal: {goal})")
                met = met and is_met
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    return met


def main():
    parser = argparse.ArgumentParser(add_help=False, usage=argparse.SUPPRESS)
    parser.add_argument("--compilers", default="g++,clang++")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "build/bench/compile.json")
    parser.add_argument("--help", action="store_true")
    parser.error = lambda message: (print(f"compile: {message}\n{__doc__}", file=sys.stderr), sys.exit(2))
    options = parser.parse_args()
    if options.help:
        print(__doc__)
        return 0
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    try:
        with tempfile.TemporaryDirectory() as directory:
            return 0 if measure(options, pathlib.Path(directory)) else 1
    except Failed as error:
        print(f"compile: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
