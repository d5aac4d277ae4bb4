"""Drives the page of a running server in headless Chromium, and checks what a person would see.

    maskfit serve BUNDLE --listen 127.0.0.1:8080                                      (in another terminal)
    python3 serve_page.py http://127.0.0.1:8080 IMAGE [IMAGE...] [--token-file FILE] [--screenshots DIR]
        [--chromium PATH]

The images are some that the model can predict. Checked are: no request to another host and no violation of the
policy; the token (a wrong one is refused); choosing, dropping, pasting and photographing an image, by mouse and by
keyboard alone; bars that equal the probabilities of `POST /predict`; the choice of the model, sets and the Grad-CAM
where the server has them; errors in words (not an image, too large, queue full, server away); no horizontal
scrolling from 320 to 1280 pixels; names of all controls; reduced motion. With --screenshots it writes images of each
state, light and dark, to be looked at. Needs playwright, and Debian's chromium or `playwright install chromium`; with
axe-playwright-python it also runs axe's rules for accessibility.
"""

import argparse
import base64
import json
import mimetypes
import tempfile
import urllib.parse
import urllib.request
from functools import partial
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("images", nargs="+", type=Path)
parser.add_argument("--token-file", type=Path)
parser.add_argument("--screenshots", type=Path)
parser.add_argument("--chromium")
args = parser.parse_args()
URL = args.url.rstrip("/")
TOKEN = args.token_file.read_text().strip() if args.token_file else None
TIMEOUT = 20_000
expect.set_options(timeout=TIMEOUT)


def ask(path, body=None, kind=None):
    request = urllib.request.Request(URL + path, body)
    if kind:
        request.add_header("Content-Type", kind)
    if TOKEN:
        request.add_header("Authorization", f"Bearer {TOKEN}")
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def predicted(path, model, sets=None):
    query = {"model": model} | ({"sets": sets} if sets else {})
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return ask(f"/predict?{urllib.parse.urlencode(query)}", path.read_bytes(), kind)["images"][0]


def percent(p):
    """As the page writes it; JavaScript and Python both round the exact binary number."""
    if 0 < p < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= p < 1:
        return "> 99.9 %"
    return f"{100 * p:.1f} %"


class Driver:
    def __init__(self, browser, **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.problems, self.hosts = [], set()
        self.page.on("pageerror", lambda it: self.problems.append(f"error: {it}"))
        self.page.on("console", self.logged)
        self.page.on("request", self.requested)

    def logged(self, message):
        # Chromium logs every response of 4xx and 5xx, which are expected here.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.problems.append(message.text)

    def requested(self, request):
        if not request.url.startswith(("blob:", "data:")):
            self.hosts.add(urllib.parse.urlsplit(request.url).netloc)

    def open(self):
        self.page.goto(URL + "/")
        if TOKEN:
            self.page.get_by_label("Token", exact=True).fill(TOKEN)
            self.page.get_by_role("button", name="Continue").click()
        expect(self.page.get_by_role("heading", name="Images")).to_be_visible()
        return self.page

    def close(self):
        self.context.close()
        assert not self.problems, self.problems
        assert self.hosts == {urllib.parse.urlsplit(URL).netloc}, self.hosts


def shot(page, name):
    if args.screenshots:
        args.screenshots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=args.screenshots / f"{name}.png", full_page=True)


def choose(page, *paths):
    page.locator("#files").set_input_files([str(it) for it in paths])


def check_bars(page, expected):
    """The bars of every factor, and the first of the joint classes, are those that the server responds to others."""
    expect(page.locator("#headline")).to_contain_text(expected["predicted"])
    expect(page.locator("#announce")).to_contain_text(expected["predicted"])
    lists = page.locator("#factors section")
    assert lists.count() == len(expected["factors"])
    for at, factor in enumerate(expected["factors"]):
        section = lists.nth(at)
        expect(section.get_by_role("heading")).to_have_text(factor["factor"])
        of_class = {it["class"]: percent(it["probability"]) for it in factor["probabilities"]}
        rows = section.get_by_role("listitem")
        assert rows.count() >= min(len(of_class), 6)
        for row in rows.all():
            name = row.locator(".name").evaluate("it => it.firstChild.textContent")
            assert row.locator(".share").inner_text() == of_class[name], (name, of_class[name])
        assert factor["predicted"] in section.locator(".predicted .name").inner_text()
    if len(expected["factors"]) > 1:
        best = max(expected["probabilities"], key=lambda it: it["probability"])
        first = page.locator("#joint-bars li").first
        assert first.locator(".share").inner_text() == percent(best["probability"])


