"""The Markdown of this repository: its pages, their headings and links, and their form for Doxygen."""
import collections
import html
import os
import pathlib
import re

FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(\s*([^()\s]+)\s*\)")
STRONG = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*")
HEADING = re.compile(r"^(#{1,6}) +(.*?) *#*$", re.MULTILINE)
MASK = "\0"


def slug(heading):
    """The anchor that the Git hosts give a heading."""
    text = LINK.sub(r"\2", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def masked(text, *patterns):
    """The text with what the patterns match blanked out; every position stays."""
    for pattern in patterns:
        text = pattern.sub(lambda m: re.sub(r"[^\n]", MASK, m[0]), text)
    return text


class Page:
    """One file. `name` is its path below the root."""

    def __init__(self, root, path):
        self.path = path
        self.name = path.relative_to(root).as_posix()
        self.text = path.read_text(encoding="utf-8")
        self.prose = masked(self.text, FENCE)  # with code spans, without blocks
        # (line, level, text, anchor) of each heading
        self.headings, seen = [], {}
        for match in HEADING.finditer(self.prose):
            anchor = slug(match[2])
            count = seen[anchor] = seen.get(anchor, -1) + 1
            line = self.text.count("\n", 0, match.start()) + 1
            self.headings.append((line, len(match[1]), match[2], f"{anchor}-{count}" if count else anchor))
        self.anchors = {anchor for _, _, _, anchor in self.headings}
        # (line, target) of each link and image
        plain = masked(self.prose, CODE)
        self.links = [(plain.count("\n", 0, m.start()) + 1, m[3]) for m in LINK.finditer(plain)]

    @property
    def id(self):
        """What the site calls it: docs/tutorial/core.md is docs-tutorial-core."""
        name = self.name.removesuffix(".md").removesuffix("README").rstrip("/")
        return name.replace("/", "-").lower() or "index"


def is_external(target):
    return re.match(r"[a-z][a-z0-9+.-]*:", target) is not None


def resolve(page, target):
    """The path below the root that a relative link names, and the anchor in it. A mere anchor is the page's own."""
    path, _, anchor = target.partition("#")
    if not path:
        return page.name, anchor
    return os.path.normpath((pathlib.PurePosixPath(page.name).parent / path).as_posix()), anchor


def problems(root, pages):
    """What is wrong with the links of the pages, each as one line of text."""
    by_name = {page.name: page for page in pages}
    for page in pages:
        for line, target in page.links:
            if is_external(target):
                continue
            path, anchor = resolve(page, target)
            if path.startswith("..") or not (root / path).exists():
                yield f"{page.name}:{line}: there is no {target}"
            elif path.endswith(".md") and path not in by_name:
                yield f"{page.name}:{line}: {target} is no page of the site"
            elif anchor and anchor not in (by_name[path].anchors if path in by_name else ()):
                yield f"{page.name}:{line}: {target}: no heading has that anchor"
        if [level for _, level, _, _ in page.headings].count(1) != 1:
            yield f"{page.name}: has not exactly one title"


def href(page, pages, target, extra):
    """Where a link of a page leads on the site. A file that is no page is added to `extra`, which is to be copied."""
    if is_external(target):
        return target
    path, anchor = resolve(page, target)
    to = next((other for other in pages if other.name == path), None)
    if to is not None:
        return f"{to.id}.html" + (f"#{to.id}--{anchor}" if anchor else "")
    if path == "examples":
        return "examples.html"
    if is_example(path):
        return f"examples.html#examples--{pathlib.PurePosixPath(path).stem}"
    extra.add(path)
    return f"files/{shown(path)}"


def is_example(path):
    """Whether the file stands on the site's page of examples."""
    return re.fullmatch(r"examples/(embed/)?\w+\.cpp", path) is not None


def shown(path):
    """What the site calls a file, or the files of a folder in one, so that a browser shows it."""
    return path if path.endswith((".svg", ".png", ".html")) else f"{path}.txt"


def parts(pages, root="docs"):
    """Where each page hangs in the navigation: below the first that links to it, seen from the index of docs.

    A map from the id of a page to those below it. Every page is below one; README and the index itself are not.
    """
    by_id = {page.id: page for page in pages}
    below, placed, todo = {page.id: [] for page in pages}, {root, "index"}, [root]
    for name in todo:  # grows while it is walked
        page = by_id.get(name)
        for _, target in page.links if page else ():
            to = href(page, pages, target, set()).partition("#")[0].removesuffix(".html")
            if to not in placed and (to in by_id or to == "examples"):
                placed.add(to)
                below[name].append(to)
                todo.append(to)
    return below


def for_doxygen(page, pages, extra, below):
    """The page as Doxygen 1.9 reads it rightly.

    Headings get the anchors that they have on the Git host, links and bold text become HTML. Code spans get a second
    pair of backticks: with one, an apostrophe would end them. The last link to a page of `below` makes it a part of
    this one.
    """
    headings = iter(page.headings)
    to_come = collections.Counter(href(page, pages, target, set()) for _, target in page.links)

    def heading(match):
        _, level, text, anchor = next(headings)
        name = page.id if level == 1 else f"{page.id}--{anchor}"
        suffix = "" if name == "index" else f" {{#{name}}}"
        return f"{match[1]} {text}{suffix}"

    def link(match):
        to = href(page, pages, match[3], extra)
        if match[1]:
            return f'<img src="{to}" alt="{html.escape(match[2])}">'
        to_come[to] -= 1
        if to_come[to] == 0 and (name := to.removesuffix(".html")) in below:
            title = " ".join(match[2].split())  # it must stand on one line
            return f'@subpage {name} "{title}"'
        return f'<a href="{to}">{match[2]}</a>'

    def outside_code(text):
        kept = []

        def keep(match):
            kept.append(match)
            return MASK + str(len(kept) - 1) + MASK

        text = LINK.sub(link, CODE.sub(keep, text)).replace("<!-- sketch -->", "")
        text = STRONG.sub(r"<b>\1</b>", text)
        return re.sub(f"{MASK}(\\d+){MASK}", lambda m: double(kept[int(m[1])]), text)

    def double(match):
        return match[0] if len(match[1]) > 1 or "`" in match[2] else f"``{match[2]}``"

    pieces, end = [], 0
    for match in FENCE.finditer(page.text):
        pieces += [page.text[end : match.start()], match[0]]
        end = match.end()
    pieces.append(page.text[end:])
    # Headings before code spans, as their text may hold some.
    return "".join(text if i % 2 else outside_code(HEADING.sub(heading, text)) for i, text in enumerate(pieces))
