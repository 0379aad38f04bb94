from __future__ import annotations

import base64
import hashlib

import pytest
from markupsafe import Markup

from resnets.report.page import Number, Section, percent, thousands, write_page


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (0.5, 1, "50.0 %"),
        (0.92254, 2, "92.25 %"),
        (1.0, 1, "100.0 %"),
        (0.0, 1, "0.0 %"),
        (0.99999, 1, "> 99.9 %"),
        (0.00001, 2, "< 0.01 %"),
        (0.9994, 1, "99.9 %"),
    ],
)
def test_percent_never_rounds_to_certainty(share: float, digits: int, text: str):
    assert percent(share, digits) == text.replace(" ", "\u00a0")


def test_thousands():
    assert [thousands(count) for count in (0, 999, 1000, 1234567)] == [
        "0", "999", "1\u202f000", "1\u202f234\u202f567"
    ]  # fmt: skip


def test_a_page_is_made_of_its_parts(tmp_path, read):
    path = tmp_path / "page.html"
    write_page(
        path,
        title="A <title> & more",
        subtitle="below",
        numbers=[Number("Score", "0.7", "<of 1>")],
        facts={"Network": "resnet20", "Command": "resnets train a\\ b 'c'"},
        sections=[
            Section("first", "First", Markup("<p>one</p>")),
            Section("second", "Second", Markup("<p>2</p>")),
        ],
    )
    page = read(path.read_text(encoding="utf-8"))
    assert page.root.find("h1")[0].content() == page.root.find("title")[0].content() == "A <title> & more"
    assert page.root.find("dl", **{"class": "numbers"})[0].find("dd")[0].content() == "0.7<of 1>"
    facts = page.root.find("dl", **{"class": "facts"})[0]
    assert [fact.content() for fact in facts.find("dd")] == ["resnet20", "resnets train a\\ b 'c'"]
    assert [code.content() for code in facts.find("code")] == ["resnets train a\\ b 'c'"]
    assert page.section("second").find("p")[0].content() == "2"
    assert [link.attributes["href"] for link in page.root.find("nav")[0].find("a")] == ["#first", "#second"]


def test_only_the_pages_own_script_may_run_and_nothing_may_be_fetched(tmp_path, read):
    path = tmp_path / "page.html"
    write_page(path, title="t", subtitle="s", numbers=[], facts={}, sections=[])
    page = read(path.read_text(encoding="utf-8"))
    (script,) = page.root.find("script")
    (policy,) = page.root.find("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(rule.split(maxsplit=1) for rule in policy.attributes["content"].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    digest = base64.b64encode(hashlib.sha256(script.content().encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
