#!/usr/bin/env python3
"""Weakens one operation of the core after the other, and looks whether the explorer notices.

usage: mutate.py [--cxx CXX] [--jobs N] [--only TEXT] BUILD_DIRECTORY

Every order in include/fanfare/core that is stronger than relaxed is weakened by one step, and every step in SKIPS is
left out. The headers are not touched: copies in BUILD_DIRECTORY get a number at each of these places, and one program,
compiled once, is told which of them to change. A change that no program notices has to be in UNNOTICED, with the reason;
one in UNNOTICED that is noticed is an error too.
"""
import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CORE = ROOT / "include/fanfare/core"

# By one step. For read-modify-writes acq_rel has two halves to lose.
WEAKER = {
    "load": {"seq_cst": ["acquire"], "acquire": ["relaxed"]},
    "store": {"seq_cst": ["release"], "release": ["relaxed"]},
    "modify": {"seq_cst": ["acq_rel"], "acq_rel": ["acquire", "release"], "acquire": ["relaxed"], "release": ["relaxed"]},
}

# Steps that can be left out: what it is called, the header, the text that is there now and what replaces it. SKIPPED is
# true where the step is left out.
SKIPS = [
    ("a scan does not look at the readers", "epoch.hpp",
     "return garbage.stamp() < oldest; }", "return SKIPPED || garbage.stamp() < oldest; }"),
    ("a scan of several scopes does not look at the readers", "epoch.hpp",
     "return garbage.stamp() < until;", "return SKIPPED || garbage.stamp() < until;"),
    ("a scan takes readers of the stamp's own epoch for newer", "epoch.hpp",
     "const std::uint64_t oldest = oldest_reader(scope);",
     "std::uint64_t oldest = oldest_reader(scope); if (SKIPPED && oldest != none) ++oldest;"),
    ("who leaves does not wait", "epoch.hpp",
     "void await(const void* scope, std::uint64_t stamp) const noexcept {",
     "void await(const void* scope, std::uint64_t stamp) const noexcept { if (SKIPPED) return;"),
    ("the end does not wait", "epoch.hpp",
     "void await_all() noexcept {", "void await_all() noexcept { if (SKIPPED) return;"),
    ("advance does not advance", "epoch.hpp",
     "[[nodiscard]] std::uint64_t advance() noexcept {",
     "[[nodiscard]] std::uint64_t advance() noexcept { if (SKIPPED) return epoch_.load(std::memory_order_relaxed);"),
    ("a scan sees no claimed record", "epoch.hpp",
     "if (epoch == 0) return {0, nullptr};", "if (epoch == 0 || SKIPPED) return {0, nullptr};"),
    ("who still looks up is taken for a reader of something else", "epoch.hpp",
     "return reading == nullptr || reading == scope ? epoch : 0;",
     "return (reading == nullptr && !SKIPPED) || reading == scope ? epoch : 0;"),
    ("the scope is not cleared at the end of a read", "epoch.hpp",
     "record_->scope.store(nullptr, std::memory_order_relaxed);",
     "if (!SKIPPED) record_->scope.store(nullptr, std::memory_order_relaxed);"),
    ("the owner is not cleared at the end of a read", "epoch.hpp",
     "record_->owner.store(0, std::memory_order_relaxed);",
     "if (!SKIPPED) record_->owner.store(0, std::memory_order_relaxed);"),
    ("a scan looks at the first block only", "epoch.hpp",
     "for (const Record& record : block->records) f(record);",
     "for (const Record& record : block->records) f(record); if (SKIPPED) break;"),
    ("a slot is not emptied", "subscriber_list.hpp",
     "slot->function_.store(nullptr,", "if (!SKIPPED) slot->function_.store(nullptr,"),
    ("a slot of an older array is not emptied", "subscriber_list.hpp",
     "run != nullptr; run = older(*run)) {\n      if (run->last() < sequence) break;",
     "run != nullptr; run = SKIPPED ? nullptr : older(*run)) {\n      if (run->last() < sequence) break;"),
    ("slots are not emptied at the end", "subscriber_list.hpp",
     "run->slots()[i].function_.store(nullptr,", "if (!SKIPPED) run->slots()[i].function_.store(nullptr,"),
    ("a slot is published before its context", "subscriber_list.hpp",
     "slot.context_.write(element.context);",
     "if (SKIPPED) {\n"
     "      slot.function_.store(element.function, std::memory_order_release);\n"
     "      run.count.store(position + 1, std::memory_order_release);\n"
     "    }\n"
     "    slot.context_.write(element.context);"),
    ("an array is counted before its slot is published", "subscriber_list.hpp",
     "run.owners()[position].write(element.owner);",
     "run.owners()[position].write(element.owner); if (SKIPPED) run.count.store(position + 1, std::memory_order_release);"),
    ("an erased entry keeps its node", "name_index.hpp",
     "entry.store(tombstone,", "if (!SKIPPED) entry.store(tombstone,"),
    ("an erased entry becomes free instead of a tombstone", "name_index.hpp",
     "--table->live;\n        return;", "if (SKIPPED) entry.store(0, std::memory_order_seq_cst);\n --table->live;\n return;"),
    ("an array is published before the living are copied into it", "subscriber_list.hpp",
     "Run* const previous = current_.load(std::memory_order_relaxed);",
     "Run* const previous = current_.load(std::memory_order_relaxed);"
     " if (SKIPPED) current_.store(next, std::memory_order_seq_cst);"),
    ("a table is published before the entries are copied into it", "name_index.hpp",
     "auto* next = ::new (address) Table{size, seed};\n    if (previous != nullptr) {",
     "auto* next = ::new (address) Table{size, seed};\n"
     "    if (SKIPPED) table_.store(next, std::memory_order_seq_cst);\n    if (previous != nullptr) {"),
    ("a mailbox falls asleep over what is there", "mailbox.hpp",
     "MessageLink* head = nullptr;\n", "MessageLink* head = SKIPPED ? head_.load(std::memory_order_relaxed) : nullptr;\n"),
    ("a push wakes nobody", "mailbox.hpp", "return head == asleep();\n  }\n\n  /// Takes", "return !SKIPPED && head == asleep();\n  }\n\n  /// Takes"),
    ("a mailbox is not turned round", "mailbox.hpp",
     "MessageLink* oldest = nullptr;\n", "if (SKIPPED) return newest;\n    MessageLink* oldest = nullptr;\n"),
    ("a message is freed by the last but one", "message.hpp", "std::memory_order_acq_rel) == 1) free();",
     "std::memory_order_acq_rel) == (SKIPPED ? 2U : 1U)) free();"),
    ("a cell is emptied before its message is taken", "inbox.hpp",
     "MessagePtr message = MessagePtr::adopt(cell.message.read());",
     "if (SKIPPED) cell.turn.store(position + mask_ + 1, std::memory_order_release);\n"
     "          MessagePtr message = MessagePtr::adopt(cell.message.read());"),
    ("a cell is filled before its message is there", "inbox.hpp",
     "cell.message.write(message.release());",
     "if (SKIPPED) cell.turn.store(position + 1, std::memory_order_release);\n"
     "          cell.message.write(message.release());"),
    ("a pool does not count its pops", "memory_pool.hpp",
     "((first & ~number_mask) + one_pop) | next", "((first & ~number_mask) + (SKIPPED ? 0 : one_pop)) | next"),
    ("a registry's end does not close it first", "channel_registry.hpp",
     "closed_.store(true,", "if (!SKIPPED) closed_.store(true,"),
    ("a registry's end does not wait for hooks", "channel_registry.hpp",
     "A::await([&] { return reports_.load(std::memory_order_acquire) == 0; });",
     "if (!SKIPPED) A::await([&] { return reports_.load(std::memory_order_acquire) == 0; });"),
    ("a leaver's stamp is older than its leaving", "channel.hpp",
     "return {.stamp = stamp, .unbound = unbound};",
     "return {.stamp = SKIPPED ? stamp - 1 : stamp, .unbound = unbound};"),
    ("an event's order is given without the lock", "channel.hpp",
     "const Lock lock(mutex());\n      const QueueView queues = queues_.view();",
     "Lock lock(mutex()); if (SKIPPED) lock.unlock();\n      const QueueView queues = queues_.view();"),
    ("the order of an event to one queue is given without the lock", "channel.hpp",
     "const Lock lock(mutex());  // who comes or leaves does so under it",
     "Lock lock(mutex()); if (SKIPPED) lock.unlock();"),
    ("who has come meanwhile is not looked for", "channel.hpp",
     "if (now.begin() != &slot || now.size() != 1) return false;",
     "if (!SKIPPED && (now.begin() != &slot || now.size() != 1)) return false;"),
    ("who gives an order does not wait", "channel_registry.hpp",
     "while (complete_orders() < now && !domain.inside()) domain.await_all();",
     "while (complete_orders() < now && !domain.inside() && !SKIPPED) domain.await_all();"),
    ("an order is whole at once", "channel.hpp",
     "if (!core_.domain.passed(scope(), kept->stamp)) return kept->stamp;",
     "if (!SKIPPED && !core_.domain.passed(scope(), kept->stamp)) return kept->stamp;"),
    ("an order does not take the table over", "channel.hpp",
     "made->events.adopt(plain->events);", "if (!SKIPPED) made->events.adopt(plain->events);"),
]

