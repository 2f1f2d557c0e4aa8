"""Pictures are those of the command line, and what is asked for wrongly is a Python error."""

import json
import warnings

import limn
import numpy as np
import PIL.Image
import pytest
from conftest import DATA

PROMPT = "a cat to the left of a dog"  # the model is less sure of it than of one thing


def same(picture, path):
    return equal(picture, PIL.Image.open(path).convert("RGB"))


def equal(a, b):
    """Of pictures, or lists of them: pixels alone."""
    return np.array_equal(np.asarray(a), np.asarray(b))


def test_a_picture_is_that_of_the_command_line(model, program, tmp_path):
    out = tmp_path / "out.png"
    program("generate", PROMPT, "--seed", 7, "--temperature", 1, "-o", out)
    p = model.generate(PROMPT, seed=7, temperature=1)
    assert isinstance(p, PIL.Image.Image) and p.mode == "RGB" and p.size == (model.info.width, model.info.height)
    assert same(p, out)
    assert p.info == PIL.Image.open(out).info
    p.save(tmp_path / "saved.png")
    assert same(p, tmp_path / "saved.png") and PIL.Image.open(tmp_path / "saved.png").info == p.info


def test_several_pictures_and_later_ones(model, program, tmp_path):
    program("generate", PROMPT, "--seed", 2**64 - 1, "--temperature", 1, "-n", 3, "-o", tmp_path / "o.png")
    ps = model.generate(PROMPT, n=3, seed=np.uint64(2**64 - 1), temperature=np.float32(1))
    assert isinstance(ps, list) and len(ps) == 3
    for i, p in enumerate(ps):
        path = tmp_path / f"o-{i + 1}.png"
        assert same(p, path) and p.info == PIL.Image.open(path).info
    later = model.generate(PROMPT, n=1, first=2, seed=2**64 - 1, temperature=1)
    assert isinstance(later, list) and later[0] == ps[2] and later[0].info == ps[2].info


def test_settings_change_pictures_as_on_the_command_line(model, program, tmp_path):
    out = tmp_path / "out.png"
    program("generate", PROMPT, "--seed", 3, "--temperature", 0.9, "--top-k", 5, "--top-p", 0.8, "--guidance", 2,
            "--negative", "a dog", "--kv-cache", "f16", "--draft", 4, "-o", out)  # fmt: skip
    p = model.generate(PROMPT, seed=np.int32(3), temperature=0.9, top_k=np.int64(5), top_p=0.8, guidance=2,
                       negative="a dog", kv_cache="f16", draft=4)  # fmt: skip
    assert same(p, out) and p.info == PIL.Image.open(out).info
    program("generate", "é ☃", "--seed", 3, "--temperature", 0, "-o", out)
    p = model.generate("é ☃", seed=3, temperature=0)
    assert same(p, out) and p.info == PIL.Image.open(out).info


def test_token_ids_stand_for_a_prompt(model, program, tmp_path):
    ids = model.tokenize(PROMPT)
    assert ids.dtype == np.int32 and ids.ndim == 1
    np.save(tmp_path / "ids.npy", ids)
    program("generate", "--text-ids", tmp_path / "ids.npy", "--seed", 3, "-o", tmp_path / "out.png")
    p = model.generate(ids, seed=3)
    assert same(p, tmp_path / "out.png") and p.info == PIL.Image.open(tmp_path / "out.png").info
    assert equal(p, model.generate(PROMPT, seed=3)) and equal(p, model.generate(list(ids), seed=3))
    assert model.token(int(ids[0])) and model.token(10**9) is None
    text = model.generate(np.empty(0, np.int32), seed=3).info["parameters"]
    assert 'Text ids: "", ' in text


