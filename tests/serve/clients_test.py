#!/usr/bin/env python3
"""clients_test.py LIMN TINY_MODEL: limn serve as its clients call it: OpenAI's requests by hand, and where the package is
there by the `openai` client, and those of AUTOMATIC1111's web interface.  Pictures are those of limn generate."""
import base64
import concurrent.futures
import glob
import json
import os
import random
import site
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from limn_server import Server, black, check, form, pixels, png, run, settings, split_answers, tiny

CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
for folder in glob.glob(os.path.join(CACHE, "limn", "openai", "lib", "python*", "site-packages")):
    site.addsitedir(folder)  # where tools/test --matrix puts the package
try:
    import openai
except ImportError:
    openai = None

GENERATIONS, EDITS, VARIATIONS = "/v1/images/generations", "/v1/images/edits", "/v1/images/variations"
SIDE = 8
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "golden", "diffusion")
PICTURE = png(24, 24, bytes((x * 9 + y * 5 + c * 80) % 256 for y in range(24) for x in range(24) for c in range(3)))


def mask(alpha, grey=lambda x, y: 255):
    """A mask of 24 x 24 pixels: alpha(x, y) of each."""
    return png(24, 24, bytes(v for y in range(24) for x in range(24) for v in [grey(x, y)] * 3 + [alpha(x, y)]), 4)


LOWER_OPEN = mask(lambda x, y: 255 if y < 12 else 0)
LOWER_BLACK = png(24, 24, bytes(255 if y < 12 else 0 for y in range(24) for x in range(24) for c in range(3)))
LOWER_WHITE = png(24, 24, bytes(0 if y < 12 else 255 for y in range(24) for x in range(24) for c in range(3)))


