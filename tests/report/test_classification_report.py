from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import classification_report, confusion_matrix
from torchmetrics.functional.classification import multiclass_calibration_error
from torchvision.transforms.functional import pil_to_tensor

from resnets.report import write_report

HISTORY = [
    {
        "epoch": 1,
        "lr": 0.1,
        "train_loss": 0.9,
        "train_accuracy": 0.7,
        "images_per_second": 1500.0,
        "seconds": 3.0,
    },
    {
        "epoch": 2,
        "lr": 0.01,
        "train_loss": 0.4,
        "train_accuracy": 0.9,
        "test_loss": 0.5,
        "test_accuracy": 0.88,
    },
]


@pytest.fixture
def report(tmp_path, read):
    """Write a report, hold it against what every page must keep, and return it read."""

    def write(evaluation, picture=lambda _: torch.zeros(1, 8, 8, dtype=torch.uint8), history=(), **changes):
        path = tmp_path / "report.html"
        options = {"title": "A report", "facts": {"Network": "resnet20"}} | changes
        write_report(path, history=history, evaluation=evaluation, picture=picture, **options)
        page = read(path.read_text(encoding="utf-8"))
        assert_self_contained(page)
        assert_sound(page)
        return page

    return write


def assert_self_contained(page):
    for element in page.elements():
        for name, value in element.attributes.items():
            assert not name.startswith("on"), f"<{element.tag} {name}> runs a script"
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                assert value.startswith(("#", "data:")), f"<{element.tag} {name}={value[:60]}>"
        if element.tag == "style":
            assert "@import" not in element.content()
            assert "url(" not in element.content()
        for address in re.findall(r"url\((.*?)\)", element.attributes.get("style", "")):
            assert address.startswith("#")
    assert len(page.root.find("script")) == 1
    assert "xmlns" not in page.source


def assert_sound(page):
    """Identifiers are distinct, references lead somewhere, pictures have words, headings go down by one."""
    assert page.source.startswith("<!DOCTYPE html>")
    elements = page.elements()
    identifiers = [element.attributes["id"] for element in elements if "id" in element.attributes]
    assert len(identifiers) == len(set(identifiers))
    for element in elements:
        reference = element.attributes.get("href", "")
        assert not reference.startswith("#") or reference[1:] in identifiers
        clip = re.fullmatch(r"url\(#(.*)\)", element.attributes.get("clip-path", ""))
        assert clip is None or clip[1] in identifiers
    assert all(image.attributes["alt"] for image in page.root.find("img"))
    assert all(figure.attributes["aria-label"] for figure in page.root.find("svg", role="img"))
    levels = [int(element.tag[1]) for element in elements if re.fullmatch("h[1-6]", element.tag)]
    assert levels.count(1) == 1
    assert all(lower - upper <= 1 for upper, lower in pairwise([0, *levels]))


def number(page, label):
    """The value and the remark of a headline number."""
    for item in page.root.find("dl", **{"class": "numbers"})[0].find("div"):
        if item.find("dt")[0].content() == label:
            value, remark = item.find("strong")[0], item.find("span")[0]
            return tuple(part.content().replace("\u00a0", " ").replace("\u202f", " ") for part in (value, remark))
    raise AssertionError(f"no headline {label!r}")


def table(element, index=0):
    """The rows of a table's body, as texts."""
    rows = element.find("tbody")[index].find("tr")
    return [[cell.content() for cell in row.children if cell.tag in ("th", "td")] for row in rows]


def share(text):
    return float(text.replace("\u00a0%", "")) / 100


def test_headline_numbers(digits, report):
    evaluation, pictures = digits
    page = report(evaluation, pictures.__getitem__, HISTORY)
    right = int((evaluation.probabilities.argmax(1) == evaluation.targets).sum())
    interval = binomtest(right, 797).proportion_ci(method="wilson")
    assert number(page, "Accuracy") == (
        f"{100 * right / 797:.1f} %",
        f"{right} of 797 right; 95 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f} %",
    )
    error = multiclass_calibration_error(evaluation.probabilities, evaluation.targets, num_classes=10, n_bins=15)
    assert number(page, "Calibration error")[0] == f"{100 * error:.1f} %"
    assert number(page, "Majority baseline")[0] == f"{100 * evaluation.targets.bincount().max() / 797:.1f} %"
    assert number(page, "Top-5 accuracy")[0] == f"{100 * evaluation.metrics['top5']:.1f} %"
    assert page.root.find("p", **{"class": "subtitle"})[0].content() == "On 797 samples of the test split, 10 classes"


