#!/usr/bin/env python3
"""Checks that misuse is refused, and in words that help.

usage: run.py COMPILER...

Each *.cpp beside this file must fail to compile with each compiler, and what the compiler says must match every
line `// expect: <regex>` of the file.
"""
import concurrent.futures
import itertools
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
INCLUDE = HERE.parent.parent / "include"
EXPECT = re.compile(r"^// expect: (.+)$", re.MULTILINE)


def complaint(compiler, source):
    """What is wrong with this test, or None."""
    text = source.read_text()
    expected = EXPECT.findall(text)
    if not expected:
        return "has no line `// expect: <regex>`"
    # The compiler gets the text without those lines: it quotes source, and must not match by quoting them.
    command = [compiler, "-std=c++20", "-Werror", f"-I{INCLUDE}", "-fsyntax-only", "-x", "c++", "-"]
    result = subprocess.run(command, input=EXPECT.sub("", text), capture_output=True, text=True)
    if result.returncode == 0:
        return "compiles, but should not"
    for regex in expected:
        if not re.search(regex, result.stderr):
            return f"the output does not match `{regex}`:\n{result.stderr}"
    return None


def main():
    compilers = sys.argv[1:]
    sources = sorted(HERE.glob("*.cpp"))
    if not compilers or not sources:
        sys.exit("compile-fail: needs a compiler as argument, and at least one *.cpp beside run.py")
    failed = 0
    tests = list(itertools.product(compilers, sources))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (compiler, source), problem in zip(tests, pool.map(complaint, *zip(*tests))):
            print(f"{'FAILED' if problem else 'ok':6} {compiler:8} {source.name}", flush=True)
            if problem:
                failed += 1
                print(problem)
    print(f"compile-fail: {len(sources)} files with {', '.join(compilers)}, {failed} failed")
    sys.exit(failed > 0)


main()
