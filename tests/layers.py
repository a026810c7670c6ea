#!/usr/bin/env python3
"""Checks the structure of include/fanfare: who may include whom, and what a header may not contain.

usage: layers.py [ROOT]

The rooms depend on each other in one direction (ROOMS below). Headers hold no mutable objects of their own, and each
header of a room has its test. Before it looks at the tree it proves that it sees each kind of mistake.
"""
import pathlib
import re
import sys
import tempfile

# Each room may include itself and the rooms listed here, which are those before it.
ROOMS = {
    "detail": [],
    "core": ["detail"],
    "store": ["detail", "core"],
    "websocket": ["detail", "core"],
    "http": ["detail", "core"],
    "pusher": ["detail", "core", "http"],
    "transport": ["detail", "core", "websocket", "http", "pusher"],
    "broker": ["detail", "core", "websocket", "http", "pusher"],
    "ops": ["detail", "core", "websocket", "http", "pusher"],
    "server": ["detail", "core", "websocket", "http", "pusher", "transport", "broker", "ops"],
}
# The headers that stand beside the rooms, and the room whose rules they obey.
TOP = {
    "version.hpp": "detail", "app.hpp": "core", "fanfare.hpp": "core", "typed.hpp": "pusher", "async.hpp": "transport",
    "server.hpp": "server", "impl/server.hpp": "server", "src.hpp": "server",
}
# Of http, pusher may use these plain values alone.
HTTP_VALUES = ["http/request.hpp", "http/response.hpp"]
# These rooms, and these headers, include nothing but the standard library.
STD_ONLY = ["detail", "core"]
STD_ONLY_HEADERS = [*HTTP_VALUES, "websocket/frame.hpp"]
# Third parties that belong to one room each.
ONLY_IN = {"websocketpp": "websocket", "sqlite3.h": "store"}
# The exceptions, each for one header: the identity of a thread where the standard has none as a number.
ALLOWED = {("core/atomics.hpp", "pthread.h"), ("core/wire.hpp", "smmintrin.h")}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def room_of(path):
    """The room of a header, given its path below include/fanfare; None where it has no place."""
    room = path.split("/")[0]
    return TOP.get(path, room if "/" in path and room in ROOMS else None)


