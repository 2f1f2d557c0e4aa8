#!/usr/bin/env python3
"""The page of limn serve in a headless Chromium: what it draws, how it is used with the keyboard alone, what screen readers
are told, narrow screens, colours, what is kept, and that it asks nobody but its server.

Usage: page_test.py LIMN [NAME...]   Exit code 77: there is no Chromium.  AXE_CORE: the file axe.min.js, if it isn't where
tools/test puts it; without it of its checks that of contrast is done, and that is said."""
import base64
import glob
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import browser  # noqa: E402

PROMPT = "a panda"
limn = sys.argv[1]
work = tempfile.mkdtemp(prefix="limn-page-")


def check(truth, why):
    if not truth:
        raise AssertionError(why)


# ---- limn ----

class Server:
    def __init__(self, *options):
        self.process = subprocess.Popen([limn, "serve", "--port", "0", *options], stderr=subprocess.PIPE, text=True)
        self.address = None
        said = []
        for line in self.process.stderr:
            said.append(line)
            if found := re.search(r"http://\S+", line):
                self.address = found[0]
                break
        check(self.address, "".join(said))

    def count(self, name):
        with urllib.request.urlopen(self.address + "/metrics") as answer:
            return int(re.search(rf"^{re.escape(name)} (\d+)", answer.read().decode(), re.M)[1])

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self.process.stderr.close()
        check(code == 0, f"limn serve ended with {code}")


def drawn(*options):
    """What limn generate writes."""
    path = os.path.join(work, "drawn.png")
    subprocess.run([limn, "generate", PROMPT, "-o", path, *options], check=True, stderr=subprocess.DEVNULL)
    with open(path, "rb") as file:
        return file.read()


def chunks(png):
    at = 8
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at:at + 8])
        yield kind, png[at + 8:at + 8 + size]
        at += size + 12


def pixels(png):
    return zlib.decompress(b"".join(data for kind, data in chunks(png) if kind == b"IDAT"))


def settings(png):
    return next(data.split(b"\0", 1)[1].decode("latin1") for kind, data in chunks(png) if data.startswith(b"parameters\0"))


def grey_png(width, height, rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b""))


# ---- the page ----

# Before the page's own script: what is visible while it works, and the forms that it sends.
SPY = """
window.spy = { bars: 0, cancels: 0, values: [], previews: 0, masks: [] };
addEventListener('DOMContentLoaded', () => new MutationObserver(() => {
  const shown = e => e && e.checkVisibility() && e.getBoundingClientRect().width > 0;
  const bar = document.querySelector('progress');
  if (shown(bar)) { spy.bars++; if (bar.hasAttribute('value')) spy.values.push(bar.value); }
  if ([...document.querySelectorAll('button')].some(b => shown(b) && b.textContent.trim() === 'Cancel')) spy.cancels++;
  spy.previews += document.querySelectorAll('#gallery canvas').length;
}).observe(document, { subtree: true, childList: true, attributes: true }));
const send = window.fetch;
window.fetch = (path, options) => {
  if (options?.body instanceof FormData && options.body.get('mask'))
    spy.masks.push(createImageBitmap(options.body.get('mask')).then(b => {
      const c = new OffscreenCanvas(b.width, b.height).getContext('2d');
      c.drawImage(b, 0, 0);
      const all = [...c.getImageData(0, 0, b.width, b.height).data];
      return { width: b.width, height: b.height, alpha: all.filter((v, i) => i % 4 === 3) };
    }));
  return send(path, options);
};
"""
IDLE = "document.getElementById('work').hidden"
ready = "document.querySelector('#model').options[0].value !== ''"


def new_page(chromium, address):
    page = browser.Page(chromium)
    page.call("Page.addScriptToEvaluateOnNewDocument", source=SPY)
    page.size(1280, 900)
    page.dark(False)
    page.open(address)
    page.wait("!document.getElementById('kept').hidden")
    return page


def png_of(page, n=0):
    """The bytes behind the n-th picture."""
    return base64.b64decode(page.js(f"""(async () => {{
        const bytes = new Uint8Array(await (await fetch(document.querySelectorAll('#gallery img')[{n}].src)).arrayBuffer());
        return btoa(Array.from(bytes, b => String.fromCharCode(b)).join('')); }})()"""))


def pictures(page):
    return page.js("document.querySelectorAll('#gallery img').length")