# What no program notices, and why that is right: the beginning of the mutant's name, and the reason.
UNNOTICED = {
    "(4) epoch.hpp, oldest_reader_age: load": "for display; nothing is freed by it. Acquire is enough for a number that is "
    "no nonsense",
    "(8) subscriber_list.hpp, append: store": "(24) and (25), or (3) and (2) for a new array, publish the slot as well: no "
    "walk reaches it otherwise",
    "(35) channel_memory.hpp, keeps: load": "no program has rules; the argument is that of (2)",
    "(36) channel_memory.hpp, replace: exchange": "no program has rules; the argument is that of (3)",
}

TOKEN = re.compile(r"std::memory_order_(acquire|release|acq_rel|seq_cst)\b")
CALL = re.compile(r"\b(load|store|exchange|fetch_add|fetch_sub|compare_exchange_weak|compare_exchange_strong)\(")


class Mutant:
    def __init__(self, site, order, name):
        self.site, self.order, self.name = site, order, name


def code_of(line):
    return line.split("//")[0]


def number_of(lines, at):
    """The number in the comment on a line, or in the block of comments above its statement."""
    found = re.search(r"//.*?\((\d+)\)", lines[at])
    if found:
        return found[1]
    for above in range(at - 1, max(at - 5, -1), -1):
        if not lines[above].lstrip().startswith("//"):
            if code_of(lines[above]).rstrip().endswith((";", "{", "}")):
                break
            continue
        first = above
        while first > 0 and lines[first - 1].lstrip().startswith("//"):
            first -= 1
        found = re.search(r"\((\d+)\)", " ".join(lines[first : above + 1]))
        return found[1] if found else None
    return None