def drawn(prompt, *arguments, count=1, files=(), model=None):
    """The PNGs of limn generate."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files:
            with open(os.path.join(folder, name), "wb") as f:
                f.write(data)
        subprocess.run([LIMN, "generate", prompt, "-m", model or MODEL, "-n", str(count), "-o", "a.png", "-q", *arguments],
                       cwd=folder, check=True, timeout=300)
        names = ["a.png"] if count == 1 else [f"a-{i + 1:0{len(str(count))}}.png" for i in range(count)]
        data = []
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                data.append(f.read())
        return data


def same(name, have, want):
    check(name, len(have) == len(want), len(have))
    for i, (a, b) in enumerate(zip(have, want)):
        check(name, pixels(a) == pixels(b), f"picture {i} differs", settings(a), settings(b))


# ---- OpenAI's requests ----

def pictures_of_a_seed(s):
    want = drawn("ab", "--seed", "7", count=3)
    a = s.generate(prompt="ab", seed=7, n=3)
    same("n = 3", a.pictures(), want)
    check("settings", [settings(p) for p in a.pictures()] == [settings(p) for p in want], settings(a.pictures()[0]))
    check("seed", a.json["seed"] == 7 and a.json["usage"]["output_tokens"] % 3 == 0, a.body)
    check("created", abs(a.json["created"] - time.time()) < 100, a.json["created"])
    check("data", all(set(d) & {"b64_json", "url"} == {"b64_json"} for d in a.json["data"]), a.body)
    one = s.generate(prompt="ab", seed=7)
    check("to the byte", one.pictures() == drawn("ab", "--seed", "7"), "the file of one picture differs")
    for fields, options in [(dict(temperature=0.5, top_k=2), ["--temperature", "0.5", "--top-k", "2"]),
                            (dict(guidance=3, negative_prompt="b"), ["--guidance", "3", "--negative", "b"]),
                            (dict(top_p=0.7, temperature=1), ["--top-p", "0.7", "--temperature", "1"]),
                            (dict(temperature=0), ["--temperature", "0"])]:
        a = s.generate(prompt="ab", seed=5, **fields)
        same(str(fields), a.pictures(), drawn("ab", "--seed", "5", *options))
    for seed in (0, 2**53, 2**63 - 1, 2**63, 2**64 - 1):
        a = s.generate(prompt="ab", seed=seed)
        check("seed", a.json["seed"] == seed, a.body[:300])
    same("seed 2^64 - 1", a.pictures(), drawn("ab", "--seed", str(2**64 - 1)))
    check("seed as text", s.generate(prompt="ab", seed=str(2**64 - 1)).json["seed"] == 2**64 - 1)
    a, b = s.generate(prompt="ab"), s.generate(prompt="ab", seed=-1)
    check("random seeds", a.json["seed"] != b.json["seed"], a.json["seed"])
    same("a random seed", a.pictures(), drawn("ab", "--seed", str(a.json["seed"])))
    ten = s.generate(prompt="ab", n=10, seed=7).pictures()
    same("n = 10", ten[:3], want)


def urls(s):
    a = s.ask("POST", GENERATIONS, {"prompt": "ab", "seed": 7, "response_format": "url"})
    url = a.json["data"][0]["url"]
    check("url", url.startswith(f"http://127.0.0.1:{s.port}/"), url)
    name = url.rsplit("/", 1)[1].split(".")[0]
    check("url", len(name) >= 16 and "b64_json" not in a.json["data"][0], url)
    p = s.ask("GET", url.split(str(s.port), 1)[1])
    check("url", p.status == 200 and p.headers["content-type"] == "image/png", p.headers)
    same("url", [p.body], drawn("ab", "--seed", "7"))


def sizes(s):
    for size in ("auto", None, f"{SIDE}x{SIDE}"):
        check(str(size), pixels(s.generate(prompt="a", size=size).pictures()[0])[:2] == (SIDE, SIDE), size)
    own = pixels(s.generate(prompt="a", seed=3).pictures()[0])[2]
    a = s.generate(prompt="a", seed=3, size="32x32")
    w, h, large = pixels(a.pictures()[0])
    check("32x32", (w, h) == (32, 32) and a.json["size"] == "32x32", w, h)
    check("32x32", all(large[3 * (4 * y * 32 + 4 * x):][:3] == own[3 * (y * SIDE + x):][:3]
                       for y in range(SIDE) for x in range(SIDE)), "whole multiples repeat pixels")
    check("512x512", pixels(s.generate(prompt="a", size="512x512").pictures()[0])[:2] == (512, 512))
    check("48x20", pixels(s.generate(prompt="a", size="48x20").pictures()[0])[:2] == (48, 20))
    for size in ("", "big", "512", "512x", "x512", "0x0", "-1x-1", "512x512x512", " 512x512", "512 x 512", "1e3x1e3",
                 "+512x512", "99999999999x1", 512, [512, 512], True):
        if size == "":
            continue
        a = s.generate(prompt="a", size=size)
        check(repr(size), a.status == 400 and a.error["param"] == "size", a.status, a.body)


def formats(s):
    for name, magic in (("png", b"\x89PNG"), ("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF")):
        a = s.generate(prompt="a", output_format=name, output_compression=80)
        if a.status == 400:
            check(name, a.error["param"] == "output_format" and name != "png", a.body)
            continue
        check(name, a.pictures()[0].startswith(magic) and a.json["output_format"] == name, a.body[:200])
    # what may be there, and changes nothing
    a = s.generate(prompt="a", seed=1, quality="hd", style="vivid", user="u", background="opaque", moderation="low",
                   model=None, n=None, stream=None, output_format=None, guidance=None, seed_of_nobody={"a": [1]})
    same("ignored fields", a.pictures(), drawn("a", "--seed", "1"))


def what_is_wrong(s):
    nan = '{"prompt": "a", "n": NaN}'
    for body, param in [
            (nan, None), ("{", None), ("[]", None), ("3", None), ("", None), ('{"prompt": "\xff"}'.encode("latin-1"), None),
            ('{"prompt": "a", "prompt": "b"}', None), ({}, "prompt"), ({"prompt": None}, "prompt"),
            ({"prompt": 3}, "prompt"), ({"prompt": ["a"]}, "prompt"), ({"prompt": "a" * 40000}, "prompt")] + [
            ({"prompt": "a", name: value}, name)
            for name, values in {
                "n": ["3", True, 0, -1, 1.5, 1000, [], 10**30], "seed": ["x", "", " 3", 1.5, -2, 2**64, 10**40, True, {}],
                "guidance": [-1, 1001, "3", True], "temperature": [-0.1, 101, "1"], "top_k": [-1, 1.5, "3", 2 * 10**9],
                "top_p": [-0.1, 1.1, "x"], "steps": [0, 1001, 1.5, "9"], "response_format": ["gif", 3, "URL"],
                "output_format": ["gif", 3], "output_compression": [-1, 101, "9"], "stream": ["true", 1],
                "partial_images": [-1, 4, "1"], "negative_prompt": [3], "model": [3], "user": [3], "keep": ["top:0.5"],
                "sampler": [3, "none", "euler"], "spacing": [3, "none"]
            }.items() for value in values]:
        a = s.ask("POST", GENERATIONS, body, {"Content-Type": "application/json"})
        check(str(body)[:100], a.status == 400, a.status, a.body)
        check(str(body)[:100], a.error["param"] == param and a.error["type"] == "invalid_request_error", a.body)
    a = s.generate(prompt="a", model="dall-e-3")
    check("model", a.status == 404 and a.error["code"] == "model_not_found", a.body)


def streams(s):
    for partial in (0, 1, 3):
        for path in (GENERATIONS, EDITS):
            fields = {"prompt": "ab", "seed": 7, "stream": True, "partial_images": partial}
            if path == GENERATIONS:
                a, event, want = s.ask("POST", path, fields), "image_generation", drawn("ab", "--seed", "7")
            else:
                a = s.post_form(path, [("image", ("a.png", PICTURE)), ("mask", ("m.png", LOWER_OPEN))] +
                                [(k, str(v).lower()) for k, v in fields.items()])
                event = "image_edit"
                want = drawn("ab", "--seed", "7", "--image-prompt", "p.png", "--keep", "top:0.5",
                             files=[("p.png", PICTURE)])
            check(path, a.status == 200 and a.headers["content-type"].startswith("text/event-stream"), a.body[:300])
            events = [e.split("\n") for e in a.body.decode().strip().split("\n\n")]
            data = [json.loads(e[1].partition(": ")[2]) for e in events]
            check(path, [e[0].partition(": ")[2] for e in events] == [d["type"] for d in data], events[0][0])
            check(path, [d["type"] for d in data] == [f"{event}.partial_image"] * partial + [f"{event}.completed"],
                  [d["type"] for d in data])
            check(path, [d["partial_image_index"] for d in data[:-1]] == list(range(partial)), data)
            check(path, data[-1]["usage"]["output_tokens"] > 0, data[-1])
            same(path, [base64.b64decode(data[-1]["b64_json"])], want)
            for d in data:
                check(path, pixels(base64.b64decode(d["b64_json"]))[:2] == (SIDE, SIDE))
    for wrong in ({"n": 0}, {"size": "x"}, {"model": "none"}, {"partial_images": 9}):
        a = s.generate(prompt="a", stream=True, **wrong)
        check(str(wrong), a.status in (400, 404), a.status)
        a.error


def edits(s):
    files = [("p.png", PICTURE), ("m.png", LOWER_BLACK)]
    want = drawn("b", "--seed", "5", "--image-prompt", "p.png", "--keep", "m.png", files=files, count=2)
    for name, fields in [
            ("mask", [("image", ("a.png", PICTURE)), ("mask", ("m.png", LOWER_OPEN))]),
            ("image[]", [("image[]", ("a.png", PICTURE)), ("mask", ("m.png", LOWER_OPEN))]),
            ("keep", [("image", ("a.png", PICTURE)), ("keep", ("k.png", LOWER_BLACK))]),
            ("keep as text", [("image", ("a.png", PICTURE)), ("keep", "top:0.5")]),
            ("several pictures", [("image[]", ("a.png", PICTURE)), ("image[]", ("b.png", LOWER_BLACK)),
                                  ("mask", ("m.png", LOWER_OPEN))])]:
        a = s.post_form(EDITS, [("prompt", "b"), ("n", "2"), ("seed", "5"), ("response_format", "b64_json")] + fields)
        same(name, a.pictures(), want)
    coded = base64.b64encode(PICTURE).decode()
    for name, fields in [
            ("JSON", {"image": coded, "keep": "top:0.5"}),
            ("a data URL", {"image": ["data:image/png;base64," + coded], "keep": base64.b64encode(LOWER_BLACK).decode()}),
            ("image_url", {"images": [{"image_url": "data:image/png;base64," + coded}],
                           "mask": {"image_url": base64.b64encode(LOWER_OPEN).decode()}})]:
        a = s.ask("POST", EDITS, {"prompt": "b", "n": 2, "seed": 5, "response_format": "b64_json", **fields})
        same(name, a.pictures(), want)
    whole = [("image", ("a.png", PICTURE)), ("prompt", "b")]
    for name, fields, param in [
            ("no image", [("prompt", "b")], "image"), ("no prompt", whole[:1], "prompt"),
            ("no picture", [("image", ("a.png", b"nothing")), ("prompt", "b")], "image"),
            ("empty file", [("image", ("a.png", b"")), ("prompt", "b")], "image"),
            ("half a picture", [("image", ("a.png", PICTURE[:100])), ("prompt", "b")], "image"),
            ("opaque mask", whole + [("mask", ("m.png", PICTURE))], "mask"),
            ("no mask", whole + [("mask", ("m.png", b"x"))], "mask"),
            ("a mask of another size", whole + [("mask", ("m.png", png(12, 12, b"\0" * 576, 4)))], "mask"),
            ("keep", whole + [("keep", "middle:0.5")], "keep"), ("keep", whole + [("keep", "top:0.001")], "keep"),
            ("keep", whole + [("keep", "box:0,0,2,9999")], "keep"), ("keep", whole + [("keep", "/etc/passwd")], "keep"),
            ("n", whole + [("n", "0")], "n"), ("n", whole + [("n", "two")], "n"), ("n", whole + [("n", "nan")], "n"),
            ("seed", whole + [("seed", "-2")], "seed"), ("seed", whole + [("seed", "18446744073709551616")], "seed"),
            ("196 megapixels", [("image", ("a.png", black(14000))), ("prompt", "b")],
             "image"),
            ("a lie about its size", [("image", ("a.png", PICTURE[:16] + b"\0\0\x7f\xff" * 2 + PICTURE[24:])),
                                      ("prompt", "b")], "image")]:
        a = s.post_form(EDITS, fields)
        check(name, a.status == 400 and a.error["param"] == param, a.status, a.body)
    a = s.ask("POST", EDITS, b"--x\r\nbroken", {"Content-Type": "multipart/form-data; boundary=x"})
    check("broken form", a.status == 400, a.status, a.body)
    a.error
    a = s.ask("POST", EDITS, b"", {"Content-Type": "multipart/form-data"})
    check("no boundary", a.status == 400, a.status, a.body)
    # 8 MB are taken
    big = png(1700, 1650, os.urandom(1700 * 1650 * 3))
    a = s.post_form(EDITS, [("image", ("a.png", big)), ("prompt", "b"), ("keep", "left:0.5")])
    check("8 MB", a.status == 200 and len(big) > 8 << 20, a.status, a.body[:300])


def forms_in_pieces(s):
    """Wherever the network cuts a form, its fields are the same."""
    kind, body = form([("prompt", "b"), ("image", ("a.png", PICTURE)), ("seed", "5"), ("negative_prompt", ""),
                       ("keep", "top:0.5"), ("temperature", "1"), ("response_format", "b64_json")])
    head = (f"POST {EDITS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode()
    r, first = random.Random(1), None
    for cuts in [1, 1, 1, 2, 3, 5, 8, 20, 20, len(body)]:
        at = sorted(r.randrange(len(body)) for _ in range(cuts)) if cuts < len(body) else list(range(len(body)))
        with socket.create_connection(("127.0.0.1", s.port), timeout=60) as c:
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            c.sendall(head)
            for begin, end in zip([0] + at, at + [len(body)]):
                c.sendall(body[begin:end])
                time.sleep(0.002 if cuts < len(body) else 0)
            got = b""
            while piece := c.recv(65536):
                got += piece
        a = split_answers(got)[0]
        check(str(at), a.status == 200 and a.json["seed"] == 5, a.status, a.body[:300])
        first = first or a.pictures()
        same(str(at), a.pictures(), first)


def variations(s):
    def vary(**more):
        return s.post_form(VARIATIONS, [("image", ("a.png", PICTURE)), ("response_format", "b64_json")] +
                           list(more.items())).pictures()
    a, b = vary(n="3", seed="11"), vary(n="3", seed="11")
    same("variations repeat", a, b)
    check("variations differ", len({pixels(p)[2] for p in a}) > 1)
    check("another seed", [pixels(p) for p in vary(n="3", seed="12")] != [pixels(p) for p in a])


def models_and_jobs(s):
    a = s.ask("GET", "/v1/models").json
    model = a["data"][0]
    check("models", a["object"] == "list" and model["object"] == "model" and isinstance(model["created"], int), a)
    check("model", s.ask("GET", "/v1/models/" + model["id"]).json == model, model)
    check("model", s.generate(prompt="a", model=model["id"]).status == 200)
    a = s.ask("GET", "/v1/models/none")
    check("model", a.status == 404 and a.error["code"] == "model_not_found", a.body)
    check("jobs", s.ask("GET", "/v1/jobs").json["object"] == "list")
    a = s.ask("DELETE", "/v1/jobs/none")
    check("job", a.status == 404, a.status)
    a.error
    check("health", s.ask("GET", "/health").status == 200)
    check("metrics", b"limn_pictures_total" in s.ask("GET", "/metrics").body)


def two_hundred_at_once(s):
    want = {}
    def one(i):
        return i, s.generate(prompt="ab", seed=i % 8, temperature=1)
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        for i, a in pool.map(one, range(200)):
            check("200 at once", a.status == 200, a.status, a.body[:200])
            p = pixels(a.pictures()[0])
            check("200 at once", want.setdefault(i % 8, p) == p, f"seed {i % 8} differs")
    for seed in range(2):
        check("200 at once", want[seed] == pixels(drawn("ab", "--seed", str(seed), "--temperature", "1")[0]))


# ---- AUTOMATIC1111's ----

def text_to_picture(s):
    request = {"prompt": "ab", "negative_prompt": "", "seed": 7, "batch_size": 2, "n_iter": 2, "steps": 20,
               "cfg_scale": 3, "width": 32, "height": 32, "sampler_name": "Euler a", "scheduler": "Karras",
               "override_settings": {"sd_model_checkpoint": MODEL_ID + ".gguf [1234]"}, "restore_faces": False,
               "alwayson_scripts": {}, "styles": []}
    a = s.ask("POST", "/sdapi/v1/txt2img", request)
    check("txt2img", a.status == 200, a.body[:300])
    pictures = [base64.b64decode(p) for p in a.json["images"]]
    info = json.loads(a.json["info"])
    check("txt2img", len(pictures) == 4 and info["all_seeds"] == [7, 8, 9, 10] and info["seed"] == 7, info)
    check("sampler", info["sampler_name"] == "Gumbel-Max" and info["cfg_scale"] == 3 and info["steps"] > 0, info)
    check("infotexts", info["infotexts"] == [settings(p) for p in pictures], info["infotexts"])
    check("parameters", a.json["parameters"]["prompt"] == "ab" and a.json["parameters"]["batch_size"] == 2, a.body[-900:])
    for i, p in enumerate(pictures):
        check("size", pixels(p)[:2] == (32, 32))
        own = pixels(drawn("ab", "--seed", str(7 + i), "--guidance", "3")[0])[2]
        large = pixels(p)[2]
        check("pixels", all(large[3 * (4 * y * 32 + 4 * x):][:3] == own[3 * (y * SIDE + x):][:3]
                            for y in range(SIDE) for x in range(SIDE)), f"picture {i} differs")
    a = s.ask("POST", "/sdapi/v1/txt2img", {"prompt": "ab", "seed": -1})
    check("seed -1", json.loads(a.json["info"])["seed"] >= 0 and len(a.json["images"]) == 1, a.body[-500:])
    check("own size", pixels(base64.b64decode(a.json["images"][0]))[:2] == (SIDE, SIDE))
    for wrong, param in [({"batch_size": 0}, "batch_size"), ({"n_iter": 1000}, "n_iter"), ({"width": -1}, "width"),
                         ({"cfg_scale": -1}, "cfg_scale"), ({"steps": 0}, "steps"), ({"seed": "x"}, "seed"),
                         ({"prompt": 3}, "prompt")]:
        a = s.ask("POST", "/sdapi/v1/txt2img", {"prompt": "a", **wrong})
        check(str(wrong), a.status == 400 and a.error["param"] == param, a.status, a.body)


def picture_to_picture(s):
    coded = base64.b64encode(PICTURE).decode()
    def ask(**more):
        a = s.ask("POST", "/sdapi/v1/img2img", {"prompt": "b", "seed": 5, "init_images": [coded], **more})
        check("img2img", a.status == 200, a.body[:300])
        check("parameters", coded not in json.dumps(a.json["parameters"]))
        return [base64.b64decode(p) for p in a.json["images"]]
    files = [("p.png", PICTURE), ("m.png", LOWER_BLACK)]
    want = drawn("b", "--seed", "5", "--image-prompt", "p.png", "--keep", "m.png", files=files)
    same("mask", ask(mask=base64.b64encode(LOWER_WHITE).decode()), want)
    same("inverted", ask(mask="data:image/png;base64," + base64.b64encode(LOWER_BLACK).decode(),
                         inpainting_mask_invert=1, denoising_strength=0.3), want)
    same("strength 0", ask(denoising_strength=0), ask(denoising_strength=0, seed=99))
    same("strength 0 with a mask", ask(denoising_strength=0, mask=base64.b64encode(LOWER_WHITE).decode()),
         ask(denoising_strength=0))
    same("no mask", ask(denoising_strength=0.5, mask=""), ask(denoising_strength=0.5))
    half = ask(denoising_strength=0.5, batch_size=2)
    same("strength", half, ask(denoising_strength=0.5, batch_size=2))
    same("the second seed", half[1:], ask(denoising_strength=0.5, seed=6))
    a = s.ask("POST", "/sdapi/v1/img2img", {"prompt": "b"})
    check("no picture", a.status == 400 and a.error["param"] == "init_images", a.body)


def other_paths(s):
    for path in ("samplers", "schedulers", "upscalers", "sd-vae", "loras", "hypernetworks", "face-restorers",
                 "prompt-styles", "latent-upscale-modes", "script-info"):
        check(path, isinstance(s.ask("GET", "/sdapi/v1/" + path).json, list))
    for path in ("embeddings", "scripts", "cmd-flags", "memory", "options", "progress"):
        check(path, isinstance(s.ask("GET", "/sdapi/v1/" + path).json, dict))
    check("samplers", all("name" in x for x in s.ask("GET", "/sdapi/v1/samplers").json))
    title = s.ask("GET", "/sdapi/v1/sd-models").json[0]["title"]
    check("model", MODEL_ID in title, title)
    check("options", s.ask("POST", "/sdapi/v1/options", {"sd_model_checkpoint": title}).status == 200)
    check("options", s.ask("GET", "/sdapi/v1/options").json["sd_model_checkpoint"] == title)
    a = s.ask("POST", "/sdapi/v1/options", {"sd_model_checkpoint": "none"})
    check("options", a.status == 404 and a.error["code"] == "model_not_found", a.body)
    a = s.ask("GET", "/sdapi/v1/progress?skip_current_image=true").json
    check("progress", a["progress"] == 0 and a["current_image"] is None and "state" in a, a)
    check("interrupt", s.ask("POST", "/sdapi/v1/interrupt", {}).status == 200)
    check("skip", s.ask("POST", "/sdapi/v1/skip").status == 200)
    check("refresh", s.ask("POST", "/sdapi/v1/refresh-checkpoints").status == 200)
    p = s.generate(prompt="ab", seed=2**64 - 1).pictures()[0]
    a = s.ask("POST", "/sdapi/v1/png-info", {"image": "data:image/png;base64," + base64.b64encode(p).decode()}).json
    check("png-info", a["info"] == settings(p) and a["parameters"]["Seed"] == str(2**64 - 1), a)
    check("png-info", a["parameters"]["Prompt"] == "ab" and a["parameters"]["Size-1"] == str(SIDE), a)
    a = s.ask("POST", "/sdapi/v1/png-info", {"image": base64.b64encode(PICTURE).decode()}).json
    check("png-info", a == {"info": "", "items": {}, "parameters": {}}, a)
    for fields in ({}, {"image": ""}, {"image": "AAAA"}):
        a = s.ask("POST", "/sdapi/v1/png-info", fields)
        check("png-info", a.status == 400 and a.error["param"] == "image", a.body)
    a = s.ask("GET", "/sdapi/v1/txt2img")
    check("method", a.status == 405 and a.headers["allow"] == "POST", a.status)


def interrupted(s):
    """Work that is interrupted answers with the pictures that are there; progress shows the one that is drawn."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        seen = False
        for _ in range(20):
            work = pool.submit(s.ask, "POST", "/sdapi/v1/txt2img", {"prompt": "ab", "batch_size": 64, "seed": 1})
            while not work.done() and not seen:
                p = s.ask("GET", "/sdapi/v1/progress").json
                seen = 0 < p["progress"] < 1
            s.ask("POST", "/sdapi/v1/interrupt")
            a = work.result()
            check("interrupted", a.status == 200 and len(a.json["images"]) <= 64, a.status, a.body[:300])
            if seen:
                return
    print("        it was never seen at work")


