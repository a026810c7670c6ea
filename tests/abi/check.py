#!/usr/bin/env python3
"""Checks that translation units link if they were compiled with the same settings, and only then.

usage: check.py COMPILER...

Compiles program.cpp and library.cpp in every setting that is part of the ABI namespace, and links each of the one with
each of the other. What links must run; what does not must lack the one function that they share, and nothing else.
"""
import concurrent.futures
import itertools
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
INCLUDE = HERE.parent.parent / "include"

# The flags, and what they put behind the version in the namespace's name. Flags with the same tag link.
SETTINGS = {
    "by default": ([], "_d"),
    "with assertions": (["-DNDEBUG", "-DFANFARE_ASSERTS=1"], "_d"),
    "with NDEBUG": (["-DNDEBUG"], ""),
    "without assertions": (["-DFANFARE_ASSERTS=0"], ""),
    "with assertions, without exceptions": (["-fno-exceptions"], "_d_n"),
    "without assertions and exceptions": (["-DNDEBUG", "-fno-exceptions"], "_n"),
}
LACKS = re.compile(r"undefined reference to [`']([^']*)'")


def build(compiler, directory, source, setting):
    flags = SETTINGS[setting][0]
    made = directory / f"{source}-{list(SETTINGS).index(setting)}.o"
    command = [compiler, "-std=c++20", f"-I{INCLUDE}", *flags, "-c", str(HERE / f"{source}.cpp"), "-o", str(made)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"abi: {compiler} cannot compile {source}.cpp {setting}:\n{result.stderr}")
    return made


def complaint(compiler, directory, objects, mine, theirs):
    """What is wrong with this pair, or None."""
    program = directory / f"program-{list(SETTINGS).index(mine)}-{list(SETTINGS).index(theirs)}"
    command = [compiler, str(objects["program", mine]), str(objects["library", theirs]), "-o", str(program)]
    # The linker's words are looked for, so they must not be translated.
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    tag = SETTINGS[mine][1]
    if tag == SETTINGS[theirs][1]:
        if result.returncode != 0:
            return f"does not link, but should:\n{result.stderr}"
        return None if subprocess.run([program]).returncode == 0 else "links, but does not run as it should"
    if result.returncode == 0:
        return "links, but should not"
    lacking = sorted(set(LACKS.findall(result.stderr)))
    if len(lacking) != 1 or not re.fullmatch(rf"abi::check\(fanfare::v\d+{tag}::Limits const&\)", lacking[0]):
        return f"does not link for another reason, {lacking}:\n{result.stderr}"
    return None


def main():
    compilers = sys.argv[1:]
    if not compilers:
        sys.exit("abi: needs a compiler as argument")
    failed = 0
    for compiler in compilers:
        with tempfile.TemporaryDirectory() as made, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            directory = pathlib.Path(made)
            units = list(itertools.product(("program", "library"), SETTINGS))
            objects = dict(zip(units, pool.map(lambda unit: build(compiler, directory, *unit), units)))
            pairs = list(itertools.product(SETTINGS, SETTINGS))
            results = pool.map(lambda pair: complaint(compiler, directory, objects, *pair), pairs)
            problems = [(pair, problem) for pair, problem in zip(pairs, results) if problem]
        for (mine, theirs), problem in problems:
            print(f"FAILED {compiler}: {mine} calls {theirs}: {problem}")
        failed += len(problems)
        linked = sum(SETTINGS[mine][1] == SETTINGS[theirs][1] for mine, theirs in pairs)
        print(f"abi: {compiler}: {linked} pairs that must link, {len(pairs) - linked} that must not, {len(problems)} failed")
    sys.exit(failed > 0)


main()
