"""The page in a browser: a picture is dropped, its class and the heat map appear, nothing else is asked for."""

from __future__ import annotations

import base64
import shutil
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

RUN = "resnet20-cifar10"
DROP = """([name, data]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name));
  dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
}"""
HEAT = "data:image/svg+xml;base64," + base64.b64encode(b'<svg xmlns="http://www.w3.org/2000/svg"/>').decode()


@pytest.fixture
def address(serve):
    """A server that a browser reaches, in a thread of this process."""
    uvicorn = pytest.importorskip("uvicorn")

    def explain(predictor, content):
        return {"explained": "frog", "heat": HEAT, "blocks": [{"block": "layer1.0", "ratio": 0.5, "change": None}]}

    app = serve(explain=explain).client.app
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, http="h11", lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1280, 360])
def test_a_dropped_picture_is_answered(browser, address, photograph, client, width):
    content = photograph("PNG")
    expected = client.post("/v1/predict", files={"a": content}).json()["predictions"][0]
    page = browser.new_page(viewport={"width": width, "height": 800})
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(urlsplit(request.url)))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#about:not(:empty)")
    page.evaluate(DROP, ["<b>odd</b>.png", base64.b64encode(content).decode()])
    page.wait_for_selector("#blocks li")
    assert page.locator("#first").inner_text().startswith(expected["classes"][0])
    bars = page.locator("#bars li span").all_inner_texts()
    assert bars == expected["classes"]
    assert page.locator("#name").inner_text() == "<b>odd</b>.png"
    page.locator("#opacity").focus()
    page.keyboard.press("Home")
    assert page.locator("#heat").evaluate("(heat) => heat.style.opacity") == "0"
    assert page.locator("#history li").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert {url.netloc for url in asked if url.scheme in ("http", "https")} == {urlsplit(address).netloc}
    assert wrong == []
