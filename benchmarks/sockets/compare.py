#!/usr/bin/env python3
"""Measures servers of the Pusher protocol side by side, in short windows that take turns.

usage: compare.py --server NAME APP COMMAND --server NAME APP COMMAND [...] [OPTION]... [-- OPTION OF fanfare-load...]

  --server NAME APP COMMAND  a server: what the table calls it, its application as ID:KEY:SECRET, and the command that
                             starts it, in which {port}, {app}, {id}, {key} and {secret} are replaced. The first one is
                             what the others are compared with.
  --load COMMAND             the load generator (build/release/benchmarks/fanfare-load)
  --rounds R                 windows for each server (15)
  --seconds S                length of a window (0.5)
  --lines FILE               also writes every report, as a line of JSON with the server's name and the round

Each server runs on a free port of 127.0.0.1 with a load generator of its own, which waits while it is not its turn. In
a round every server has one window, and every round begins with another server. The table has each server's median over
the rounds, the median of its ratios to the first server, round by round, and between which values half of the ratios
are.

example: compare.py --server one 42:key:secret 'fanfare-server --listen 127.0.0.1:{port} --app {app}'
                    --server two 42:key:secret 'fanfare-server --listen 127.0.0.1:{port} --app {app} --threads 2'
                    -- --clients 1000 --bytes 100

exit codes: 0: compared; 1: a server or its load failed, or lost something; 2: wrong use
"""
import argparse
import contextlib
import json
import os
import pathlib
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

LOAD = pathlib.Path(__file__).resolve().parents[2] / "build/release/benchmarks/fanfare-load"

# What the table shows: the name in the report, the name for people, the decimals. The first ones are measured once.
ONCE = [
    ("connect_cpu_us", "CPU for a connection, µs", 1),
    ("memory_per_client", "memory of a connection, bytes", 0),
]
EACH_ROUND = [
    ("cpu_us_per_delivery", "CPU for a delivery, µs", 3),
    ("user_us_per_delivery", "of it user, µs", 3),
    ("system_us_per_delivery", "of it system, µs", 3),
    ("deliveries_per_s", "deliveries/s", 0),
    ("latency_p50_us", "latency p50, µs", 0),
    ("latency_p99_us", "latency p99, µs", 0),
    ("generator_busy", "generator busy", 2),
]
NO_RATIO = {"generator_busy"}  # tells whether to believe the others


class Failed(Exception):
    """The comparison cannot be made."""


def parse(arguments):
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own, rest = arguments[:end], arguments[end + 1 :]
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0], add_help=False)
    parser.add_argument("--server", nargs=3, action="append", default=[])
    parser.add_argument("--load", default=str(LOAD))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--lines", type=pathlib.Path)
    parser.add_argument("--help", "-h", action="store_true")
    options = parser.parse_args(own)
    if options.help:
        print(__doc__, end="")
        sys.exit(0)
    if len(options.server) < 2:
        parser.error("at least two of --server are needed")
    names = [name for name, _, _ in options.server]
    if len(set(names)) < len(names):
        parser.error("two servers have the same name")
    for name, app, _ in options.server:
        if len(app.split(":", 2)) < 3 or not all(app.split(":", 2)):
            parser.error(f"{name}: an application is ID:KEY:SECRET")
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds have to be more than 0")
    options.rest = rest
    return options


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def family(pid):
    """A process and all that it started, directly or not."""
    parents = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    pids = [pid]
    for parent in pids:  # grows while it is read
        pids += [child for child, its in parents.items() if its == parent]
    return pids


class Process:
    """A child in a session of its own, so that Ctrl-C reaches it through us alone and its children end with it."""

    def __init__(self, name, command, stdout):
        self.name = name
        self.errors = tempfile.TemporaryFile()
        try:
            self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout or self.errors,
                                          stderr=self.errors, start_new_session=True, text=True)
        except OSError as error:
            raise Failed(f"{name}: cannot start {command[0]}: {error.strerror}") from None

    def fail(self, what):
        time.sleep(0.1)  # for its last words
        self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, self.errors.tell() - 2000))
        raise Failed(f"{self.name}: {what}\n{self.errors.read().decode(errors='replace')}".rstrip())

    def end(self):
        with contextlib.suppress(OSError):
            self.child.stdin.close()
        for kill in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, kill)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(6)
                break
        self.errors.close()