def reset(page):
    """The form as it is at the start; the gallery as it was."""
    page.open("about:blank#")
    page.open(server.address + "/")
    page.wait(ready)


def draw(page, more=1, seconds=120):
    before = pictures(page)
    page.fill("#prompt", PROMPT)
    page.key("Enter")
    page.wait(f"document.querySelectorAll('#gallery img').length >= {before + more} && {IDLE}", seconds)


def begin_with_picture(page):
    reset(page)
    page.wait("!document.getElementById('kept').hidden")
    if not pictures(page):
        draw(page)


# ---- tests ----

def test_structure(page):
    page.wait(ready)
    check(page.js("document.documentElement.lang") == "en", "no language")
    check(page.js("document.title"), "no title")
    check("width=device-width" in page.js("document.querySelector('meta[name=viewport]').content"), "no viewport")
    visible = page.js("""[...document.querySelectorAll('input, select, textarea, button, a, [tabindex]')]
        .filter(e => e.checkVisibility({ contentVisibilityAuto: true, visibilityProperty: true }) && e.tabIndex >= 0)
        .map(e => e.id)""")
    check(visible[0] == "prompt" and visible[1] == "draw", f"the first controls are {visible}")
    tree = [n for n in page.call("Accessibility.getFullAXTree")["nodes"] if not n.get("ignored")]
    role = lambda n: n["role"]["value"]  # noqa: E731
    name = lambda n: n.get("name", {}).get("value", "")  # noqa: E731
    texts = [name(n) for n in tree if role(n) == "textbox"]
    check(texts == ["Prompt"], f"text fields: {texts}")
    controls = {name(n) for n in tree if role(n) in ("combobox", "spinbutton", "button")}
    check({"Draw", "Model", "Count", "Seed", "Guidance", "Size"} <= controls, f"controls: {controls}")
    nameless = [role(n) for n in tree if not name(n) and any(p["name"] == "focusable" for p in n.get("properties", []))
                and role(n) != "RootWebArea"]
    check(not nameless, f"without names: {nameless}")


def test_draws_the_picture_of_its_seed(page):
    page.fill("#seed", "7")
    page.fill("#count", "2")
    draw(page, 2)
    for i in (0, 1):
        wanted, have = drawn("--seed", "7", "--first", str(i)) if i else drawn("--seed", "7", "-n", "1"), png_of(page, i)
        check(pixels(wanted) == pixels(have), f"picture {i} isn't that of limn generate")
    text = settings(png_of(page))
    check(text.startswith(PROMPT) and "Seed: 7" in text, f"settings: {text}")
    check(page.js("document.querySelector('#gallery img').alt") == PROMPT, "the alt text")
    spy = page.js("({ ...spy, masks: 0 })")
    check(spy["bars"] and spy["cancels"], "no progress bar or no button named cancel while it worked")
    check(spy["previews"], "no previews")
    check(page.js("document.getElementById('live').textContent") == "2 pictures are ready", "nothing was announced")


def test_keyboard_alone(page):
    reset(page)
    focus = "(e => e.id || e.title || e.textContent.trim())(document.activeElement)"
    check(page.js(focus) == "prompt", "the prompt isn't focused at the start")
    before = pictures(page)
    page.type(PROMPT)
    page.key("Tab")
    check(page.js(focus) == "draw", f"after the prompt comes {page.js(focus)}")
    check(page.js("getComputedStyle(document.activeElement).outlineStyle") == "solid", "the focus isn't visible")
    page.key(" ")
    page.wait(f"document.querySelectorAll('#gallery img').length > {before} && {IDLE}")
    order = []
    while len(order) < 40 and "Delete" not in order:
        page.key("Tab")
        order.append(page.js(focus))
    check(order[:5] == ["model", "count", "size", "seed", "guidance"], f"the order: {order}")
    check(["Reuse settings", "Use as image prompt", "Copy settings", "Download", "Delete"] == order[-5:], f"the order: {order}")
    page.js("document.querySelector('#gallery button[title=View]').focus()")
    page.key("Enter")
    page.wait("document.getElementById('viewer').open")
    check(page.js("document.getElementById('viewer').contains(document.activeElement)"), "the focus isn't in the view")
    check("Seed: " in page.js("document.querySelector('#viewer pre').textContent"), "no settings in the view")
    page.key("Escape")
    page.wait("!document.getElementById('viewer').open")
    check(page.js(focus) == "View", f"the focus is at {page.js(focus)} after the view")


