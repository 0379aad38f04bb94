"""The page in a browser: a picture is dropped, its class and the heat map appear, nothing else is asked for."""

from __future__ import annotations

import base64
import shutil
import socket
import tarfile
import threading
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from resnets.inference.predictor import load

sync_api = pytest.importorskip("playwright.sync_api")
sync_api.expect.set_options(timeout=30_000)

DROP = """([name, data]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name));
  dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
}"""


@pytest.fixture
def listen(serve):
    """Starts servers that a browser reaches, in threads of this process, and gives their addresses."""
    uvicorn = pytest.importorskip("uvicorn")
    with ExitStack() as stack:

        def start(*runs: str, **options: object) -> str:
            app = serve(*runs, **options).client.app
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            server = uvicorn.Server(uvicorn.Config(app, http="h11", lifespan="off", log_config=None))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            while not server.started:
                time.sleep(0.01)
            stack.callback(thread.join)
            stack.callback(setattr, server, "should_exit", True)
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield start


@pytest.fixture
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs chromium")
    with sync_api.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens a page that may ask its own server alone and must have no errors."""
    asked, wrong = [], []

    def open_page(address: str, width: int = 1280, path: str = "/", scheme: str = "light"):
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.on("request", lambda request: asked.append((urlsplit(request.url), urlsplit(address).netloc)))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address + path)
        return page

    yield open_page
    assert wrong == []
    assert asked
    assert all(url.netloc == own for url, own in asked if url.scheme in ("http", "https"))


def drop(page, name: str, content: bytes) -> None:
    page.wait_for_selector("#about:not(:empty)")
    page.evaluate(DROP, [name, base64.b64encode(content).decode()])


def shows(page, width: int) -> None:
    """Wait for the layer over the picture, which has so many pixels in a row."""
    sync_api.expect(page.locator("#heat")).to_have_js_property("naturalWidth", width)


def fits(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_dropped_picture_is_answered_and_explained(opened, listen, photograph, client, width, scheme):
    content = photograph("PNG")
    expected = client.post("/v1/predict", files={"a": content}).json()["predictions"][0]
    page = opened(listen(explains=True), width, scheme=scheme)
    drop(page, "<b>odd</b>.png", content)
    page.wait_for_selector("#blocks li")
    assert page.locator("#first").inner_text().startswith(expected["classes"][0])
    assert page.locator("#bars li span").all_inner_texts() == expected["classes"]
    assert page.locator("#name").inner_text() == "<b>odd</b>.png"
    blocks = page.locator("#blocks li span").all_inner_texts()
    assert blocks == [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)]
    shows(page, 32)
    heat, image = page.locator("#heat").bounding_box(), page.locator("#image").bounding_box()
    assert heat["height"] == pytest.approx(image["height"], abs=1)  # of a wide picture the network sees the middle
    assert heat["width"] == pytest.approx(image["width"] * 64 / 96, abs=1)
    page.locator("#opacity").focus()
    page.keyboard.press("Home")
    assert page.locator("#heat").evaluate("(heat) => heat.style.opacity") == "0"
    before = page.locator("#heat").get_attribute("src")
    page.locator("#target").select_option(expected["classes"][1])
    sync_api.expect(page.locator("#heat")).not_to_have_attribute("src", before)
    assert page.locator("#history li").count() == 1
    assert fits(page)


def test_a_photograph_has_its_class(opened, listen, shared_data):
    """The first test picture of two classes of CIFAR-10."""
    page = opened(listen(explains=True))
    first = {}
    with tarfile.open(shared_data / "cifar10.tar") as archive:
        for member in archive:
            _, split, label, *_ = [*member.name.split("/"), "", "", ""]
            if member.isfile() and split == "test":
                first.setdefault(label, member)
            if len(first) == 3:
                break
        for count, label in enumerate(("airplane", "automobile"), 1):
            drop(page, f"{label}.webp", archive.extractfile(first[label]).read())
            sync_api.expect(page.locator("#history li")).to_have_count(count)
            sync_api.expect(page.locator("#first")).to_contain_text(label)
            sync_api.expect(page.locator("#target")).to_have_value(label)
            shows(page, 32)
    page.locator("#history button").last.press("Enter")
    sync_api.expect(page.locator("#first")).to_contain_text("airplane")
    assert page.locator("#image").bounding_box()["width"] >= 256  # its 32 pixels are enlarged


def test_objects_are_framed_and_what_is_not_explained_is_hidden(opened, listen, untrained, photograph):
    run = untrained("maskrcnn_resnet18_fpn", "detection", ("cat", "dog"), threshold=1e-6)
    content = photograph("PNG", (80, 60))
    expected = load(run.folder)(content)
    page = opened(listen(str(run.folder), explains=True), 390)
    drop(page, "a.png", content)
    page.wait_for_selector("#boxes div", state="attached")
    assert page.locator("#why").is_hidden()
    assert page.locator("#strength").is_hidden()
    assert page.locator("#boxes div").count() == page.locator("#bars li").count() == len(expected.boxes)
    image = page.locator("#image").bounding_box()
    left, top, right, _ = expected.boxes[0]
    frame = page.locator("#boxes div").first.bounding_box()
    assert frame["x"] - image["x"] == pytest.approx(left / 80 * image["width"], abs=1)
    assert frame["y"] - image["y"] == pytest.approx(top / 60 * image["height"], abs=1)
    assert frame["width"] == pytest.approx((right - left) / 80 * image["width"], abs=1)
    assert "data:image/png" in page.locator("#boxes i").first.evaluate("(tint) => getComputedStyle(tint).maskImage")
    page.locator("#bars li").first.focus()
    assert page.locator("#boxes .marked").count() == 1
    assert fits(page)


def test_a_mask_lies_over_the_picture(opened, listen, untrained, photograph):
    run = untrained("fcn_resnet18", "segmentation", ("road", "sky", "tree"))
    page = opened(listen(str(run.folder), explains=True))
    drop(page, "a.png", photograph("PNG", (80, 60)))
    shows(page, 80)
    assert page.locator("#layer").inner_text() == "Mask"
    assert page.locator("#why").is_hidden()
    mask, image = page.locator("#heat").bounding_box(), page.locator("#image").bounding_box()
    assert mask == pytest.approx(image, abs=1)
    assert set(page.locator("#bars li span").all_inner_texts()) <= {"road", "sky", "tree"}


def test_what_goes_wrong_with_a_picture_is_said_and_the_next_is_answered(opened, listen, photograph):
    page = opened(listen())
    page.wait_for_selector("#about:not(:empty)")
    page.evaluate("""() => {
      window.kept = URL.createObjectURL;
      URL.createObjectURL = () => { throw new Error("no room"); };
    }""")
    drop(page, "a.png", photograph("PNG"))
    sync_api.expect(page.locator("#problem")).to_have_text("no room")
    page.evaluate("() => { URL.createObjectURL = window.kept; }")
    drop(page, "b.png", photograph("PNG"))
    page.wait_for_selector("#bars li")
    sync_api.expect(page.locator("#problem")).to_be_hidden()
    assert page.locator("#history li").count() == 1


def test_a_server_that_was_away_is_asked_again(browser, listen, photograph):
    page = browser.new_page()
    page.route("**/v1/models", lambda route: route.abort())
    page.goto(listen())
    sync_api.expect(page.locator("#problem")).to_have_text("The server cannot be reached.")
    data = base64.b64encode(photograph("PNG")).decode()
    page.evaluate(DROP, ["a.png", data])
    page.unroute("**/v1/models")
    page.evaluate(DROP, ["b.png", data])
    page.wait_for_selector("#bars li")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_documentation_asks_no_other_host_for_anything(opened, listen, width):
    page = opened(listen(), width, "/docs")
    headings = page.locator("h2").all_inner_texts()
    assert "POST /v1/predict" in headings
    assert "POST /v1/explain" in headings
    assert fits(page)
