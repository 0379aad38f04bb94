"""A real classifier's evaluation, and a reader of pages that is strict about HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from resnets.tasks.classification import Classification, Evaluation

_VOID = {"meta", "link", "img", "br", "hr", "input"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, tag: str, **attributes: str) -> list[Element]:
        """Every element below with this tag and these attributes, in the page's order."""
        found = []
        for child in self.children:
            if child.tag == tag and all(child.attributes.get(key) == value for key, value in attributes.items()):
                found.append(child)
            found += child.find(tag, **attributes)
        return found

    def content(self) -> str:
        return self.text + "".join(child.content() for child in self.children)


class Page(HTMLParser):
    """Reads a page into elements; an unclosed or crossed tag or a repeated attribute is an error."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(source)
        self.close()
        assert self._open == [self.root], f"unclosed: {[element.tag for element in self._open[1:]]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> repeats an attribute: {attrs}"
        element = Element(tag, {key: value or "" for key, value in attrs})
        self._open[-1].children.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(Element("#text", {}, data))

    def elements(self) -> list[Element]:
        def below(element: Element) -> list[Element]:
            return [element] + [item for child in element.children for item in below(child)]

        return [element for element in below(self.root) if element.tag not in ("", "#text")]

    def section(self, key: str) -> Element:
        (section,) = self.root.find("section", id=key)
        return section


@pytest.fixture(scope="session")
def read() -> Callable[[str], Page]:
    """The source of a page -> its elements."""
    return Page


@pytest.fixture(scope="session")
def evaluate() -> Callable[..., Evaluation]:
    """Logits (N, K) and targets (N,) -> their evaluation."""

    def evaluation(logits: Tensor, targets: Tensor, classes: Sequence[str] | None = None) -> Evaluation:
        names = [f"test/{number:05}.png" for number in range(len(targets))]
        classes = classes or [f"class {number}" for number in range(logits.shape[1])]
        return Classification(classes).evaluation("test", logits, targets, names)

    return evaluation


@pytest.fixture(scope="session")
def digits(evaluate: Callable[..., Evaluation]) -> tuple[Evaluation, Tensor]:
    """A linear classifier's answers to 797 handwritten digits, and their pictures, (797, 1, 8, 8) uint8."""
    data = load_digits()
    model = LogisticRegression(C=0.01, max_iter=500).fit(data.data[:1000] / 16, data.target[:1000])
    logits = torch.from_numpy(model.decision_function(data.data[1000:] / 16)).float() * 3
    pictures = torch.from_numpy(data.images[1000:] * 255 / 16).to(torch.uint8)[:, None]
    return evaluate(logits, torch.from_numpy(data.target[1000:])), pictures