def test_confusion_matrix_is_sklearns(digits, report):
    evaluation, pictures = digits
    section = report(evaluation, pictures.__getitem__).section("confusion")
    cells = [[int(cell) for cell in row[1:]] for row in table(section)]
    predictions = evaluation.probabilities.argmax(1)
    matrix = confusion_matrix(evaluation.targets, predictions)
    assert cells == matrix.tolist()
    truth, answer, count, of_class = table(section, 1)[0]
    matrix[range(10), range(10)] = 0
    assert int(count) == matrix.max()
    row, column = evaluation.classes.index(truth), evaluation.classes.index(answer)
    assert matrix[row, column] == matrix.max()
    assert share(of_class) == pytest.approx(matrix.max() / int((evaluation.targets == row).sum()), abs=6e-4)


def test_class_table_is_sklearns_weakest_first(digits, report):
    evaluation, pictures = digits
    section = report(evaluation, pictures.__getitem__).section("classes")
    expected = classification_report(
        evaluation.targets,
        evaluation.probabilities.argmax(1),
        target_names=evaluation.classes,
        output_dict=True,
    )
    rows = table(section)
    assert sorted(row[0] for row in rows) == sorted(evaluation.classes)
    for name, precision, recall, f1, support in rows:
        assert share(precision) == pytest.approx(expected[name]["precision"], abs=6e-4)
        assert share(recall) == pytest.approx(expected[name]["recall"], abs=6e-4)
        assert share(f1) == pytest.approx(expected[name]["f1-score"], abs=6e-4)
        assert int(support) == expected[name]["support"]
    weakness = [expected[row[0]]["f1-score"] for row in rows]
    assert weakness == sorted(weakness)
    means = [cell.content() for cell in section.find("tfoot")[0].find("td")]
    for mean, quantity in zip(means, ("precision", "recall", "f1-score"), strict=False):
        assert share(mean) == pytest.approx(expected["macro avg"][quantity], abs=6e-4)


def test_calibration_bins_count_every_sample(digits, report):
    evaluation, pictures = digits
    rows = table(report(evaluation, pictures.__getitem__).section("calibration"))
    assert sum(int(row[3]) for row in rows) == 797
    error = sum(int(count) * abs(share(mean) - share(accuracy)) for _, mean, accuracy, count in rows) / 797
    assert error == pytest.approx(evaluation.metrics["ece"], abs=2e-3)  # of figures rounded to 0.1 %


def test_gallery_shows_the_surest_mistakes(digits, report):
    evaluation, pictures = digits
    page = report(evaluation, pictures.__getitem__)
    confidence, predictions = evaluation.probabilities.max(1)
    wrong = [i for i in range(797) if predictions[i] != evaluation.targets[i]]
    surest = sorted(wrong, key=lambda i: -confidence[i].item())[:24]
    assert len(wrong) > 24  # or the test shows nothing
    tiles = page.section("mistakes").find("li")
    assert len(tiles) == 24
    for index, tile in zip(surest, tiles, strict=True):
        image = tile.find("img")[0].attributes
        truth, answer = (evaluation.classes[int(row[index])] for row in (evaluation.targets, predictions))
        assert image["alt"] == f"{truth} taken for {answer}"
        shown = Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))
        assert torch.equal(pil_to_tensor(shown), pictures[index])
        assert tile.find("span", **{"class": "name"})[0].content() == evaluation.names[index]


@pytest.mark.parametrize("count", [2, 3, 20, 21, 100, 101, 1000])
def test_any_number_of_classes(count, evaluate, report):
    generator = torch.Generator().manual_seed(count)
    targets = torch.randint(0, count, (600,), generator=generator)
    logits = torch.randn(600, count, generator=generator)
    logits[torch.arange(600), targets] += 2
    page = report(evaluate(logits, targets), history=HISTORY)
    section = page.section("confusion")
    assert len(section.find("table", **{"class": "confusion"})) == (count <= 20)
    assert len(section.find("image")) == (20 < count <= 100)
    assert len(table(page.section("classes"))) == count
    assert page.source.count("Top-5") == (count > 5)
    assert len(page.source) < 1_000_000


def test_heat_map_shades_every_cell(evaluate, report):
    targets = torch.arange(30).repeat_interleave(4)
    answers = targets.clone()
    answers[0] = 7  # a quarter of class 0
    page = report(evaluate(10 * torch.nn.functional.one_hot(answers, 30).float(), targets))
    address = page.section("confusion").find("image")[0].attributes["href"]
    pixels = pil_to_tensor(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))  # (4, 30, 30)
    opacity = 255 * torch.eye(30)
    opacity[0, 0], opacity[0, 7] = 221, 128  # the roots of 3/4 and 1/4
    assert torch.equal(pixels[3].float(), opacity)
    assert not torch.equal(pixels[:3, 0, 0], pixels[:3, 0, 7])


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src="https://example.org/x.png" onerror="alert(1)">',
    "</style></svg></table><b>",
    "{{ 7 * 7 }} $x^2$ &amp; 日本語 \u202egnp.\u202c",
)