def blank(text):
    """The code alone: comments, literals and preprocessor lines blanked out, lines kept."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)
    text = token.sub(lambda m: ('""' if m[0][-1] == '"' else " ") + "\n" * m[0].count("\n"), text)
    # `FANFARE_NAMESPACE_BEGIN` and `_END` are the braces of a namespace.
    text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: "\n" * m[0].count("\n"), text, flags=re.MULTILINE)
    text = re.sub(r"\bASIO_INLINE_NAMESPACE_(BEGIN|END)\b", "", text)
    return text.replace("FANFARE_NAMESPACE_BEGIN", "namespace fanfare {").replace("FANFARE_NAMESPACE_END", "}")


def statements(code):
    """Each statement up to its `;` or `{`: the line, what kind of scope it stands in, and its text."""
    scopes, start, depth = ["namespace"], 0, 0
    for match in re.finditer(r"[;{}()]", code):
        if match[0] in "()":
            depth += 1 if match[0] == "(" else -1
        elif depth > 0:
            continue  # a lambda or an initialiser among arguments
        elif match[0] == "}":
            scopes.pop()
            start = match.end()
        else:
            head = re.sub(r"\s+", " ", code[start : match.start()]).strip()
            head = re.sub(r"\[\[.*?\]\] ?|\b(public|private|protected) ?: ?", "", head)
            bare = re.sub(r"^(template ?<.*?> ?(requires .*? )?)+(?=struct|class|union)", "", head)
            yield code.count("\n", 0, match.start()) + 1, scopes[-1], head, match[0]
            if match[0] == "{":
                if re.match(r"(inline )?namespace\b|extern ", bare):
                    scopes.append("namespace")
                elif re.match(r"(class|struct|union|enum)\b", bare):
                    scopes.append("class")
                else:
                    scopes.append("function")
            start = match.end()


def is_variable(head, end):
    """Whether a statement of a namespace defines an object."""
    if not head or re.match(r"(inline )?namespace|using|typedef|template|class|struct|union|enum|friend|extern|concept|static_assert|requires", head):
        return False
    before_value = re.split(r"(?<![=<>!])=(?!=)", head)[0]
    return "(" not in before_value and (end == "{" or " " in head)


def check_header(root, header):
    path = header.relative_to(root / "include/fanfare").as_posix()
    room = room_of(path)
    if room is None:
        yield f"{path}: has no place; the rooms are {', '.join(ROOMS)}"
        return
    text = header.read_text()
    if not re.search(r"^#pragma once$", text, re.MULTILINE):
        yield f"{path}: no #pragma once"

    std_only = room in STD_ONLY or path in STD_ONLY_HEADERS
    for match in INCLUDE.finditer(text):
        line, name = text.count("\n", 0, match.start()) + 1, match[2]
        if name.startswith("fanfare/") or match[1] == '"':
            target = name.removeprefix("fanfare/") if match[1] == "<" else name
            other = room_of(target)
            if match[1] == '"':
                yield f'{path}:{line}: write <fanfare/…>, not "{name}"'
            elif target == "fanfare.hpp" and path not in TOP:
                yield f"{path}:{line}: includes the umbrella header"
            elif other != room and other not in ROOMS[room]:
                yield f"{path}:{line}: {room} must not include {target}"
            elif room == "pusher" and other == "http" and target not in HTTP_VALUES:
                yield f"{path}:{line}: of http, pusher uses {' and '.join(HTTP_VALUES)} alone"
        elif std_only and not re.fullmatch(r"[a-z_]+", name) and (path, name) not in ALLOWED:
            yield f"{path}:{line}: {room} uses the standard library alone, not <{name}>"
        elif ONLY_IN.get(name.split("/")[0], room) != room:
            yield f"{path}:{line}: <{name}> belongs into {ONLY_IN[name.split('/')[0]]} alone"

    code = blank(text)
    for line, scope, head, end in statements(code):
        immutable = re.search(r"\b(constexpr|const)\b", head) and "constinit" not in head
        if "thread_local" in head:
            yield f"{path}:{line}: thread_local"
        elif scope == "namespace" and head.startswith("static "):
            yield f"{path}:{line}: static in a namespace: every translation unit has its own"
        elif scope == "namespace" and is_variable(head, end) and not immutable:
            yield f"{path}:{line}: mutable object in a namespace"
        elif scope == "function" and re.match(r"static ", head) and not immutable:
            yield f"{path}:{line}: mutable static in a function"
        elif scope == "class" and re.match(r"(inline )?static ", head) and "(" not in head and not immutable:
            yield f"{path}:{line}: mutable static member"
        if room in STD_ONLY and re.search(r"\bstd::(jthread|thread)\b(?!::)|\bstd::async\b", head):
            yield f"{path}:{line}: {room} has no threads of its own"

    # The bodies under impl/ are tested with the header that they belong to.
    if "/" in path and room != "detail" and "impl/" not in path:
        test = root / "tests" / path.replace(".hpp", "_test.cpp")
        if not test.exists():
            yield f"{path}: has no {test.relative_to(root)}"
        elif (first := INCLUDE.search(test.read_text())) is None or first[2] != f"fanfare/{path}":
            yield f"{test.relative_to(root)}: the first include must be <fanfare/{path}>"


def check(root):
    headers = sorted((root / "include/fanfare").rglob("*.hpp"))
    return len(headers), [problem for header in headers for problem in check_header(root, header)]


# One header for each mistake, and for each thing that only looks like one.
MISTAKES = {
    "core/a.hpp": ("#include <fanfare/http/request.hpp>", "core must not include"),
    "pusher/b.hpp": ("#include <fanfare/http/parser.hpp>", "pusher uses"),
    "pusher/c.hpp": ("#include <fanfare/websocket/frame.hpp>", "pusher must not include"),
    "broker/d.hpp": ("#include <fanfare/ops/log.hpp>", "broker must not include"),
    "core/e.hpp": ("#include <sys/socket.h>", "standard library alone"),
    "detail/f.hpp": ("#include <asio.hpp>", "standard library alone"),
    "http/request.hpp": ("#include <boost/beast/http/message.hpp>", "standard library alone"),
    "core/g.hpp": ("namespace n { inline int count = 0; }", "mutable object"),
    "core/h.hpp": ("namespace n { inline std::atomic<int> count{0}; }", "mutable object"),
    "core/i.hpp": ("inline void f() { static int count = 0; }", "mutable static in"),
    "core/j.hpp": ("struct S { static inline int count = 0; };", "mutable static member"),
    "core/k.hpp": ("inline void f() { thread_local int x; }", "thread_local"),
    "core/l.hpp": ("static void f() {}", "static in a namespace"),
    "core/m.hpp": ("inline void f() { std::thread([] {}).detach(); }", "no threads"),
    "cellar/n.hpp": ("", "has no place"),
    "transport/q.hpp": ("#include <websocketpp/frame.hpp>", "belongs into websocket alone"),
    "websocket/r.hpp": ("#include <fanfare/http/request.hpp>", "websocket must not include"),
    "core/o.hpp": ("", "has no tests/core/o_test.cpp"),
    "core/p.hpp": ("#include <fanfare/fanfare.hpp>", "umbrella"),
}
CLEAN = """
#include <thread>
#include <fanfare/detail/config.hpp>
FANFARE_NAMESPACE_BEGIN
class Later;
enum class E { a, b };
template <class T> concept C = requires(T t) { t.f(); };
template <class T> requires C<T> struct S { static constexpr int n = 0; static int f() { return n; } int m_ = 0; };
inline constexpr const char* text = "static int x; { ' ";
template <class... P> inline constexpr int count = (0 + ... + P::n);
inline constexpr int table[] = {1, 2, 3};
[[nodiscard]] constexpr bool big(int n) noexcept { return n >= 1'000'000 && n != '{'; }
inline const S<int>& instance() noexcept { static const S<int> one; return one; }
inline auto id() { std::this_thread::yield(); return std::thread::id{}; }
static_assert(count<> == 0);
FANFARE_NAMESPACE_END
"""


def prove():
    """Fails unless each mistake is seen and nothing is seen in clean text."""
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        for path, (text, _) in {**MISTAKES, "detail/clean.hpp": (CLEAN, None)}.items():
            header = root / "include/fanfare" / path
            header.parent.mkdir(parents=True, exist_ok=True)
            header.write_text(f"#pragma once\n{text}\n")
        _, problems = check(root)
        for path, (_, expected) in MISTAKES.items():
            if not any(problem.startswith(path) and expected in problem for problem in problems):
                sys.exit(f"layers: blind to this mistake: {path}: {expected}; seen: {problems}")
        if wrong := [problem for problem in problems if problem.startswith("detail/clean.hpp")]:
            sys.exit(f"layers: false alarm: {wrong}")


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    prove()
    count, problems = check(root)
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"layers: {count} headers, {len(problems)} problems")
    sys.exit(len(problems) > 0 or count == 0)


main()