def function_of(lines, at):
    """The name of the function that a line is in."""
    indentation = len(lines[at]) - len(lines[at].lstrip())
    for line in reversed(lines[:at]):
        code = code_of(line).rstrip()
        mine = len(code) - len(code.lstrip())
        found = re.search(r"(~?\w+)\(", code)
        block = re.match(r"\s*(for|if|while|do|\} else)\b", code) or "[&]" in code
        if code.endswith("{") and mine < indentation and found and not block:
            return found[1]
    return "?"


def mark_orders(name, text, mutants):
    """The text with a number at each order that is stronger than relaxed."""
    lines = text.split("\n")
    for at, line in enumerate(lines):
        code = code_of(line)
        marked, end = "", 0
        for token in TOKEN.finditer(code):
            before = "\n".join(code_of(l) for l in lines[max(0, at - 3) : at]) + "\n" + code[: token.start()]
            calls = list(CALL.finditer(before))
            if not calls:
                raise SystemExit(f"mutate: {name}:{at + 1}: an order that belongs to no operation")
            call = calls[-1][1]
            failure = call.startswith("compare") and "memory_order" in before[calls[-1].end() :]
            kind = call if call in ("load", "store") else "load" if failure else "modify"
            number = number_of(lines, at)
            if number is None:
                raise SystemExit(f"mutate: {name}:{at + 1}: an operation without a number")
            site = len(mutants) + 1000
            for weaker in WEAKER[kind][token[1]]:
                what = f"{call}, where it fails" if failure else call
                where = f"{name}, {function_of(lines, at)}"
                mutants.append(Mutant(site, weaker, f"({number}) {where}: {what} {token[1]} → {weaker}"))
            marked += code[end : token.start()] + f"::fanfare::explore::mutated({site}, {token[0]})"
            end = token.end()
        lines[at] = marked + line[end:]
    return "\n".join(lines)