def check_layout(page, name):
    for width in [320, 390, 768, 1280]:
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(50)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{name}: {wide} pixels wide on a screen of {width}"
        small = page.evaluate(
            """[...document.querySelectorAll("button, .button, select")]
                .filter((it) => it.checkVisibility() && it.getBoundingClientRect().height < 40).map((it) => it.id)"""
        )
        assert not small, f"{name}: too small to tap: {small}"
        n_wide = page.evaluate(
            """[...document.querySelectorAll(".share")].filter((it) => {
                const text = it.textContent;
                it.textContent = "> 99.9 %";
                const isWide = it.scrollWidth > it.clientWidth;
                it.textContent = text;
                return isWide;
            }).length"""
        )
        assert n_wide == 0, f"{name}: the longest percentage sticks out of {n_wide} bars"
        shot(page, f"{name}-{width}")


def check_names(page):
    """Every control has a name, for screen readers."""
    nameless = page.evaluate(
        """[...document.querySelectorAll("button, input, select, img")].filter((it) => it.checkVisibility())
            .filter((it) => !(it.labels?.[0]?.textContent || it.textContent || it.getAttribute("aria-label")
                || it.alt !== undefined && it.hasAttribute("alt")).trim?.() && !it.hasAttribute("alt"))
            .map((it) => it.outerHTML)"""
    )
    assert not nameless, nameless
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        return
    # By the driver's own evaluation, which the page's policy does not concern.
    found = Axe().run(page).response["violations"]
    assert not found, [(it["id"], it["nodes"][0]["html"], it["nodes"][0]["failureSummary"]) for it in found]


def check_token(browser):
    driver = Driver(browser)
    page = driver.page
    page.goto(URL + "/")
    field = page.get_by_label("Token", exact=True)
    expect(field).to_be_focused()
    shot(page, "token")
    page.keyboard.type("not the token")
    page.keyboard.press("Enter")
    expect(page.locator("#token-error")).to_contain_text("without spaces")
    field.fill("0123456789abcdef-wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#token-error")).to_contain_text("does not accept")
    shot(page, "token-wrong")
    check_names(page)
    field.fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Images")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Images")).to_be_visible()
    assert page.evaluate("localStorage.length") == 0 and not page.context.cookies()
    page.get_by_role("button", name="Forget the token").click()
    expect(field).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    driver.close()