# ---- diffusion models ----

def diffusion():
    """Beside a model that draws codes: samplers under both APIs' names, pictures that are changed, what a model tells."""
    path = os.path.join(folder.name, "sd.gguf")
    subprocess.run([LIMN, "convert", os.path.join(GOLDEN, "sd15"), "-o", path, "-q"], check=True)
    with Server(LIMN, "-m", MODEL, "-m", path) as s:
        def want(*options, **more):
            return drawn("a cat", "--steps", "3", "--seed", "5", *options, model=path, **more)

        def ask(**fields):
            return s.generate(model="sd", prompt="a cat", seed=5, steps=3, **fields)

        def web(kind="txt2img", **fields):
            a = s.ask("POST", "/sdapi/v1/" + kind, {"prompt": "a cat", "seed": 5, "steps": 3, **fields})
            check("web", a.status == 200, a.body[:500])
            return [base64.b64decode(p) for p in a.json["images"]], json.loads(a.json["info"])
        names = [x["name"] for x in s.ask("GET", "/sdapi/v1/samplers").json]
        check("samplers of codes", names == ["Gumbel-Max"], names)
        check("facts", s.ask("GET", "/v1/models/tiny").json["limn"]["samplers"] == [], "codes have none")
        same("own sampler", ask().pictures(), want())
        for sampler, spacing in (("euler_a", "trailing"), ("dpmpp_2m_karras", None)):
            options = ["--sampler", sampler] + (["--spacing", spacing] if spacing else [])
            same(sampler, ask(sampler=sampler, spacing=spacing).pictures(), want(*options))
        for fields, param in (({"sampler": "Euler a"}, "sampler"), ({"spacing": "none"}, "spacing"), ({"top_k": 3}, "top_k")):
            a = ask(**fields)
            check(param, a.status == 400 and a.error["param"] == param, a.status, a.body)
        facts = s.ask("GET", "/v1/models/sd").json["limn"]
        check("facts", "euler_a" in facts["samplers"] and facts["sampler"] in facts["samplers"] and facts["strength"] and
              facts["steps"] > 0 and facts["temperature"] is None and facts["size_step"] > 0, facts)
        s.ask("POST", "/sdapi/v1/options", {"sd_model_checkpoint": "sd"})
        names = [x["name"] for x in s.ask("GET", "/sdapi/v1/samplers").json]
        check("samplers", {"Euler", "Euler a", "DPM++ 2M", "DPM++ 2M Karras", "DDIM"} <= set(names), names)
        check("schedulers", [x["label"] for x in s.ask("GET", "/sdapi/v1/schedulers").json] == ["Automatic", "Karras"])
        for fields, sampler, title in [
                ({"sampler_name": "Euler a"}, "euler_a", "Euler a"), ({"sampler_index": "DDIM"}, "ddim", "DDIM"),
                ({"sampler_name": "DPM++ 2M", "scheduler": "Karras"}, "dpmpp_2m_karras", "DPM++ 2M Karras"),
                ({"sampler_name": "DPM++ 2M Karras", "scheduler": "automatic"}, "dpmpp_2m_karras", "DPM++ 2M Karras"),
                ({"sampler_name": "Euler a Karras"}, "euler_a", "Euler a"),
                ({"sampler_name": "Restart", "scheduler": "Align Your Steps"}, None, None)]:
            pictures, info = web(cfg_scale=4, **fields)
            same(str(fields), pictures, want("--guidance", "4", *(["--sampler", sampler] if sampler else [])))
            check("info", info["steps"] == 3 and info["cfg_scale"] == 4 and info["sampler_name"] == (title or
                  info["sampler_name"]) and info["infotexts"] == [settings(p) for p in pictures], info)
        files = [("p.png", PICTURE), ("m.png", LOWER_BLACK), ("w.png", LOWER_WHITE)]
        coded = base64.b64encode(PICTURE).decode()
        given = ["--image-prompt", "p.png"]
        same("img2img", web("img2img", init_images=[coded], denoising_strength=0.5, sampler_name="Euler")[0],
             want(*given, "--strength", "0.5", "--sampler", "euler", files=files))
        same("strength 0", web("img2img", init_images=[coded], denoising_strength=0)[0],
             web("img2img", init_images=[coded], denoising_strength=0, mask=base64.b64encode(LOWER_WHITE).decode())[0])
        # masks count by their pixels, as --mask reads them: these end inside of latents
        files += [("low.png", png(24, 24, bytes(0 if y < 11 else 255 for y in range(24) for x in range(24) for c in range(3))))]
        given += ["--sampler", "euler"]
        anew = want(*given, "--mask", "low.png", "--strength", "0.5", files=files)
        same("mask", web("img2img", init_images=[coded], denoising_strength=0.5, sampler_name="Euler",
                         mask=base64.b64encode(files[-1][1]).decode())[0], anew)
        a = s.post_form(EDITS, [("model", "sd"), ("prompt", "a cat"), ("seed", "5"), ("steps", "3"), ("sampler", "euler"),
                                ("strength", "0.5"), ("response_format", "b64_json"), ("image", ("p.png", PICTURE)),
                                ("mask", ("low.png", mask(lambda x, y: 255 if y < 11 else 0)))])
        same("edit", a.pictures(), anew)
        for keep in ("m.png", "left:0.3", "box:0.1,0.2,0.55,0.7"):
            a = s.post_form(EDITS, [("model", "sd"), ("prompt", "a cat"), ("seed", "5"), ("steps", "3"), ("sampler", "euler"),
                                    ("response_format", "b64_json"), ("image", ("p.png", PICTURE)),
                                    ("keep", ("m.png", LOWER_BLACK) if keep == "m.png" else keep)])
            same(keep, a.pictures(), want(*given, "--keep", keep, files=files))