def test_codes(model, program, tmp_path):
    program("generate", PROMPT, "--seed", 7, "--temperature", 1, "-n", 2, "--codes-out", tmp_path / "c.npy",
            "-o", tmp_path / "out.png")  # fmt: skip
    codes = model.generate_codes(PROMPT, n=2, seed=7, temperature=1)
    cells = model.info.grid_width * model.info.grid_height
    assert codes.dtype == np.int32 and codes.shape == (2, cells)
    assert np.array_equal(codes, np.load(tmp_path / "c.npy"))
    pictures = model.decode(codes)
    assert equal(pictures, model.generate(PROMPT, n=2, seed=7, temperature=1))
    assert equal(model.decode(codes[1]), pictures[1])
    assert equal(model.decode(codes.astype(np.int64).reshape(2, model.info.grid_height, -1)), pictures)
    assert model.decode(np.empty((0, cells), np.int32)) == []
    pixels = model.decode(codes, as_array=True)
    assert pixels.dtype == np.uint8 and pixels.shape == (2, model.info.height, model.info.width, 3)
    program("encode", tmp_path / "out-1.png", "-o", tmp_path / "e.npy")
    want = np.load(tmp_path / "e.npy")
    for picture in (pictures[0], pixels[0], tmp_path / "out-1.png", str(tmp_path / "out-1.png"),
                    bytes(tmp_path / "out-1.png"), pixels[:1], [pictures[0]]):  # fmt: skip
        assert np.array_equal(model.encode(picture), want)
    assert model.encode([pictures[0], pixels[1]]).shape == (2, cells)


def test_arrays(model):
    one = model.generate(PROMPT, seed=1, as_array=True)
    assert one.dtype == np.uint8 and one.shape == (model.info.height, model.info.width, 3)
    two = model.generate(PROMPT, n=2, seed=1, as_array=True)
    assert two.shape == (2, *one.shape) and np.array_equal(two[0], one)


