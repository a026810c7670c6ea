#!/usr/bin/env python3
"""Checks that `SingleThreaded` compiles to no atomic instruction, no fence, no lock and no waiting.

usage: check.py COMPILER...

Compiles single_threaded.cpp to assembler with each compiler, for x86-64 and AArch64 where the compiler is made for
one of them. First it compiles the default policies, in which it must find what it looks for.
"""
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
INCLUDE = HERE.parent.parent / "include"

INSTRUCTIONS = {
    # `xchg` with memory locks without a prefix; between registers it is padding.
    "x86_64": re.compile(r"^\s*(lock\b.*|xchg\w*\s.*\(.*|mfence\b.*|lfence\b.*|sfence\b.*)$", re.MULTILINE),
    "aarch64": re.compile(
        r"^\s*((?:ld|st)\w*x[rp]\w*\s.*|ldar\w*\s.*|ldapr\w*\s.*|stlr\w*\s.*|cas\w*\s.*|swp\w*\s.*"
        r"|ld(?:add|clr|set|eor)\w*\s.*|dmb\b.*)$",
        re.MULTILINE,
    ),
}
CALLS = re.compile(
    r"^.*\b(pthread_mutex\w*|__gthread\w*|__atomic_\w+|__aarch64_\w+|__sync_\w+|sched_yield|nanosleep|clock_nanosleep"
    r"|__tls_get_addr|__cxa_thread_atexit)\b.*$",
    re.MULTILINE,
)


def machine_of(compiler):
    triple = subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    return triple.split("-")[0].strip()


def findings(compiler, machine, *flags):
    command = [compiler, "-std=c++20", "-O2", "-DNDEBUG", "-pthread", f"-I{INCLUDE}", *flags]
    command += ["-S", "-o", "-", str(HERE / "single_threaded.cpp")]
    assembler = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # Names of C++ functions may hold anything: only whole words of C are looked for in calls.
    return INSTRUCTIONS[machine].findall(assembler) + [match[0].strip() for match in CALLS.finditer(assembler)]


def main():
    compilers = sys.argv[1:]
    if not compilers:
        sys.exit("no-atomics: needs a compiler as argument")
    failed = False
    for compiler in compilers:
        machine = machine_of(compiler)
        if machine not in INSTRUCTIONS:
            print(f"skipped {compiler}: cannot read the assembler of {machine}")
            continue
        control = findings(compiler, machine, "-DMULTI_THREADED")
        if not control:
            failed = True
            print(f"FAILED {compiler}: finds nothing in the default policies, so it does not look well")
        found = findings(compiler, machine)
        for line in found:
            failed = True
            print(f"FAILED {compiler}: {line}")
        print(f"no-atomics: {compiler} ({machine}): {len(found)} found, {len(control)} in the default policies")
    sys.exit(failed)


main()