def test_cancel(page):
    reset(page)
    count = server.count('limn_jobs_total{state="cancelled"}')
    before = pictures(page)
    page.fill("#count", "64")
    page.fill("#prompt", PROMPT)
    page.key("Tab")
    page.key("Enter")
    page.wait(f"!{IDLE} && document.querySelector('progress').value > 0 && spy.values.length")
    page.key("Tab")
    check(page.js("document.activeElement.id") == "cancel", "Cancel isn't behind Draw")
    page.key("Enter")
    page.wait(IDLE)
    check(page.js("document.activeElement.id") == "draw", "the focus is lost")
    check(page.js("document.getElementById('live').textContent") == "Cancelled", "it isn't announced")
    end = time.monotonic() + 20
    while server.count('limn_jobs_total{state="cancelled"}') == count and time.monotonic() < end:
        time.sleep(0.05)
    check(server.count('limn_jobs_total{state="cancelled"}') == count + 1, "the server still draws")
    check(pictures(page) < before + 64, "all were drawn")
    check(page.js("!document.querySelector('#gallery [aria-busy]')"), "something that isn't finished is left")


def test_gallery(page):
    begin_with_picture(page)
    page.fill("#seed", "18446744073709551615")
    page.fill("#guidance", "2.5")
    page.js("document.getElementById('size').value = '256x256'")
    draw(page)
    first, n = png_of(page), pictures(page)
    check("Seed: 18446744073709551615" in settings(first), settings(first))
    reset(page)
    page.wait(f"document.querySelectorAll('#gallery img').length === {n}")
    check(png_of(page) == first, "the newest picture isn't the first after a reload")
    page.click("#gallery button[title='Reuse settings']")
    form = page.js("['prompt', 'seed', 'guidance', 'size', 'count'].map(id => document.getElementById(id).value)")
    check(form == [PROMPT, "18446744073709551615", "2.5", "256x256", "1"], f"reused: {form}")
    page.key("Enter")
    page.wait(f"document.querySelectorAll('#gallery img').length === {n + 1} && {IDLE}")
    check(pixels(png_of(page)) == pixels(first), "the same settings draw another picture")
    page.browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.click("#gallery button[title='Copy settings']")
    page.wait("document.getElementById('live').textContent === 'Settings copied'")
    check(page.js("navigator.clipboard.readText()") == settings(first), "what was copied")
    link = page.js("""(a => [a.download, a.href === document.querySelector('#gallery img').src])
        (document.querySelector('#gallery a'))""")
    check(link == ["limn-a-panda-18446744073709551615.png", True], f"the download: {link}")
    page.click("#gallery button[title=Delete]")
    page.wait(f"document.querySelectorAll('#gallery img').length === {n}")
    check(page.js("document.activeElement.title") == "Delete", "the focus is lost")
    time.sleep(0.2)
    reset(page)
    page.wait(f"document.querySelectorAll('#gallery img').length === {n}")
    page.js("most.pictures = 1") # what is more than may be kept goes, the oldest first
    page.fill("#seed", "12")
    page.fill("#prompt", PROMPT)
    page.key("Enter")
    page.wait(f"document.querySelectorAll('#gallery img').length === 1 && {IDLE}")
    check("Seed: 12" in settings(png_of(page)), "another than the newest was kept")
    time.sleep(0.2)
    reset(page)
    page.wait("document.querySelectorAll('#gallery img').length === 1")


def kept_file(page):
    """The mask of the form that was sent last, as limn generate --keep takes it: white stays."""
    mask = page.js("Promise.all(spy.masks).then(all => all.at(-1))")
    width, height = mask["width"], mask["height"]
    path = os.path.join(work, "keep.png")
    with open(path, "wb") as file:
        file.write(grey_png(width, height, [bytes(mask["alpha"][y * width:(y + 1) * width]) for y in range(height)]))
    return path, mask["alpha"].count(0) / (width * height)