def test_an_image_prompt(model, program, tmp_path):
    dog, mask, out = tmp_path / "dog.png", tmp_path / "mask.png", tmp_path / "out.png"
    model.generate("a dog", seed=1).save(dog)
    size = 2 * model.info.width  # the mask is resized, like the picture
    white = np.zeros((size, size), np.uint8)
    white[:, : size // 2] = 255
    PIL.Image.fromarray(white).save(mask)
    clear = np.dstack([np.asarray(PIL.Image.open(dog)), white[::2, ::2]])
    PIL.Image.fromarray(clear).save(tmp_path / "clear.png")

    def drawn(*options, image_prompt, keep=None):
        program("generate", "a cat", "--seed", 5, *options, "-o", out)
        p = model.generate("a cat", seed=5, image_prompt=image_prompt, keep=keep)
        assert same(p, out)
        return p.info["parameters"], PIL.Image.open(out).info["parameters"]

    a, b = drawn("--image-prompt", dog, image_prompt=dog)
    assert a == b and 'Keep: "top:0.5"' in a
    a, b = drawn("--image-prompt", dog, "--keep", mask, image_prompt=dog, keep=mask)
    assert a == b
    a, b = drawn("--image-prompt", dog, "--keep", "box:0.25,0,0.5,1", image_prompt=str(dog), keep="box:0.25,0,0.5,1")
    assert a == b
    cells = np.zeros((model.info.grid_height, model.info.grid_width), bool)
    cells[:, : cells.shape[1] // 2] = True
    want = model.generate("a cat", seed=5, image_prompt=dog, keep=mask)
    for keep in (PIL.Image.open(mask), white, cells, cells.reshape(-1), str(mask), bytes(mask)):
        assert equal(model.generate("a cat", seed=5, image_prompt=PIL.Image.open(dog), keep=keep), want)
    a, b = drawn("--image-prompt", tmp_path / "clear.png", image_prompt=tmp_path / "clear.png")
    assert a == b
    want = model.generate("a cat", seed=5, image_prompt=tmp_path / "clear.png")
    assert equal(model.generate("a cat", seed=5, image_prompt=clear), want)
    kept = model.generate_codes("a cat", seed=5, image_prompt=dog, keep=cells)
    assert np.array_equal(kept[0][cells.reshape(-1)], model.encode(dog)[0][cells.reshape(-1)])
    with pytest.raises(limn.UsageError, match="image_prompt"):
        model.generate("a cat", keep=cells)
    for keep in ("top:", "top:2", "left:0", "none.png", "word:1"):
        with pytest.raises(limn.Error, match="keep|none.png"):
            model.generate("a cat", image_prompt=dog, keep=keep)
    with pytest.raises(ValueError, match="cells"):
        model.generate("a cat", image_prompt=dog, keep=cells[1:])


def test_pictures_keep_their_settings(model, program, tmp_path):
    p = model.generate('a frog, "green"\n☃', seed=1)
    text = p.info["parameters"]
    for name in ("x.png", "x.jpg", "x.webp"):
        p.copy().save(tmp_path / name)
        assert "Seed: 1" in program("inspect", tmp_path / name)
        program("generate", "--like", tmp_path / name, "-o", tmp_path / "again.png")
        assert PIL.Image.open(tmp_path / "again.png").info["parameters"] == text
    with open(tmp_path / "no_ending", "wb") as f:
        p.save(f, "PNG")
    assert PIL.Image.open(tmp_path / "no_ending").info["parameters"] == text
    p.resize((32, 32)).save(tmp_path / "small.png")
    p.save(tmp_path / "x.bmp")


def test_a_seed_is_told_where_none_was_given(model):
    p = model.generate(PROMPT, temperature=1)
    seed = int(p.info["parameters"].split("Seed: ")[1].split(",")[0])
    assert 0 <= seed < 2**32 and equal(p, model.generate(PROMPT, seed=seed, temperature=1))


def test_progress(model):
    seen = []
    model.generate(PROMPT, n=3, seed=1, progress=lambda done, total: seen.append((done, total)))
    total = 3 * model.info.grid_width * model.info.grid_height
    assert seen == sorted(seen) and seen[-1] == (total, total) and len(seen) >= 3
    with pytest.raises(limn.Interrupted):
        model.generate(PROMPT, n=3, seed=1, progress=lambda done, total: done < total // 2)
    with pytest.raises(ZeroDivisionError):
        model.generate(PROMPT, n=3, seed=1, progress=lambda done, total: 1 / 0)
    # it may use the model
    model.generate(PROMPT, seed=1, progress=lambda done, total: model.tokenize("x") is not None)
    with pytest.raises(limn.Interrupted):
        model.decode(model.generate_codes(PROMPT, n=9, seed=1), progress=lambda done, total: False)


@pytest.mark.parametrize(
    "error, prompt, settings",
    [
        (TypeError, None, {}),
        (TypeError, b"bytes", {}),
        (TypeError, 3, {}),
        (TypeError, [1.5], {}),
        (TypeError, "a", {"seed": 1.5}),
        (TypeError, "a", {"seed": "1"}),
        (TypeError, "a", {"n": 1.0}),
        (TypeError, "a", {"temperature": "1"}),
        (TypeError, "a", {"negative": b"x"}),
        (TypeError, "a", {"sead": 1}),
        (TypeError, "a", {"image_prompt": 3}),
        (TypeError, "a", {"image_prompt": np.zeros((8, 8, 3))}),
        (ValueError, "a\0b", {}),
        (ValueError, "\ud800", {}),
        (ValueError, "a", {"negative": "\udfff"}),
        (ValueError, "a", {"seed": -1}),
        (ValueError, "a", {"seed": 2**64}),
        (ValueError, "a", {"seed": np.int64(-1)}),
        (ValueError, "a", {"n": 0}),
        (ValueError, "a", {"n": -1}),
        (ValueError, "a", {"first": -1}),
        (ValueError, "a", {"first": 2**31}),
        (ValueError, "a", {"temperature": -1}),
        (ValueError, "a", {"temperature": float("nan")}),
        (ValueError, "a", {"temperature": float("inf")}),
        (ValueError, "a", {"top_k": -1}),
        (ValueError, "a", {"top_p": 1.1}),
        (ValueError, "a", {"guidance": -0.1}),
        (ValueError, "a", {"draft": 33}),
        (ValueError, "a", {"kv_cache": "f8"}),
        (ValueError, "a", {"steps": 5}),
        (ValueError, "a", {"strength": 0.5}),
        (ValueError, "a", {"noise": np.zeros((1, 4, 8, 8), np.float32)}),
        (ValueError, "a", {"image_prompt": np.zeros((8, 8, 2), np.uint8)}),
        (ValueError, [10**6], {}),
        (ValueError, [2**40], {}),
        (limn.Error, "a", {"image_prompt": "there/is/none.png"}),
    ],
)
def test_what_is_wrong_is_a_python_error(model, error, prompt, settings):
    with pytest.raises(error) as e:
        model.generate(prompt, **settings)
    assert str(e.value)
    with pytest.raises(error):
        model.generate_codes(prompt, **settings)


def test_wrong_codes_and_pictures(model):
    cells = model.info.grid_width * model.info.grid_height
    with pytest.raises(ValueError, match="shape"):
        model.decode(np.zeros(cells - 1, np.int32))
    with pytest.raises(ValueError):
        model.decode(np.full(cells, model.info.codebook))
    with pytest.raises(ValueError):
        model.decode(np.full(cells, -1))
    with pytest.raises(ValueError):
        model.decode(np.full(cells, 2**40))
    with pytest.raises(TypeError):
        model.decode(np.zeros(cells))
    with pytest.raises(TypeError):
        model.encode(None)
    with pytest.raises(TypeError, match="uint8"):
        model.encode(np.zeros((8, 8, 3)))


def test_negative_without_guidance_is_warned_of(model):
    with pytest.warns(UserWarning, match="guidance"):
        p = model.generate(PROMPT, seed=1, negative="a dog")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert equal(p, model.generate(PROMPT, seed=1))


def test_models_that_fill_all_cells_at_once(amused, program, tmp_path):
    def same_settings(p, q):
        return p.info == PIL.Image.open(q).info

    with limn.Model(amused) as m:
        picture = np.random.default_rng(1).integers(0, 256, (m.info.height, m.info.width, 3), np.uint8)
        PIL.Image.fromarray(picture).save(tmp_path / "in.png")
        program("generate", "a cat", "-m", amused, "--seed", 3, "--steps", 4, "-o", tmp_path / "steps.png")
        p = m.generate("a cat", seed=3, steps=4)
        assert same(p, tmp_path / "steps.png") and same_settings(p, tmp_path / "steps.png")
        program("generate", "a cat", "-m", amused, "--seed", 3, "--image-prompt", tmp_path / "in.png", "--strength", 0.6,
                "-o", tmp_path / "changed.png")  # fmt: skip
        p = m.generate("a cat", seed=3, image_prompt=tmp_path / "in.png", strength=0.6)
        assert same(p, tmp_path / "changed.png") and same_settings(p, tmp_path / "changed.png")
        assert same(m.generate("a cat", seed=3, image_prompt=picture, strength=0.6), tmp_path / "changed.png")


def test_diffusion_models(program, tmp_path):
    path, out, latents = tmp_path / "sd.gguf", tmp_path / "out.png", tmp_path / "latents.npy"
    limn.convert(DATA / "golden" / "diffusion" / "sd15", path)
    with limn.Model(path) as m:
        given = {"steps": 3, "sampler": "euler_a", "guidance": 4, "negative": "a dog"}
        options = [x for k, v in given.items() for x in (f"--{k}", v)]
        program("generate", "a cat", "-m", path, "--seed", 3, *options, "-o", out, "--latents-out", latents)
        p = m.generate("a cat", seed=3, **given)
        assert same(p, out) and p.info == PIL.Image.open(out).info
        z = m.generate_codes("a cat", seed=3, **given)
        assert z.dtype == np.float32 and np.array_equal(z, np.load(latents))
        assert equal(m.decode(z), [p]) and equal(m.decode(z[0]), p) and m.decode(z[:0]) == []
        program("encode", out, "-m", path, "-o", latents)
        assert np.array_equal(m.encode(p), np.load(latents))
        mask = tmp_path / "mask.png"
        white = np.zeros((m.info.height, m.info.width), np.uint8)
        white[:, : m.info.width // 2] = 255
        PIL.Image.fromarray(white).save(mask)
        for name, value in (("strength", 0.5), ("mask", mask), ("keep", "left:0.5"), ("keep", mask)):
            program("generate", "a cat", "-m", path, "--steps", 3, "--seed", 3, "--image-prompt", out, f"--{name}", value,
                    "-o", tmp_path / "changed.png")  # fmt: skip
            q = m.generate("a cat", seed=3, steps=3, image_prompt=out, **{name: value})
            assert same(q, tmp_path / "changed.png") and q.info == PIL.Image.open(tmp_path / "changed.png").info
        assert equal(q, m.generate("a cat", seed=3, steps=3, image_prompt=p, keep=white))
        with pytest.raises(limn.UsageError, match="mask"):
            m.generate("a cat", image_prompt=p, keep=white, mask=white)
        with pytest.raises(TypeError):
            m.decode(np.zeros((1, 8), np.int32))
        with pytest.raises(ValueError, match="shape"):
            m.decode(z[:, :1])
        with pytest.raises(limn.UsageError, match="sampler"):
            m.generate("a cat", sampler="none")
        h, w = z.shape[2:]
        half = np.zeros((h, w), bool)
        half[:, : w // 2] = True
        left = m.generate("a cat", seed=3, steps=3, image_prompt=out, keep="left:0.5")
        assert equal(left, m.generate("a cat", seed=3, steps=3, image_prompt=out, keep=half))
        noise = np.random.default_rng(1).standard_normal((1, *z.shape[1:]), np.float32)
        np.save(tmp_path / "noise.npy", noise)
        program("generate", "a cat", "-m", path, "--steps", 3, "--sampler", "ddim", "--noise", tmp_path / "noise.npy",
                "--seed", 3, "-o", tmp_path / "given.png")  # fmt: skip
        given = m.generate("a cat", seed=3, steps=3, sampler="ddim", noise=noise)
        assert same(given, tmp_path / "given.png")
        assert equal(given, m.generate("a cat", seed=4, steps=3, sampler="ddim", noise=noise[0].astype(np.float64)))


def test_embeddings(program, tmp_path):
    path, out, words = tmp_path / "sd.gguf", tmp_path / "out.png", DATA / "golden" / "diffusion" / "embeddings"
    limn.convert(DATA / "golden" / "diffusion" / "sd15", path)
    program("generate", "a cat, two-words", "-m", path, "--seed", 3, "--steps", 2, "--embedding", words / "two-words.pt",
            "-o", out)  # fmt: skip
    for embeddings in (words / "two-words.pt", [words / "two-words.pt"], {"<it>": words / "two-words.pt"}):
        with limn.Model(path, embeddings=embeddings) as m:
            word = "<it>" if isinstance(embeddings, dict) else "two-words"
            assert len(m.tokenize(word)) == 4 and m.info.text_vocabulary == 716
            assert same(m.generate(f"a cat, {word}", seed=3, steps=2), out)
    with pytest.raises(limn.Error, match="32 numbers|is no word"):
        limn.Model(path, embeddings={"two words": words / "two-words.pt"})
    with pytest.raises(TypeError):
        limn.Model(path, embeddings=3)
        for wrong in (noise[:, :1], noise[:0]):
            with pytest.raises(ValueError, match="noise"):
                m.generate("a cat", noise=wrong)
        with pytest.raises(TypeError, match="noise"):
            m.generate("a cat", noise=noise.astype(np.int32))
        with pytest.raises(limn.UsageError, match="noise"):  # each of its steps draws some
            m.generate("a cat", steps=3, sampler="euler_a", noise=noise)


def test_scores(model, program, tmp_path):
    p = model.generate(PROMPT, seed=1)
    p.save(tmp_path / "p.png")
    want = json.loads(program("score", "--text", PROMPT, "--image", tmp_path / "p.png", "--json"))
    want = want[0] if isinstance(want, list) else want
    s = model.score(PROMPT, p)
    for name in ("image_log_likelihood", "image_bits_per_token", "image_tokens", "text_log_likelihood", "text_tokens"):
        assert getattr(s, name) == pytest.approx(want[name], rel=1e-6)
    codes = model.encode(p)
    assert model.score(PROMPT, codes[0]) == s and model.score(PROMPT, codes) == [s]
    assert model.score(model.tokenize(PROMPT), tmp_path / "p.png") == s and model.score(PROMPT, [p, p]) == [s, s]
    if not model.info.has_clip:
        with pytest.raises(limn.UsageError, match="CLIP"):
            model.rank(PROMPT, [p])


def test_ranks(tmp_path):
    path = tmp_path / "clip.gguf"
    limn.convert(DATA / "clip" / "huggingface", path)
    pictures = [np.random.default_rng(i).integers(0, 256, (40 + i, 50, 3), np.uint8) for i in range(3)]
    with limn.Model(path) as m:
        scores = m.rank("a cat", pictures)
        assert scores.dtype == np.float32 and scores.shape == (3,) and np.all(np.abs(scores) <= 1)
        assert m.rank("a cat", pictures[1])[0] == scores[1]
        clear = np.dstack([pictures[0], np.full(pictures[0].shape[:2], 255, np.uint8)])
        assert m.rank("a cat", [PIL.Image.fromarray(clear)])[0] == scores[0]
        with pytest.raises(limn.UsageError):
            m.generate("a cat")
        with pytest.raises(limn.UsageError):
            m.generate_codes("a cat")


def test_unclip(program, tmp_path):
    path, out, prompt = tmp_path / "karlo.gguf", tmp_path / "out.png", tmp_path / "in.png"
    limn.convert(DATA / "golden" / "unclip", path)
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(prompt)
    few = {"steps": 2, "prior_steps": 3, "super_steps": 2, "guidance": 3, "prior_guidance": 2}
    options = [x for k, v in few.items() for x in (f"--{k.replace('_', '-')}", v)]
    with limn.Model(path) as m:
        assert m.info.has_prior and m.info.has_image_encoder and m.info.default_super_steps == 7
        program("generate", "a cat", "-m", path, "--seed", 3, *options, "-o", out)
        p = m.generate("a cat", seed=3, **few)
        assert same(p, out) and p.info == PIL.Image.open(out).info
        program("generate", "-m", path, "--seed", 3, "--variations", 2, "--image-prompt", prompt, *options, "-o", out)
        varied = m.generate("", seed=3, image_prompt=prompt, n=2, **few)
        for i, q in enumerate(varied):
            assert same(q, tmp_path / f"out-{i + 1}.png") and q.info == PIL.Image.open(tmp_path / f"out-{i + 1}.png").info
        assert equal(m.generate("", seed=3, image_prompt=pixels, n=2, **few), varied)
        ends = (
            ("prompt_to", "a dog", ["a cat", "a dog"], "a cat"),
            ("image_to", prompt, ["--image-prompt", out.with_name("out-1.png"), "--image-prompt", prompt], ""),
        )
        for name, end, given, text in ends:
            image = out.with_name("out-1.png") if name == "image_to" else None
            program("generate", *given, "-m", path, "--seed", 3, "--interpolate", 3, *options, "-o", tmp_path / "way.png")
            way = m.generate(text, seed=3, image_prompt=image, between=3, n=3, **{name: end}, **few)
            for i, q in enumerate(way):
                own = PIL.Image.open(tmp_path / f"way-{i + 1}.png")
                assert same(q, own.filename) and q.info == own.info
            program("generate", "-m", path, "--like", tmp_path / "way-2.png", "-o", tmp_path / "like.png")
            like = PIL.Image.open(tmp_path / "like.png")
            assert same(way[1], like.filename) and like.info == way[1].info
        with pytest.raises(limn.UsageError, match="keep"):
            m.generate("a cat", image_prompt=prompt, keep="left:0.5")
        with pytest.raises(limn.UsageError, match="between"):
            m.generate("a cat", prompt_to="a dog")
    with limn.Model() as m, pytest.raises(limn.UsageError, match="between|image"):
        m.generate("a cat", image_to=prompt, seed=1)
