"""The front ends' parts in tools/frontends: the nodes of ComfyUI, and what Open WebUI asks a server for."""

import base64
import io
import json
import re
import subprocess
import sys
import types
import urllib.error
import urllib.request

import numpy as np
import PIL.Image
import pytest
from conftest import ROOT

FRONTENDS = ROOT / "tools" / "frontends"


# ---- ComfyUI ----


@pytest.fixture(scope="module")
def nodes():
    """The node classes, as ComfyUI imports them.  Where PyTorch isn't there, arrays stand in for its tensors."""
    try:
        import torch  # noqa: F401
    except ImportError:
        stand_in = types.ModuleType("torch")
        stand_in.from_numpy = lambda a: a
        sys.modules["torch"] = stand_in
    sys.path.insert(0, str(FRONTENDS / "comfyui"))
    import limn_nodes

    return limn_nodes.NODE_CLASS_MAPPINGS


def check_inputs(kind, values):
    """As ComfyUI's prompt is validated: what is required is there, and numbers are in their ranges."""
    types_of = kind.INPUT_TYPES()
    assert set(types_of["required"]) <= set(values) <= set(types_of["required"]) | set(types_of.get("optional", ()))
    for name, value in values.items():
        form = {**types_of["required"], **types_of.get("optional", {})}[name]
        if isinstance(form[0], list):
            assert value in form[0]
        elif form[0] in ("INT", "FLOAT"):
            assert form[1]["min"] <= value <= form[1]["max"]


def run_workflow(nodes, workflow):
    """The outputs of each node of an API-format workflow, in the order of its links."""
    done = {}

    def outputs(id):
        if id not in done:
            kind = nodes[workflow[id]["class_type"]]
            values = workflow[id]["inputs"]
            check_inputs(kind, values)
            values = {k: outputs(v[0])[v[1]] if isinstance(v, list) else v for k, v in values.items()}
            done[id] = getattr(kind(), kind.FUNCTION)(**values)
            assert len(done[id]) == len(kind.RETURN_TYPES)
        return done[id]

    for id in workflow:
        if workflow[id]["class_type"] in nodes:
            outputs(id)
    return done


def test_the_workflow_draws(nodes, model):
    workflow = json.loads((FRONTENDS / "comfyui" / "workflow.json").read_text())
    pictures, settings = run_workflow(nodes, workflow)["2"]
    a = np.asarray(pictures)
    want = model.generate(workflow["2"]["inputs"]["prompt"], seed=1)
    assert a.dtype == np.float32 and a.shape == (1, model.info.height, model.info.width, 3)
    assert np.array_equal(np.rint(255 * a[0]), np.asarray(want)) and settings == want.info["parameters"]


def test_nodes_take_pictures_and_masks(nodes, model):
    import torch

    generate = nodes["LimnGenerate"]().generate
    before = model.generate("a dog", seed=1, as_array=True)
    image = torch.from_numpy(before[None].astype(np.float32) / 255)
    mask = np.zeros((1, *before.shape[:2]), np.float32)
    mask[:, :, before.shape[1] // 2 :] = 1  # the right half is drawn anew
    pictures, settings = generate(model, "a cat", 5, count=2, temperature=1, image_prompt=image, mask=torch.from_numpy(mask))
    keep = 255 - 255 * mask[0].astype(np.uint8)
    want = model.generate("a cat", n=2, seed=5, temperature=1, image_prompt=before, keep=keep, as_array=True)
    assert np.array_equal(np.rint(255 * np.asarray(pictures)), want) and "Temperature: 1" in settings


# ---- Open WebUI ----


@pytest.fixture(scope="module")
def server(program):
    process = subprocess.Popen([program.path, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"serves at (http://[^ ]+)", line):
                break
        else:
            text = "".join(said)
            if "libmicrohttpd" in text or "unknown" in text:
                pytest.skip(f"no server: {text}")
            pytest.fail(text)
        yield found[1]
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def settings():
    """tools/frontends/open-webui/limn.env."""
    lines = (FRONTENDS / "open-webui" / "limn.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def post(url, data, headers):
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=120) as r:
        return json.load(r)


def test_open_webui_draws(server, settings, model):
    """The request of image_generations in its backend/open_webui/routers/images.py."""
    base = settings["IMAGES_OPENAI_API_BASE_URL"].replace("http://127.0.0.1:8080", server)
    data = {
        "model": settings["IMAGE_GENERATION_MODEL"],
        "prompt": "a panda",
        "n": 2,
        "size": settings["IMAGE_SIZE"],
        "response_format": "b64_json",
    }
    headers = {"Authorization": f"Bearer {settings['IMAGES_OPENAI_API_KEY']}", "Content-Type": "application/json"}
    answer = post(f"{base}/images/generations?api-version=2024-02-01", json.dumps(data).encode(), headers)
    assert len(answer["data"]) == 2
    for image in answer["data"]:
        p = PIL.Image.open(io.BytesIO(base64.b64decode(image["b64_json"])))
        assert p.format == "PNG" and f"{p.width}x{p.height}" == settings["IMAGE_SIZE"]
    seed = int(p.info["parameters"].split("Seed: ")[1].split(",")[0])
    data.update(n=1, size=f"{model.info.width}x{model.info.height}", seed=seed)  # IMAGES_OPENAI_API_PARAMS adds fields
    answer = post(f"{base}/images/generations", json.dumps(data).encode(), headers)
    p = PIL.Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"])))
    assert np.array_equal(np.asarray(p), np.asarray(model.generate("a panda", seed=seed)))


def form(fields, files):
    """A multipart body as aiohttp's FormData writes it: texts have a type of their own."""
    boundary = "0123456789abcdef0123456789abcdef"
    parts = []
    for name, value in fields.items():
        parts.append(
            (f'Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name="{name}"', value.encode())
        )
    for name, file, data in files:
        head = f'Content-Type: image/png\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"'
        parts.append((head, data))
    body = b"".join(b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary.encode(), h.encode(), d) for h, d in parts)
    return body + b"--%s--\r\n" % boundary.encode(), f"multipart/form-data; boundary={boundary}"


def test_open_webui_edits(server, settings, model):
    """The request of image_edits there: one picture as image, several as image[]."""
    base = settings["IMAGES_EDIT_OPENAI_API_BASE_URL"].replace("http://127.0.0.1:8080", server)
    file = io.BytesIO()
    model.generate("a dog", seed=1).save(file, "PNG")
    fields = {"model": settings["IMAGE_EDIT_MODEL"], "prompt": "a cat", "n": "1", "response_format": "b64_json"}
    for name in ("image", "image[]"):
        body, kind = form(fields, [(name, "0b5c.png", file.getvalue())])
        headers = {"Authorization": f"Bearer {settings['IMAGES_EDIT_OPENAI_API_KEY']}", "Content-Type": kind}
        answer = post(f"{base}/images/edits", body, headers)
        p = PIL.Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"])))
        assert p.format == "PNG" and len(answer["data"]) == 1


def test_open_webui_asks_for_models(server, settings):
    with urllib.request.urlopen(f"{server}/v1/models", timeout=60) as r:
        ids = [m["id"] for m in json.load(r)["data"]]
    assert settings["IMAGE_GENERATION_MODEL"] in ids
    with pytest.raises(urllib.error.HTTPError) as e:
        post(f"{server}/v1/images/generations", b'{"model": "dall-e-2", "prompt": "a"}', {})
    assert e.value.code == 404