def make_overlay(directory):
    """Copies of all headers of the core, marked. Returns the mutants."""
    mutants, skipped = [], []
    for header in sorted(CORE.glob("*.hpp")):
        text = original = header.read_text()
        replacements = []
        for site, (what, name, old, new) in enumerate(SKIPS):
            if name != header.name:
                continue
            if original.count(old) != 1:
                raise SystemExit(f"mutate: {name}: to skip '{what}' there is not exactly one place")
            replacements.append((site, old, new))
            skipped.append(Mutant(site, "skipped", f"skipped: {what}"))
        if header.name != "atomics.hpp":
            text = mark_orders(header.name, text, mutants)
        for site, old, new in replacements:
            # The same place may be marked by now, or changed by another replacement.
            pattern = re.escape(old)
            pattern = re.sub(r"std::memory_order_(\w+)", r"(?:::fanfare::explore::mutated\\(\\d+, std::memory_order_\1\\)|std::memory_order_\1)", pattern)
            found = re.search(pattern, text)
            if not found:
                raise SystemExit(f"mutate: {header.name}: two replacements of '{old}' are in each other's way")
            kept = found[0]
            changed = new.replace("SKIPPED", f"::fanfare::explore::skipped({site})")
            for order in TOKEN.finditer(kept):
                marked = re.search(r"::fanfare::explore::mutated\(\d+, " + re.escape(order[0]) + r"\)", kept)
                if marked:
                    changed = changed.replace(order[0], marked[0])
            text = text[: found.start()] + changed + text[found.end() :]
        target = directory / "include/fanfare/core" / header.name
        target.parent.mkdir(parents=True, exist_ok=True)
        text = text.replace("#pragma once\n", '#pragma once\n\n#include "explore/mutation.hpp"\n', 1)
        if not target.exists() or target.read_text() != text:
            target.write_text(text)
    return mutants, skipped


def build(directory, cxx):
    objects = []
    common = [cxx, "-std=c++20", "-O2", "-g0", "-w", f"-I{directory}/include", f"-I{ROOT}/include", f"-I{HERE.parent}"]

    def compile_one(source):
        target = directory / (source.stem + ".o")
        subprocess.run([*common, "-c", str(source), "-o", str(target)], check=True)
        return target

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, [s for s in sorted(HERE.glob("*.cpp")) if s.name != "threads.cpp"]))
    program = directory / "explore-mutants"
    subprocess.run([cxx, *map(str, objects), "-o", str(program)], check=True)
    return program


def try_mutant(program, mutant):
    """What noticed it: the program and its complaint; or None."""
    try:
        run = subprocess.run([str(program), "--mutate", f"{mutant.site}:{mutant.order}"], capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return "did not end within 300 s"
    failed = re.search(r"^FAILED: (.*)$", run.stdout, re.MULTILINE)
    if failed:
        return failed[1]
    if run.returncode == 0 and re.search(r"^explore: [1-9]\d* programs, [1-9]\d* executions, 0 failed$", run.stdout, re.MULTILINE):
        return None
    return "crash: " + (run.stderr.strip().split("\n")[-1] or f"exit code {run.returncode}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cxx", default="g++")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("directory", type=pathlib.Path)
    arguments = parser.parse_args()

    directory = arguments.directory.resolve()
    orders, skipped = make_overlay(directory)
    mutants = [m for m in sorted(orders, key=lambda m: int(m.name[1 : m.name.index(")")])) + skipped if arguments.only in m.name]
    program = build(directory, arguments.cxx)
    unmutated = try_mutant(program, Mutant(-1, "skipped", "nothing"))
    if unmutated is not None:
        raise SystemExit(f"mutate: without any change: {unmutated}")

    caught = listed = wrong = 0
    unused = set(UNNOTICED.values()) if not arguments.only else set()
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for mutant, noticed in zip(mutants, pool.map(lambda m: try_mutant(program, m), mutants)):
            reason = next((r for beginning, r in UNNOTICED.items() if mutant.name.startswith(beginning)), None)
            unused.discard(reason)
            if noticed is not None and reason is None:
                caught += 1
                verdict = f"caught   {noticed}"
            elif noticed is None and reason is not None:
                listed += 1
                verdict = f"listed   {reason}"
            else:
                wrong += 1
                verdict = "MISSED" if noticed is None else f"LISTED, BUT CAUGHT   {noticed}"
            print(f"{mutant.name:<92} {verdict}", flush=True)
    for reason in unused:
        wrong += 1
        print(f"there is no such mutant any more: {reason}")
    print(f"explore: {len(mutants)} mutants, {caught} caught, {listed} listed, {wrong} missed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
