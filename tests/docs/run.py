#!/usr/bin/env python3
"""Compiles and runs the code in the documentation.

usage: run.py COMPILER BUILD_DIRECTORY

Every ```cpp block in README.md and docs/**/*.md is compiled as one file, warnings as errors. One with `int main` is
also linked and run, and must return 0 within ten seconds. A block below the line `<!-- sketch -->` is left alone.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BLOCK = re.compile(r"^( *)```cpp\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
FLAGS = ["-std=c++20", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", "-pthread", "-DASIO_STANDALONE"]
LIBRARIES = ["-Wl,--as-needed", "-lboost_json", "-lcrypto", "-lssl", "-lsqlite3"]


def blocks(page):
    """The line number, text and whether it is a sketch, for each C++ block of a page."""
    text = page.read_text()
    for match in BLOCK.finditer(text):
        before = text[: match.start()].rstrip().rsplit("\n", 1)[-1].strip()
        yield text.count("\n", 0, match.start()) + 2, match[2], before == "<!-- sketch -->"


def run(*command, timeout=None, where=None):
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, cwd=where)
    except subprocess.TimeoutExpired:
        return f"still running after {timeout} s"
    return None if result.returncode == 0 else f"exit code {result.returncode}\n{result.stdout}"


def check(compiler, source):
    """Compiles a block, and runs it where it is a program. Returns what is wrong with it; None: nothing."""
    if "int main" not in source.read_text():
        return run(compiler, *FLAGS, "-fsyntax-only", source)
    program = source.with_suffix("")
    if problem := run(compiler, *FLAGS, source, *LIBRARIES, "-o", program):
        return problem
    with tempfile.TemporaryDirectory() as where:  # what it writes is in nobody's way, nor found by the next run
        return run(program.resolve(), timeout=10, where=where)


def main():
    compiler, build = sys.argv[1], pathlib.Path(sys.argv[2])
    build.mkdir(parents=True, exist_ok=True)
    found, programs, sketches, failed = {}, 0, 0, 0
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        name = page.relative_to(ROOT)
        for line, text, is_sketch in blocks(page):
            if is_sketch:
                sketches += 1
                continue
            source = build / f"{'-'.join(name.with_suffix('').parts)}-{line}.cpp"
            source.write_text(f'#line {line} "{name}"\n{text}')
            found[f"{name}:{line}"] = source
            programs += "int main" in text
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, problem in zip(found, pool.map(lambda source: check(compiler, source), found.values())):
            print(f"{'FAILED' if problem else 'ok':6} {name}", flush=True)
            if problem:
                failed += 1
                print(problem)
    print(f"docs: {len(found)} blocks compiled, {programs} of them run, {sketches} sketches, {failed} failed")
    sys.exit(failed > 0 or programs == 0)


main()
