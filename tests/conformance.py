#!/usr/bin/env python3
"""Checks that every row of docs/reference/protocol.md names tests, and that there are such tests.

usage: conformance.py [ROOT]

A row begins with its id: a letter and a number, ascending in its table. Where the numbers are not codes they are
consecutive, from 1. Its last cell names tests in backticks, or says `not applicable because …`, of which there may be a
handful.

  Suite.Case            a TEST, TEST_F, TEST_P or TYPED_TEST in tests/**/*.cpp
  Suite.Case/what       the same with one row of it: "what" is a literal in that file, or a transcript in its directory
  file.test.js: title   a test in tests/e2e; what stands for ${…} in its title may be anything

Every test of tests/pusher/rules_test.cpp is named in turn. Before it looks at the tree it proves that it sees each kind
of mistake.
"""
import collections
import pathlib
import re
import sys
import tempfile

PAGE = "docs/reference/protocol.md"
RULES = "tests/pusher/rules_test.cpp"
CODES = "C"  # its numbers are the protocol's own
MOST_EXCUSED = 6

SEPARATOR = re.compile(r"\|(?:\s*:?-+:?\s*\|)+")
ID = re.compile(r"([A-Z])([1-9][0-9]*)")
GTEST = re.compile(r"^(?:TYPED_)?TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\)", re.MULTILINE)
NODE_TEST = re.compile(r"^\s*test\((['\"`])(.*?)\1,", re.MULTILINE)


def rows_of(text):
    """Of each row of each table: the line, its cells, and whether it is the first of a table."""
    in_table = False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("|"):
            in_table = False
            continue
        if SEPARATOR.fullmatch(line.strip()):
            continue
        cells = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        yield number, cells, not in_table
        in_table = True


class Sources:
    """What tests there are."""

    def __init__(self, root):
        self.gtests = collections.defaultdict(list)  # Suite.Case: the files
        for path in sorted((root / "tests").rglob("*.cpp")):
            for suite, case in GTEST.findall(path.read_text()):
                self.gtests[f"{suite}.{case}"].append(path)
        self.rules = {name for name, paths in self.gtests.items() if root / RULES in paths}
        self.titles = {}  # file: patterns of its titles
        for path in sorted((root / "tests/e2e").glob("*.test.js")):
            self.titles[path.name] = [self.pattern(*found) for found in NODE_TEST.findall(path.read_text())]

    @staticmethod
    def pattern(quote, title):
        if quote != "`":
            return re.compile(re.escape(title.replace("\\" + quote, quote)))
        return re.compile(".+".join(re.escape(part) for part in re.split(r"\$\{[^}]*\}", title)))

    def problem_with(self, name):
        """What is wrong with the name of a test; nothing where there is such a test."""
        if found := re.fullmatch(r"([\w.-]+\.test\.js): (.+)", name):
            if found[1] not in self.titles:
                return f"there is no tests/e2e/{found[1]}"
            if not any(title.fullmatch(found[2]) for title in self.titles[found[1]]):
                return f"tests/e2e/{found[1]} has no test '{found[2]}'"
            return None
        test, _, what = name.partition("/")
        if test not in self.gtests:
            return f"there is no test {test}"
        if what and not any(self.has_row(path, what) for path in self.gtests[test]):
            return f"{test} has no row '{what}'"
        return None

    @staticmethod
    def has_row(path, what):
        if f'"{what}"' in path.read_text():
            return True
        # The transcripts of pusher are those of transport too.
        directories = path.parent.glob("../*/transcripts")
        return "ranscripts" in path.read_text() and any((directory / f"{what}.txt").exists() for directory in directories)


def check(root):
    """How many rows and tests there are, and what is wrong."""
    sources = Sources(root)
    ids, tests, problems, excused = set(), set(), [], []
    last, width = None, 0
    for line, cells, is_head in rows_of((root / PAGE).read_text()):
        where = f"{PAGE}:{line}"
        if is_head:
            last, width = None, len(cells)
            if cells[0] != "id" or cells[-1] != "shown by":
                problems.append(f"{where}: a table's columns are `id`, …, `shown by`")
            continue
        if len(cells) != width:
            problems.append(f"{where}: {len(cells)} cells, not {width}")
        identity = ID.fullmatch(cells[0])
        if identity is None:
            problems.append(f"{where}: '{cells[0]}' is no id")
            continue
        where += f": {cells[0]}"
        if cells[0] in ids:
            problems.append(f"{where}: stands there twice")
        ids.add(cells[0])
        letter, number = identity[1], int(identity[2])
        expected = 1 if last is None else last[1] + 1
        if last is not None and letter != last[0]:
            problems.append(f"{where}: another letter than in the row before")
        elif number != expected if letter not in CODES else number < expected:
            problems.append(f"{where}: expected {letter}{expected}")
        last = letter, number

        names = re.findall(r"`([^`]+)`", cells[-1])
        if re.fullmatch(r"not applicable because \S.+", cells[-1]):
            excused.append(cells[0])
            continue
        if re.fullmatch(r"`[^`]+`(?:, `[^`]+`)*", cells[-1]) is None:
            problems.append(f"{where}: names no test")
        for name in names:
            tests.add(name)
            if problem := sources.problem_with(name):
                problems.append(f"{where}: {problem}")
    if len(excused) > MOST_EXCUSED:
        problems.append(f"{PAGE}: {len(excused)} rows are not applicable: {', '.join(excused)}")
    named = {name.partition("/")[0] for name in tests}
    problems += [f"{RULES}: no row names {test}" for test in sorted(sources.rules - named)]
    return len(ids), len(tests), problems


