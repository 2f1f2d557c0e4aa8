"""inspect and convert, and what a wheel is made of."""

import json
import shutil
import subprocess
import sys

import limn
import pytest
from conftest import DATA, ROOT

CLIP = DATA / "clip" / "huggingface"


def test_inspect(program):
    i = limn.inspect()
    assert i.format == "gguf" and i.keys["limn.image.width"] == 64 and i.family is None and not i.shards
    assert isinstance(i.keys["general.name"], str)
    t = {t.name: t for t in i.tensors}["codec.codebook.weight"]
    assert len(t.shape) == 2 and t.bytes > 0 and t.type in ("f16", "f32")
    folder = limn.inspect(CLIP)
    assert folder.format == "folder" and folder.family == "clip" and folder.note is None
    with pytest.raises(limn.Error, match="none"):
        limn.inspect("none.gguf")
    with pytest.raises(TypeError):
        limn.inspect(3)


def test_convert(program, tmp_path):
    out, same = tmp_path / "a.gguf", tmp_path / "b.gguf"
    program("convert", CLIP, "-o", out, "--type", "q8_0")
    seen = []
    limn.convert([CLIP], bytes(same), type="q8_0", progress=lambda *n: seen.append(n))
    assert out.read_bytes() == same.read_bytes()
    assert seen and seen[-1][0] <= seen[-1][1]
    before = same.read_bytes()
    with pytest.raises(limn.Interrupted):
        limn.convert(CLIP, same, progress=lambda done, total: False)
    with pytest.raises(ZeroDivisionError):
        limn.convert(CLIP, same, progress=lambda done, total: 1 / 0)
    assert same.read_bytes() == before
    with pytest.raises(limn.Error, match="q9"):
        limn.convert(CLIP, same, type="q9")
    with pytest.raises(limn.Error):
        limn.convert(CLIP, same, settings={"no_such": 1})
    with pytest.raises(limn.Error):
        limn.convert([], same)
    with pytest.raises(TypeError):
        limn.convert(None, same)
    info = json.loads(program("inspect", same, "--json"))
    assert info


@pytest.mark.skipif(not shutil.which("cmake"), reason="CMake isn't there")
def test_a_wheel_takes_no_other_library(tmp_path):
    """The table of functions and structs is made of limn.h: a library of another one would be called wrongly."""
    done = subprocess.run(
        ["cmake", "-S", ROOT / "src" / "python", "-B", tmp_path, f"-DLIMN_LIBRARY={sys.executable}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and "was built with another limn.h" in " ".join(done.stderr.split()), done.stderr