# ---- who may call ----

def keys_and_sites():
    basic = "Basic " + base64.b64encode(b"anybody:secret").decode()
    with Server(LIMN, "-m", MODEL, "--api-key", "secret", "--origin", "https://own.example") as s:
        for key, status in [(None, 401), ("Bearer wrong", 401), ("Bearer ", 401),
                            ("bearer secret", 200), (basic, 200), ("Basic c2VjcmV0", 401), ("secret", 401)]:
            a = s.ask("GET", "/v1/models", headers={"Authorization": key} if key else {})
            check(str(key), a.status == status, a.status)
            if status == 401:
                check(str(key), a.error["code"] == "invalid_api_key" and "www-authenticate" in a.headers, a.body)
        for path in ("/v1/nothing", "/metrics", "/v1/jobs", "/sdapi/v1/progress"):
            check(path, s.ask("GET", path).status == 401)
        check("health", s.ask("GET", "/health").status == 200)
        a = s.ask("POST", GENERATIONS, {"prompt": "a"}, {"Authorization": "Bearer secret", "Origin": "https://own.example"})
        check("origin", a.headers.get("access-control-allow-origin") == "https://own.example", a.headers)
        a = s.ask("GET", a.json["data"][0]["url"].split(str(s.port), 1)[1])
        check("url without a key", a.status == 200)
        asks = {"Origin": "https://own.example", "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization, x-stainless-os"}
        a = s.ask("OPTIONS", GENERATIONS, headers=asks)
        check("preflight", a.status == 204 and a.headers["access-control-allow-origin"] == "https://own.example" and
              "x-stainless-os" in a.headers["access-control-allow-headers"], a.headers)
        a = s.ask("OPTIONS", GENERATIONS, headers={**asks, "Origin": "https://other.example"})
        check("other site", a.status == 403 and "access-control-allow-origin" not in a.headers, a.status, a.headers)
        if openai:
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{s.port}/v1", api_key="wrong", max_retries=0)
            try:
                client.images.generate(prompt="a")
                check("wrong key", False)
            except openai.AuthenticationError as e:
                check("wrong key", e.status_code == 401 and e.code == "invalid_api_key", e)