GOOD = """
| id | rule | shown by |
|---|---|---|
| R1 | one | `Suite.Case`, `a.test.js: it works` |
| R2 | two | `Table.holds/a row`, `Words.Hold/greeting` |
| R3 | | not applicable because it is not |

| id | code | shown by |
|---|---|---|
| C4000 | a | `Rules.R1_One` |
| C4003 | b | `Typed.Case`, `a.test.js: over ws: it's 100%` |
"""
# What stands in the good page, what in its place, and what is to be seen.
MISTAKES = [
    ("| R2 |", "| R1 |", "twice"),
    ("| R2 |", "| R4 |", "expected R2"),
    ("| R1 |", "| R7 |", "expected R1"),
    ("| R2 |", "| Q2 |", "another letter"),
    ("| R2 |", "| 2 |", "is no id"),
    ("| C4003 |", "| C3999 |", "expected C4001"),
    ("| two |", "| two | three |", "4 cells"),
    ("shown by |\n|---|---|---|\n| R1", "tests |\n|---|---|---|\n| R1", "columns are"),
    ("| R2 |", "\n| R2 |", "columns are"),
    ("`Suite.Case`, `a.test.js: it works`", "", "names no test"),
    ("`Suite.Case`, `a", "Suite.Case, `a", "names no test"),
    ("Suite.Case", "Suite.Cas", "there is no test Suite.Cas"),
    ("Suite.Case", "Suite.Gone", "there is no test Suite.Gone"),
    ("a row", "a ro", "Table.holds has no row"),
    ("greeting", "goodbye", "Words.Hold has no row"),
    ("Table.holds/a row", "Suite.Case/greeting", "Suite.Case has no row"),
    ("it works", "it work", "has no test 'it work'"),
    ("a.test.js: it works", "b.test.js: it works", "there is no tests/e2e/b.test.js"),
    ("over ws: it's", "over : it's", "has no test"),
    ("not applicable because it is not", "not applicable", "names no test"),
    ("`Rules.R1_One`", "`Suite.Case`", "no row names Rules.R1_One"),
]
TREE = {
    "tests/a_test.cpp": 'TEST(Suite, Case) {}\n// TEST(Suite, Gone) {}\nTYPED_TEST(Typed, Case) {}\n',
    "tests/pusher/b_test.cpp": 'TEST_P(Table, holds) {}\nauto rows = {"a row"};\n',
    "tests/pusher/c_test.cpp": 'TEST_P(Words, Hold) {}\nauto all = find_transcripts();\n',
    "tests/pusher/transcripts/greeting.txt": "C: hello\n",
    RULES: "TEST_F(Rules,\n       R1_One) {}\n",
    "tests/e2e/a.test.js": "test('it works', async () => {});\nfor (const t of all) {\n  test(`over ${t}: it's 100%`, f);\n}\n",
}


def prove():
    """Fails unless each mistake is seen and nothing is seen on a good page."""
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        page = root / PAGE
        for path, text in {**TREE, PAGE: GOOD}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        rows, tests, problems = check(root)
        if problems or (rows, tests) != (5, 7):
            sys.exit(f"conformance: false alarm: {rows} rows, {tests} tests, {problems}")
        excuses = "".join(f"\n| R{n} | | not applicable because it is not |" for n in range(3, 4 + MOST_EXCUSED))
        third = "\n| R3 | | not applicable because it is not |"
        for part, mistake, expected in [*MISTAKES, (third, excuses, "rows are not applicable")]:
            if part not in GOOD:
                sys.exit(f"conformance: no such part: {part}")
            page.write_text(GOOD.replace(part, mistake, 1))
            _, _, problems = check(root)
            if not any(expected in problem for problem in problems):
                sys.exit(f"conformance: blind to this mistake: {mistake!r}: {expected}; seen: {problems}")


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    prove()
    rows, tests, problems = check(root)
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"conformance: {rows} rows, {tests} tests, {len(problems)} problems")
    sys.exit(len(problems) > 0 or rows == 0)


main()