def check_prediction(browser, models):
    driver = Driver(browser, viewport={"width": 1280, "height": 844})
    page = driver.open()
    shot(page, "empty")
    check_layout(page, "empty")
    check_names(page)
    image, model = args.images[0], models[0]
    sets = "0.9" if model["has_sets"] else None
    choose(page, image)
    check_bars(page, predicted(image, model["name"], sets))
    check_names(page)
    if sets:
        for level in ["0.8", "0.99"]:
            page.get_by_label("Level").select_option(level)
            expect(page.locator("#set li:not(.rest)")).to_have_text(predicted(image, model["name"], level)["set"][:30])
    else:
        expect(page.locator("#sets")).to_be_hidden()
    check_layout(page, "result")
    if page.locator("#explain").is_visible():
        with page.expect_response(lambda it: "/explain?" in it.url) as got:
            page.get_by_label("Show what the prediction depends on").check()
        if got.value.status == 200:
            expect(page.locator("#map")).to_be_visible()
            page.wait_for_timeout(200)
            boxes = [page.locator(it).bounding_box() for it in ["#image", "#map"]]
            assert boxes[0] == boxes[1], boxes
            slider = page.get_by_label("Opacity")
            slider.focus()
            page.keyboard.press("End")
            assert page.locator("#map").evaluate("it => it.style.opacity") == "1"
            page.keyboard.press("Home")
            assert page.locator("#map").evaluate("it => it.style.opacity") == "0"
            slider.fill("55")
            check_names(page)
            check_layout(page, "explain")
        else:
            expect(page.locator("#explain")).to_be_hidden()
    page.emulate_media(color_scheme="dark")
    check_names(page)
    check_layout(page, "dark")
    page.emulate_media(color_scheme="light")
    for model in models[1:]:
        page.get_by_label("Model").select_option(model["name"])
        check_bars(page, predicted(image, model["name"]))
    # Many at once, and back to the first by the keyboard.
    if len(args.images) > 1:
        page.get_by_role("button", name="Remove all images").click()
        expect(page.locator("#result")).to_be_hidden()
        choose(page, *args.images)
        expect(page.locator("#strip .item")).to_have_count(len(args.images))
        expect(page.locator("#strip .name")).to_have_text([path.name for path in args.images])
        page.locator("#strip input").first.focus()
        for path in args.images[1:]:
            page.keyboard.press("ArrowRight")
            expect(page.locator("#caption")).to_contain_text(path.name)
            check_bars(page, predicted(path, models[-1]["name"]))
        check_names(page)
        check_layout(page, "many")
    driver.close()


def fulfill(route, request, status):
    route.fulfill(status=status, body="not JSON")


def transfer(page, path):
    """A `DataTransfer` with a file."""
    code = """([text, name, type]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([Uint8Array.from(atob(text), (it) => it.charCodeAt(0))], name, { type }));
        return transfer;
    }"""
    kind = mimetypes.guess_type(path)[0] or ""
    return page.evaluate_handle(code, [base64.b64encode(path.read_bytes()).decode(), path.name, kind])


def check_ways_in(browser, models):
    expected = predicted(args.images[0], models[0]["name"])
    driver = Driver(browser)
    page = driver.open()
    page.dispatch_event("#drop", "dragenter", {"dataTransfer": transfer(page, args.images[0])})
    expect(page.locator("#drop")).to_have_class("over")
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer(page, args.images[0])})
    check_bars(page, expected)
    page.get_by_role("button", name="Remove all images").click()
    code = "(it) => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: it, bubbles: true }))"
    page.evaluate(code, transfer(page, args.images[0]))
    check_bars(page, expected)
    page.evaluate("() => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: new DataTransfer() }))")
    expect(page.locator("#notice")).to_contain_text("no image in the clipboard")
    driver.close()

    # By keyboard alone: from the beginning of the page to the chooser, and to the way to remove the image.
    driver = Driver(browser)
    page = driver.open()
    page.evaluate("document.activeElement.blur()")
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "files":
            break
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(str(args.images[0]))
    check_bars(page, expected)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "clear":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#empty")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "files"
    driver.close()


def check_camera(browser):
    driver = Driver(browser, permissions=["camera"])
    page = driver.open()
    page.get_by_role("button", name="Use the camera").press("Enter")
    take = page.get_by_role("button", name="Take the photo")
    expect(take).to_be_enabled()
    expect(take).to_be_focused()
    page.wait_for_function("document.querySelector('video').videoWidth > 0")
    check_names(page)
    shot(page, "camera")
    page.keyboard.press("Enter")
    expect(page.locator("#caption")).to_have_text("camera-1.jpg")
    expect(page.locator("#headline, #failure-title").locator("visible=true")).not_to_be_empty()
    assert page.evaluate("document.querySelector('video').srcObject") is None
    driver.close()
    # No permission, no camera, no secure page: each is a sentence.
    for name, words in [("NotAllowedError", "does not allow"), ("NotFoundError", "No camera"), (None, "HTTPS")]:
        driver = Driver(browser)
        page = driver.page
        if name:
            page.add_init_script(
                f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('', '{name}'); }};"
            )
        else:
            page.add_init_script(
                "Object.defineProperty(navigator, 'mediaDevices', { value: undefined });"
                "Object.defineProperty(window, 'isSecureContext', { value: false });"
            )
        driver.open()
        page.get_by_role("button", name="Use the camera").click()
        expect(page.locator("#camera-error")).to_contain_text(words)
        shot(page, f"camera-{name or 'insecure'}")
        page.keyboard.press("Escape")
        expect(page.locator("#camera")).to_be_hidden()
        driver.close()