# ---- the unmodified client ----

def raises(name, kind, call, **wanted):
    try:
        call()
    except kind as e:
        for key, value in wanted.items():
            check(name, getattr(e, key) == value, key, getattr(e, key))
        return
    check(name, False, "no error")


def openai_client(s):
    c = openai.OpenAI(base_url=f"http://127.0.0.1:{s.port}/v1", api_key="any", max_retries=0)
    want = drawn("ab", "--seed", "7", count=2)
    r = c.images.generate(prompt="ab", n=2, response_format="b64_json", size="auto", quality="standard", user="me",
                          extra_body={"seed": 7})
    same("generate", [base64.b64decode(d.b64_json) for d in r.data], want)
    check("usage", r.usage.output_tokens > 0 and r.created > 0, r.usage)
    r = c.images.generate(model=MODEL_ID, prompt="ab", extra_body={"seed": 7})
    same("url", [s.ask("GET", r.data[0].url.split(str(s.port), 1)[1]).body], drawn("ab", "--seed", "7"))
    check("ten", len(c.images.generate(prompt="a", n=10).data) == 10)
    r = c.images.generate(prompt="ab", size="512x512", response_format="b64_json")
    check("512x512", pixels(base64.b64decode(r.data[0].b64_json))[:2] == (512, 512))
    for kind in ("png", "jpeg", "webp"):
        c.images.generate(prompt="ab", output_format=kind, output_compression=50, background="auto", moderation="auto")
    events = list(c.images.generate(prompt="ab", stream=True, partial_images=2, extra_body={"seed": 7}))
    check("stream", [e.type for e in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"])
    check("stream", [e.partial_image_index for e in events[:2]] == [0, 1] and events[2].usage.output_tokens > 0)
    want = drawn("b", "--seed", "5", "--image-prompt", "p.png", "--keep", "top:0.5", files=[("p.png", PICTURE)])
    for image in (("a.png", PICTURE), [("a.png", PICTURE)], [("a.png", PICTURE), ("b.png", PICTURE)]):
        r = c.images.edit(image=image, mask=("m.png", LOWER_OPEN), prompt="b", response_format="b64_json",
                          extra_body={"seed": 5})
        same("edit", [base64.b64decode(d.b64_json) for d in r.data], want)
    events = list(c.images.edit(image=("a.png", PICTURE), prompt="b", stream=True, partial_images=1))
    check("stream", [e.type for e in events] == ["image_edit.partial_image", "image_edit.completed"])
    if hasattr(c.images, "create_variation"):
        r = c.images.create_variation(image=("a.png", PICTURE), n=2, extra_body={"seed": 5})
        check("variations", len(r.data) == 2 and r.data[0].url)
    ids = [m.id for m in c.models.list()]
    check("models", ids == [MODEL_ID] and c.models.retrieve(MODEL_ID).id == MODEL_ID, ids)
    raises("model", openai.NotFoundError, lambda: c.models.retrieve("none"), code="model_not_found")
    raises("model", openai.NotFoundError, lambda: c.images.generate(prompt="a", model="dall-e-3"), code="model_not_found")
    raises("size", openai.BadRequestError, lambda: c.images.generate(prompt="a", size="huge"), param="size")
    raises("n", openai.BadRequestError, lambda: c.images.generate(prompt="a", n=0), param="n")
    raises("n", openai.BadRequestError, lambda: c.images.generate(prompt="a", extra_body={"n": "3"}), param="n")


def strict_sizes():
    with Server(LIMN, "-m", MODEL, "--strict-size") as s:
        check("own", s.generate(prompt="a", size=f"{SIDE}x{SIDE}").status == 200)
        a = s.generate(prompt="a", size="512x512")
        check("other", a.status == 400 and a.error["param"] == "size" and f"{SIDE}x{SIDE}" in a.error["message"], a.body)


def adapted():
    """Adapters and words of textual inversion: pictures and settings are those of limn generate with the same."""
    path, golden = os.path.join(folder.name, "sd.gguf"), os.path.join(GOLDEN, "sd15")
    subprocess.run([LIMN, "convert", golden, "-o", path, "-q"], check=True)
    with open(os.path.join(golden, "text_encoder", "config.json")) as f:
        dim = json.load(f)["hidden_size"]
    name = "lora_te_text_model_encoder_layers_0_self_attn_v_proj"
    shapes = {name + ".lora_down.weight": [1, dim], name + ".lora_up.weight": [dim, 1]}
    head = {k: {"dtype": "F32", "shape": v, "data_offsets": [i * 4 * dim, (i + 1) * 4 * dim]}
            for i, (k, v) in enumerate(shapes.items())}
    text = json.dumps(head).encode()
    lora = os.path.join(folder.name, "style.safetensors")
    with open(lora, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + struct.pack(f"<{2 * dim}f", *(i % 5 - 2 for i in range(2 * dim))))
    words = os.path.join(GOLDEN, "embeddings", "learned_embeds.bin") + ":zwx"
    options = ["--lora", lora + ":0.5", "--embedding", words]
    with Server(LIMN, "-m", path, *options) as s:
        have = s.generate(prompt="a zwx cat", seed=5, steps=2).pictures()
        want = drawn("a zwx cat", "--seed", "5", "--steps", "2", *options, model=path)
        same("adapted", have, want)
        check("adapted", settings(have[0]) == settings(want[0]) and "style" in settings(want[0]), settings(have[0]))
        for i in (0, 2):
            other = drawn("a zwx cat", "--seed", "5", "--steps", "2", *options[i:i + 2], model=path)
            check(options[i], pixels(other[0]) != pixels(have[0]), "it changes nothing")
    a = subprocess.run([LIMN, "serve", "--port", "0", "-m", path, "--lora", "none.safetensors"], capture_output=True, timeout=60)
    check("no adapter", a.returncode == 1 and b"--lora" in a.stderr, a.returncode, a.stderr)


if __name__ == "__main__":
    folder = tempfile.TemporaryDirectory()
    LIMN, MODEL, MODEL_ID = os.path.abspath(sys.argv[1]), tiny(sys.argv[2], folder.name), "tiny"
    with Server(LIMN, "-m", MODEL) as server:
        tests = [pictures_of_a_seed, urls, sizes, formats, what_is_wrong, streams, edits, forms_in_pieces, variations, models_and_jobs,
                 two_hundred_at_once, text_to_picture, picture_to_picture, other_paths, interrupted]
        if not openai:
            print("the openai package isn't there: its client isn't tried (pip install openai)")
        status = run(tests + ([openai_client] if openai else []), server)
    sys.exit(run([keys_and_sites, strict_sizes, diffusion, adapted]) or status)