class Server(Process):
    def __init__(self, name, app, template):
        self.app = app
        self.port = free_port()
        identifier, key, secret = app.split(":", 2)
        words = {"port": str(self.port), "app": app, "id": identifier, "key": key, "secret": secret}
        command = shlex.split(template)
        for word, value in words.items():
            command = [part.replace("{" + word + "}", value) for part in command]
        super().__init__(name, command, None)

    def wait_until_it_listens(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if self.child.poll() is not None:
                self.fail(f"the server ended with code {self.child.returncode}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        self.fail(f"the server does not listen on 127.0.0.1:{self.port} after 30 s")


class Load(Process):
    def __init__(self, server, options):
        pids = ",".join(map(str, family(server.child.pid)))
        command = [*shlex.split(options.load), "--url", f"127.0.0.1:{server.port}", "--app", server.app, "--pid", pids,
                   "--seconds", str(options.seconds), *options.rest, "--step"]
        super().__init__(server.name, command, subprocess.PIPE)
        self.connected = self.read()

    def read(self):
        line = self.child.stdout.readline()
        if not line:
            self.fail(f"the load generator ended with code {self.child.wait()}")
        try:
            return json.loads(line)
        except ValueError:
            self.fail(f"this is no report of a load generator: {line.strip()}")

    def measure(self):
        try:
            self.child.stdin.write("\n")
            self.child.stdin.flush()
        except OSError:
            pass  # it ended: the line that is missing says so
        report = self.read()
        if not report["ok"]:
            wrong = {name: report[name] for name in ("missing", "duplicates", "disordered", "strays", "refused")}
            self.fail(f"not everything arrived as it has to: {wrong}")
        return report


def number(value, decimals):
    return "-" if value is None else f"{value:,.{decimals}f}"


def ratios(reports, base, field):
    """This server's values over the first one's, where both have one."""
    return [mine[field] / its[field] for mine, its in zip(reports, base) if mine[field] is not None and its[field]]


def spread(values):
    """Median and quartiles, as text."""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.2f}"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{statistics.median(values):.2f} ({low:.2f} to {high:.2f})"


def table(connected, rounds):
    """The Markdown table. Both arguments: by the server's name, the reports."""
    names = list(rounds)
    first = names[0]
    lines = ["| | " + " | ".join([first, *(f"{name} | {name} / {first}" for name in names[1:])]) + " |",
             "|---|---" + "|---|---" * (len(names) - 1) + "|"]
    for source, fields in ((connected, ONCE), (rounds, EACH_ROUND)):
        for field, label, decimals in fields:
            row = [label]
            for name in names:
                values = [report[field] for report in source[name] if report[field] is not None]
                row.append(number(statistics.median(values) if values else None, decimals))
                if name != first:
                    row.append("" if field in NO_RATIO else spread(ratios(source[name], source[first], field)))
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def compare(options, started):
    """Adds to `started` what has to be ended, in the order of starting."""
    servers = []
    for name, app, command in options.server:
        servers.append(Server(name, app, command))
        started.append(servers[-1])
    loads = []
    for server in servers:
        server.wait_until_it_listens()
        loads.append(Load(server, options))
        started.append(loads[-1])
    rounds = {load.name: [] for load in loads}
    lines = options.lines.open("w") if options.lines else contextlib.nullcontext()
    with lines as file:
        for number_of_round in range(options.rounds):
            turn = number_of_round % len(loads)
            for load in loads[turn:] + loads[:turn]:
                report = load.measure()
                rounds[load.name].append(report)
                if file:
                    print(json.dumps({"server": load.name, "round": number_of_round, **report}), file=file)
            if sys.stderr.isatty():
                print(f"\rround {number_of_round + 1} of {options.rounds}", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(f"{options.rounds} rounds of {options.seconds:g} s each; fanfare-load {shlex.join(options.rest)}\n")
    print(table({load.name: [load.connected] for load in loads}, rounds))


def main():
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    started = []
    try:
        compare(options, started)
    except (Failed, OSError) as failure:
        print(f"compare.py: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("compare.py: interrupted", file=sys.stderr)
        return 1
    finally:
        for process in reversed(started):
            process.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