def test_image_prompt(page):
    begin_with_picture(page)
    path = os.path.join(work, "from.png")
    with open(path, "wb") as file:
        file.write(drawn("--seed", "3"))
    # by a button
    page.choose("#file", path)
    page.wait("document.getElementById('canvas').checkVisibility() && document.getElementById('canvas').width === 512")
    page.click("[data-part='0 .5 1 .5']")
    page.fill("#seed", "5")
    draw(page)
    wanted = drawn("--seed", "5", "--image-prompt", path, "--keep", "top:0.5")
    check(pixels(png_of(page)) == pixels(wanted), "the lower half isn't drawn as limn generate does")
    # by the mouse
    page.click("[data-part=clear]")
    x, y, width, height = page.box("#canvas")
    side = min(width, height)
    x, y = x + (width - side) / 2, y + (height - side) / 2
    page.mouse("mousePressed", x + side * .2, y + side * .3)
    for i in range(1, 11):
        page.mouse("mouseMoved", x + side * (.2 + .06 * i), y + side * .3)
    page.mouse("mouseReleased", x + side * .8, y + side * .3)
    draw(page)
    keep, share = kept_file(page)
    check(.1 < share < .3, f"the brush painted {share} of it")
    wanted = drawn("--seed", "5", "--image-prompt", path, "--keep", keep)
    check(pixels(png_of(page)) == pixels(wanted), "what the brush painted isn't drawn as limn generate does")
    # by keys: a line, and a part of it erased
    page.click("[data-part=clear]")
    page.js("document.getElementById('canvas').focus()")
    for _ in range(5):
        page.key("ArrowUp")
    for _ in range(6):
        page.key("ArrowLeft", shift=True)
    check("painted" in page.js("document.getElementById('live').textContent"), "the keys aren't announced")
    draw(page)
    keep, share = kept_file(page)
    check(.05 < share < .3, f"the keys painted {share} of it")
    wanted = drawn("--seed", "5", "--image-prompt", path, "--keep", keep)
    check(pixels(png_of(page)) == pixels(wanted), "what the keys painted isn't drawn as limn generate does")
    # what is kept has the picture and its mask
    begin_with_picture(page)
    page.click("#gallery button[title='Reuse settings']")
    page.wait("document.getElementById('canvas').checkVisibility()")
    draw(page)
    check(pixels(png_of(page)) == pixels(wanted), "the settings of an edit, reused, draw another picture")
    # without paint: a variation, which a seed repeats; then away with it
    page.click("[data-part=clear]")
    draw(page)
    draw(page)
    check(pixels(png_of(page)) == pixels(png_of(page, 1)), "a variation's seed doesn't repeat it")
    check(pixels(png_of(page)) != pixels(wanted), "a variation is the edit")
    page.click("#remove")
    check(page.js("document.getElementById('editor').hidden"), "the picture is still there")
    page.js("document.querySelector('#gallery button[title=\"Use as image prompt\"]').click()")
    page.wait("document.getElementById('canvas').checkVisibility()")


def test_pages_fit(page):
    begin_with_picture(page)
    for width in (390, 320):
        page.size(width, 844, mobile=True)
        page.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        page.js("document.querySelector('#gallery button[title=\"Use as image prompt\"]').click()")
        page.wait("document.getElementById('canvas').checkVisibility()")
        wide = f"""[...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.closest('.seen-not') &&
            e.getBoundingClientRect().right > {width} + .5).map(e => e.outerHTML.slice(0, 80))"""
        check(page.js("document.documentElement.scrollWidth") <= width, f"{width}: it scrolls to the side: {page.js(wide)}")
        check(not page.js(wide), f"{width}: too wide: {page.js(wide)}")
        small = page.js("""[...document.querySelectorAll('button, a, input, select, textarea, summary')].filter(e =>
            e.checkVisibility() && !e.closest('.seen-not')).map(e => [e, e.getBoundingClientRect()])
            .filter(([, b]) => b.width < 24 || b.height < 24)
            .map(([e, b]) => `${e.outerHTML.slice(0, 60)} ${b.width}x${b.height}`)""")
        check(not small, f"{width}: targets under 24 pixels: {small}")
        letters = page.js("parseFloat(getComputedStyle(document.getElementById('prompt')).fontSize)")
        check(letters >= 16, f"letters of {letters} pixels in the prompt")
        page.js("document.querySelector('#gallery button[title=View]').click()")
        right = page.js("document.getElementById('viewer').getBoundingClientRect().right")
        check(right <= width, f"{width}: the view is too wide")
        check(not page.js(wide), f"{width}: too wide in the view: {page.js(wide)}")
        page.key("Escape")
    page.size(1280, 900)