def check_errors(browser, limits, dir):
    driver = Driver(browser, viewport={"width": 1280, "height": 844})
    page = driver.open()
    fake = dir / "fake.png"
    fake.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    choose(page, fake)
    expect(page.locator("#failure")).to_contain_text("could not read this image")
    expect(page.locator("#no-preview")).to_be_visible()
    expect(page.locator("#may-read")).to_be_hidden()
    check_names(page)
    check_layout(page, "not-an-image")
    large, text, empty = dir / "large.png", dir / "text.txt", dir / "empty.png"
    with large.open("wb") as file:
        file.truncate(limits["max_body_bytes"] + 1)
    text.write_text("text")
    empty.touch()
    for path, words in [(large, "takes at most"), (text, "not an image"), (empty, "empty")]:
        choose(page, path)
        expect(page.locator("#notice")).to_contain_text(words)
    shot(page, "too-large")
    page.get_by_role("button", name="Remove all images").click()

    n_refused = [0]

    def refuse(route):
        n_refused[0] += 1
        if n_refused[0] > 2:
            return route.continue_()
        route.fulfill(
            status=429, headers={"Retry-After": "1"}, content_type="application/json",
            body='{"error": "the queue is full"}',
        )

    page.route("**/predict?*", refuse)
    choose(page, args.images[0])
    expect(page.locator("#failure")).to_contain_text("Trying again in 1 second")
    shot(page, "busy")
    expect(page.locator("#headline")).to_be_visible()
    expect(page.locator("#failure")).to_be_hidden()
    page.unroute("**/predict?*")
    page.get_by_role("button", name="Remove all images").click()
    for status, words in [(413, "too large"), (415, "not an image"), (408, "too long"), (500, "failed (status 500)")]:
        page.route("**/predict?*", partial(fulfill, status=status))
        choose(page, args.images[0])
        expect(page.locator("#failure")).to_contain_text(words)
        page.unroute("**/predict?*")
        page.get_by_role("button", name="Remove all images").click()
    page.route("**/predict?*", lambda route: route.abort())
    choose(page, args.images[0])
    expect(page.locator("#failure")).to_contain_text("cannot be reached")
    shot(page, "away")
    page.unroute("**/predict?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#headline")).to_be_visible()
    driver.close()

    driver = Driver(browser)
    page = driver.page
    page.route("**/models", lambda route: route.abort())
    page.goto(URL + "/")
    expect(page.get_by_role("heading", name="The server cannot be reached")).to_be_visible()
    page.unroute("**/models")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#token-form" if TOKEN else "#work")).to_be_visible()
    driver.close()


def check_motion(browser):
    for motion, animated in [("reduce", False), ("no-preference", True)]:
        driver = Driver(browser, reduced_motion=motion)
        page = driver.page
        page.goto(URL + "/")
        name = page.evaluate("getComputedStyle(document.querySelector('.spinner')).animationName")
        assert (name != "none") == animated, (motion, name)
        driver.close()


def main():
    described = ask("/models")
    models = described["models"]
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as play, tempfile.TemporaryDirectory() as dir:
        browser = play.chromium.launch(executable_path=args.chromium, args=flags)
        checks = {
            "prediction": lambda: check_prediction(browser, models),
            "choosing, dropping, pasting, keyboard": lambda: check_ways_in(browser, models),
            "camera": lambda: check_camera(browser),
            "errors": lambda: check_errors(browser, described["limits"], Path(dir)),
            "reduced motion": lambda: check_motion(browser),
        }
        if TOKEN:
            checks = {"token": lambda: check_token(browser)} | checks
        for name, check in checks.items():
            check()
            print(f"{name}: as expected", flush=True)
        browser.close()


main()