@pytest.mark.parametrize("count", [4, 25])
def test_names_are_text_whatever_they_hold(count, evaluate, report):
    classes = (*HOSTILE, *(f"class {number}" for number in range(4, count)))
    targets = torch.arange(len(classes)).repeat(2)
    logits = 4 * torch.nn.functional.one_hot(targets.roll(1), len(classes)).float()  # all wrong
    evaluation = replace(evaluate(logits, targets, classes), names=tuple(HOSTILE[i % 4] for i in range(len(targets))))
    page = report(evaluation, history=HISTORY, title=HOSTILE[0], facts={HOSTILE[1]: HOSTILE[2], "Command": HOSTILE[1]})
    assert page.root.find("h1")[0].content() == HOSTILE[0]
    assert {row[0] for row in table(page.section("classes"))} == set(classes)
    assert len(page.root.find("b")) == 0
    shown = {name.content() for name in page.section("mistakes").find("span", **{"class": "name"})}
    assert shown == set(HOSTILE)


def test_a_file_name_that_is_no_text(evaluate, report):
    evaluation = evaluate(torch.tensor([[0.0, 3.0]]), torch.tensor([0]))
    page = report(replace(evaluation, names=("caf\udce9.png",)))
    assert page.section("mistakes").find("span", **{"class": "name"})[0].content() == "caf\\udce9.png"


def test_no_mistake(evaluate, report):
    targets = torch.tensor([0, 1, 2, 2])
    page = report(evaluate(9 * torch.nn.functional.one_hot(targets, 3).float(), targets))
    assert page.section("mistakes").find("img") == []
    assert "every sample was answered right" in page.section("mistakes").content()
    assert "No sample was taken for another class." in page.section("confusion").content()
    assert number(page, "Accuracy")[0] == "100.0 %"


@pytest.mark.parametrize("truth", [0, 1])
def test_one_sample_of_one_epoch(truth, evaluate, report):
    page = report(evaluate(torch.tensor([[1.0, 0.0]]), torch.tensor([truth])), history=HISTORY[:1])
    assert number(page, "Accuracy")[0] == ("0.0 %" if truth else "100.0 %")
    assert len(page.section("curves").find("figure")) == 3
    assert "1 sample of" in page.root.find("p", **{"class": "subtitle"})[0].content()


def test_a_class_without_samples_has_a_dash_and_comes_last(evaluate, report):
    page = report(evaluate(torch.tensor([[2.0, 1.0, 0.0], [0.0, 2.0, 1.0]]), torch.tensor([0, 1])))
    assert table(page.section("classes"))[-1] == ["class 2", *3 * ["\N{EN DASH}"], "0"]


def test_without_history_there_are_no_curves(evaluate, report):
    page = report(evaluate(torch.tensor([[1.0, 0.0]]), torch.tensor([0])))
    assert [section.attributes["id"] for section in page.root.find("section")] == [
        "confusion", "classes", "calibration", "mistakes"
    ]  # fmt: skip


def test_the_same_report_is_the_same_file(digits, report):
    evaluation, pictures = digits
    first, second = (report(evaluation, pictures.__getitem__, HISTORY).source for _ in range(2))
    assert first == second


def test_photographs(shared_data, evaluate, report):
    files = sorted((shared_data / "ants_bees" / "val").glob("*/*.jpg"))[::6]
    targets = torch.tensor([int(file.parent.name == "bees") for file in files])
    logits = torch.nn.functional.one_hot(1 - targets, 2).float() * torch.linspace(3, 1, len(files))[:, None]

    def picture(index):
        with Image.open(files[index]) as image:
            return pil_to_tensor(image.convert("RGB"))

    page = report(evaluate(logits, targets, ("ants", "bees")), picture)
    images = page.section("mistakes").find("img")
    assert len(images) == 24
    assert all(image.attributes["src"].startswith("data:image/jpeg;base64,") for image in images)
    assert len(page.source) < 1_000_000


def test_an_empty_evaluation_is_refused(evaluate, tmp_path):
    evaluation = evaluate(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    empty = replace(evaluation, probabilities=torch.zeros(0, 2), targets=torch.zeros(0, dtype=torch.int64), names=())
    with pytest.raises(ValueError, match="at least one evaluated sample; the split 'test' has none"):
        write_report(tmp_path / "r.html", title="t", facts={}, history=[], evaluation=empty, picture=lambda _: _)
