"""The page as a visitor uses it: a real browser, headless, that reaches this machine alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dllm_audio import toy
from dllm_audio.serving.listening import url_of

selenium = pytest.importorskip("selenium")
from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PATIENCE = 600  # seconds; a busy machine is slow, and not wrong
SHOTS = os.environ.get("DEMO_SCREENSHOTS")  # a folder, to look at them
CLIP = toy.clips()[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in (
        *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"),
        *("--hide-scrollbars", "--use-fake-ui-for-media-stream"),
        "--use-fake-device-for-media-stream",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


class Visitor:
    """What somebody does on the page."""

    def __init__(self, browser: Any, url: str, width: int = 1280) -> None:
        self.browser = browser
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        browser.get(url)
        self.until(lambda: browser.find_elements(By.CSS_SELECTOR, "#clip input[type=file]"))

    def until(self, condition: Any) -> Any:
        return WebDriverWait(self.browser, PATIENCE, 0.1).until(lambda _: condition())

    def upload(self, path: Path) -> None:
        field = self.browser.find_element(By.CSS_SELECTOR, "#clip input[type=file]")
        field.send_keys(str(path))
        self.until(
            lambda: not self.browser.find_elements(By.CSS_SELECTOR, "#clip input[type=file]")
        )

    def ask(self, question: str) -> None:
        field = self.browser.find_element(By.CSS_SELECTOR, "#question textarea")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(question)
        self.browser.find_element(By.ID, "ask").click()

    def choose(self, field: str, name: str) -> None:
        css = f"#{field} input"
        self.browser.find_element(By.CSS_SELECTOR, css).click()
        chosen = f'//*[@role=\'option\'][normalize-space(.)="{name}" or @aria-label="{name}"]'
        self.until(lambda: self._clicked(chosen))
        value = "return document.querySelector(arguments[0]).value"
        self.until(lambda: self.browser.execute_script(value, css) == name)

    def _clicked(self, xpath: str) -> bool:
        try:  # what is drawn anew between finding and clicking is looked for again
            self.browser.find_element(By.XPATH, xpath).click()
        except WebDriverException:
            return False
        return True

    def texts(self, css: str) -> list[str]:
        return self.browser.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)", css
        )

    def answers(self, count: int) -> list[str]:
        self.until(lambda: len(self.texts("#answer .dd-final")) == count)
        return self.texts("#answer .dd-final .dd-answer")

    def keep(self, name: str) -> None:
        if SHOTS:
            height = self.browser.execute_script("return document.body.scrollHeight")
            shot = {"captureBeyondViewport": True, "clip": None}
            width = self.browser.execute_script("return window.innerWidth")
            shot["clip"] = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
            import base64

            found = self.browser.execute_cdp_cmd("Page.captureScreenshot", shot)
            Path(SHOTS, f"{name}.png").write_bytes(base64.b64decode(found["data"]))


@pytest.mark.parametrize("width", [1280, 390])
def test_a_clip_is_uploaded_asked_about_and_answered(browser, served, width: int) -> None:
    visitor = Visitor(browser, url_of(served.address), width)
    visitor.keep(f"empty-{width}")
    visitor.upload(CLIP.path)
    visitor.ask(CLIP.questions[0].prompt)
    (answer,) = visitor.answers(1)
    asked = {"audio": CLIP.path, "prompts": CLIP.questions[0].prompt}
    assert answer == toy.small_model().generate(**asked).texts[0]
    words = [text for text in visitor.texts("#answer .dd-cells li") if "unused" not in text]
    assert words == answer.split()
    figures = visitor.texts("#answer .dd-figures dt")
    assert figures == ["passes", "tokens", "tokens a pass", "time", "confidence"]
    colors = browser.execute_script(
        "return [...document.querySelectorAll('#answer .dd-cells li[style]')]"
        ".map(e => getComputedStyle(e).backgroundColor)"
    )
    assert len(colors) == len(words)
    visitor.keep(f"answer-{width}")
    visitor.choose("left", "one token a step")
    visitor.choose("right", "WINO")
    visitor.ask(CLIP.questions[0].prompt)
    visitor.until(lambda: visitor.texts("#answer .dd-name") == ["one token a step", "WINO"])
    visitor.answers(2)
    visitor.keep(f"two-{width}")
    passes = [int(n) for n in visitor.texts("#answer .dd-figures div:first-child dd")]
    assert passes[0] > passes[1]
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width  # nothing to be scrolled to the side


def test_a_shipped_clip_is_one_click(browser, served) -> None:
    visitor = Visitor(browser, url_of(served.address))
    name = CLIP.name.replace("_", " ")
    button = f"//button[normalize-space(.)='{name}']"
    visitor.until(lambda: browser.find_elements(By.XPATH, button))[0].click()
    question = browser.find_element(By.CSS_SELECTOR, "#question textarea")
    visitor.until(lambda: question.get_attribute("value") == CLIP.questions[0].prompt)
    browser.find_element(By.ID, "ask").click()
    assert visitor.answers(1) != [""]


def test_what_is_wrong_is_told_and_no_name_is_markup(browser, served, tmp_path: Path) -> None:
    visitor = Visitor(browser, url_of(served.address))
    visitor.ask("What is said?")
    visitor.until(lambda: visitor.texts("#answer [role=alert]"))
    assert "clip: expected a recording" in visitor.texts("#answer [role=alert]")[0]
    bad = tmp_path / "a &lt;img src=x onerror=document.title=1&gt; ${document.title=2}.wav"
    bad.write_text("this is no sound")
    visitor.upload(bad)
    visitor.ask("What is said?")
    visitor.until(lambda: "expected audio such as WAV" in "".join(visitor.texts("#answer")))
    visitor.keep("bad")
    assert "Traceback" not in browser.page_source
    assert browser.find_elements(By.CSS_SELECTOR, "#answer img") == []
    assert browser.title not in ("1", "2")


def test_the_browser_asked_nobody_else(browser, served) -> None:
    visitor = Visitor(browser, url_of(served.address))
    visitor.until(lambda: browser.find_elements(By.ID, "ask"))
    names = browser.execute_script("return performance.getEntries().map(e => e.name)")
    outside = [n for n in names if "://" in n and not n.startswith(url_of(served.address))]
    assert outside == []
    refused = [
        e["message"] for e in browser.get_log("browser") if "Security Policy" in e["message"]
    ]
    assert refused == []