# Texts whose colour is too near to what is behind them (WCAG 2, 1.4.3).
CONTRAST = """
(() => {
  const parse = c => (c.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
  return [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.closest('.seen-not') &&
    ([...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || ['INPUT', 'TEXTAREA'].includes(e.tagName))).flatMap(e =>
      [['', e], ['::placeholder', e]].filter(([p]) => !p || e.placeholder).map(([p]) => {
        const a = light(parse(getComputedStyle(e, p).color)), b = light(behind(e));
        return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.outerHTML.slice(0, 80) + p]; })).filter(([c]) => c < 4.5);
})()
"""


def axe_text():
    """axe-core's script, where it is; nothing of it is part of limn."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "limn", "axe")
    for path in [os.environ.get("AXE_CORE", ""), *glob.glob(os.path.join(cache, "**", "axe.min.js"), recursive=True)]:
        if path:
            with open(path, encoding="utf-8") as file:
                return file.read()
    return None


def test_accessibility(page):
    begin_with_picture(page)
    axe = axe_text()
    if axe:
        page.js(axe + "; undefined")
    else:
        print("    axe-core isn't here (tools/test --matrix gets it): of its checks that of contrast is done")
    page.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.js("document.querySelector('#gallery button[title=\"Use as image prompt\"]').click()")
    page.wait("document.getElementById('canvas').checkVisibility()")
    page.fill("#seed", "-5")
    page.key("Enter")
    page.wait("!document.getElementById('error').hidden")
    for dark in (False, True):
        page.dark(dark)
        for width in (1280, 390):
            page.size(width, 900)
            for view in (False, True):
                if view:
                    page.js("document.querySelector('#gallery button[title=View]').click()")
                where = f"{'dark' if dark else 'light'}, {width}{', view' if view else ''}"
                bad = page.js(CONTRAST)
                check(not bad, f"{where}: contrast: {bad}")
                found = page.js("""axe.run(document, { resultTypes: ['violations'] }).then(r => r.violations.map(v =>
                    `${v.impact} ${v.id}: ${v.nodes.map(n => n.html.slice(0, 90)).join(' | ')}`))""") if axe else []
                check(not found, f"{where}: axe-core: {found}")
                page.js("document.getElementById('viewer').close()")
    page.dark(False)
    page.size(1280, 900)


def test_asks_nobody_else_and_says_nothing(page):
    page.look()
    refused = [s for s in page.said if "/v1/images/" in s]  # the browser's own word of an answer that says 400
    check(len(refused) <= 1, f"the console: {refused}")
    check(set(page.said) <= set(refused), f"the console: {page.said}")
    elsewhere = [u for u in page.asked if not u.startswith((server.address + "/", "data:", "blob:" + server.address, "about:"))]
    check(not elsewhere, f"requests to {elsewhere}")
    with urllib.request.urlopen(server.address + "/") as answer:
        policy = answer.headers["Content-Security-Policy"]
    check("default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy and "*" not in policy, policy)


def test_errors_are_sentences(page):
    reset(page)
    page.fill("#seed", "1")
    page.fill("#guidance", "-3")
    page.fill("#prompt", PROMPT)
    page.key("Enter")
    text = page.wait("document.getElementById('error').checkVisibility() && document.getElementById('error').textContent")
    check(text.startswith("guidance: -3 is outside"), f"the error: {text}")
    check(page.js(IDLE), "it still works")
    page.fill("#guidance", "")
    page.fill("#prompt", "")
    page.key("Enter")
    check("prompt" in page.wait("document.getElementById('error').textContent"), "an empty prompt")
    draw(page)
    check(page.js("document.getElementById('error').hidden"), "the error is still there")


def test_what_a_model_can(page):
    """A diffusion model: a sampler, steps and strength, and nothing that only codes are drawn by."""
    model, start = os.path.join(work, "sd.gguf"), os.path.join(work, "start.png")
    golden = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "golden", "diffusion", "sd15")
    subprocess.run([limn, "convert", golden, "-o", model], check=True, stderr=subprocess.DEVNULL)
    own = Server("-m", model)
    there = "['sampler', 'steps', 'strength', 'temperature', 'top_k'].filter(id => !document.getElementById(id).closest('[hidden]'))"
    try:
        page.open(own.address + "/")
        page.wait(ready)
        page.js("document.getElementById('more').open = true")
        check(page.js(there) == ["sampler", "steps"], page.js(there))
        page.js("document.getElementById('sampler').value = 'euler'")
        page.fill("#steps", "2")
        page.fill("#seed", "5")
        draw(page)
        options = ["-m", model, "--sampler", "euler", "--steps", "2", "--seed", "5"]
        check(png_of(page) == drawn(*options), f"another picture than limn generate's: {settings(png_of(page))}")
        with open(start, "wb") as file:
            file.write(png_of(page))
        page.js("document.querySelector('#gallery button[title=\"Use as image prompt\"]').click()")
        page.wait("document.getElementById('canvas').checkVisibility()")
        check(page.js(there) == ["sampler", "steps", "strength"], page.js(there))
        page.fill("#strength", "0.5")
        draw(page)
        options += ["--image-prompt", start, "--strength", "0.5"]
        check(pixels(png_of(page)) == pixels(drawn(*options)), "a changed picture isn't limn generate's")
        page.click("[data-part='0 .5 1 .5']")
        draw(page)
        check(pixels(png_of(page)) == pixels(drawn(*options, "--keep", "top:0.5")), "a part that changes")
    finally:
        own.close()


def test_key_and_models(page):
    model = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "models", "emoji.gguf")
    locked = Server("--api-key", "secret", "-m", model, "-m", model)
    try:
        page.open(locked.address + "/")
        page.wait("document.getElementById('ask').open && document.activeElement.id === 'key'")
        page.type("wrong")
        page.key("Enter")
        page.wait("document.getElementById('ask').open && document.getElementById('key').value === ''")
        page.type("secret")
        page.key("Enter")
        page.wait(ready)
        check(page.js("[...document.getElementById('model').options].map(o => o.value)") == ["emoji", "emoji-2"], "the models")
        first = "document.getElementById('size').options[0].textContent"
        page.js("document.getElementById('model').value = 'emoji-2'; document.getElementById('model').onchange()")
        check("own" in page.js(first), "the size of a model that wasn't open yet")
        draw(page)
        page.wait(first + " === '64 × 64'")
        page.open("about:blank#")
        page.open(locked.address + "/")
        page.wait(ready + " && document.querySelectorAll('#gallery img').length")
        page.click("#gallery button[title='Reuse settings']")
        check(page.js("document.getElementById('model').value") == "emoji-2", "the model of a picture isn't reused")
    finally:
        locked.close()
    page.fill("#prompt", PROMPT)
    page.key("Enter")
    page.wait("document.getElementById('error').textContent.includes('can’t be reached')")
    check(page.js(IDLE) and not page.js("!!document.querySelector('#gallery [aria-busy]')"), "it goes on without a server")


TESTS = [test_structure, test_draws_the_picture_of_its_seed, test_keyboard_alone, test_cancel, test_gallery, test_image_prompt,
         test_pages_fit, test_accessibility, test_asks_nobody_else_and_says_nothing, test_errors_are_sentences,
         test_what_a_model_can, test_key_and_models]


def main():
    global server
    path = browser.find()
    if not path:
        print("no Chromium is here: the page isn't tested (on Debian or Ubuntu: apt-get install chromium)")
        return 77
    tests = [t for t in TESTS if not sys.argv[2:] or t.__name__[5:] in sys.argv[2:]]
    server = Server()
    chromium = browser.Browser(path)
    failed = 0
    try:
        page = new_page(chromium, server.address + "/")
        for test in tests:
            begin = time.monotonic()
            try:
                test(page)
                print(f"ok      {test.__name__[5:]} ({time.monotonic() - begin:.1f} s)", flush=True)
            except (AssertionError, browser.Failure, subprocess.SubprocessError):
                failed += 1
                print(f"FAILED  {test.__name__[5:]}\n{traceback.format_exc(limit=-3)}", flush=True)
                with open(os.path.join(work, test.__name__ + ".png"), "wb") as file:
                    file.write(page.screenshot())
    finally:
        chromium.close()
        server.close()
    if not failed:
        shutil.rmtree(work)
    print(f"{len(tests) - failed} passed, {failed} failed" + (f": screenshots in {work}" if failed else ""))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
