"""An HTML page as its tests see it: elements in order, ids, text; a page with wrong nesting cannot be parsed."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

INLINE = frozenset({"a", "abbr", "b", "code", "span"})
VOID = frozenset({"meta", "br", "input", "link", "img", "hr"})


@dataclass
class Element:
    """One element: its attributes, the elements inside it, and its own and their text in order."""

    tag: str
    attributes: dict[str, str]
    parent: Element | None = field(default=None, repr=False)
    children: list[Element] = field(default_factory=list, repr=False)
    parts: list[str | Element] = field(default_factory=list, repr=False)

    @property
    def text(self) -> str:
        """The text inside, white space folded."""
        return " ".join(self._raw().split())

    def _raw(self) -> str:
        inside = "".join(part if isinstance(part, str) else part._raw() for part in self.parts)
        return inside if self.tag in INLINE else f" {inside} "

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        """Return the elements inside with ``tag`` and these attributes (``class_`` stands for class), in order."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        found = []
        for child in self.children:
            if (not tag or child.tag == tag) and all(child.attributes.get(n) == v for n, v in wanted.items()):
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def one(self, tag: str = "", **attributes: str) -> Element:
        """Return the only such element inside."""
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} elements {tag} {attributes}"
        return found[0]


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.at = self.root

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        made = Element(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.children.append(made)
        self.at.parts.append(made)
        if tag not in VOID:
            self.at = made

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.at.tag == tag, f"</{tag}> closes <{self.at.tag}>, line {self.getpos()[0]}"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.parts.append(data)


def parse(html: str) -> Element:
    """Return the page's root; AssertionError where an element is not closed by its own end tag."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    assert parser.at is parser.root, f"<{parser.at.tag}> is never closed"
    return parser.root
