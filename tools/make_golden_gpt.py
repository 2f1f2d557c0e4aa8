#!/usr/bin/env python3
"""Writes tests/data/gpts.json, gpts.safetensors and tests/data/gpt/: tiny instances of published GPTs over image codes,
with the logits and the greedy codes of the same networks in PyTorch, and tokenizers with what their authors' code makes
of texts.

Needs torch, safetensors and tokenizers.  The networks below were compared with the authors' own code by the results of
limn, which agrees with both.  Weights are as in make_golden_codecs.py: hashes of names, not stored.  YouTokenToMe builds
on Python 3.9 alone, so its part is another run: `python3.9 tools/make_golden_gpt.py --youtokentome`.
"""
import json
import math
import sys
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
CELLS, SIDE = 16, 4
TEXTS = ["a cat", "An armchair in the shape of an avocado", "  Hello,   WORLD!!  42 times  ", "naïve CAFÉ – Zürich “x”",
         "日本語 テキスト", "tab\tnew\nline\x07bell", "[UNK] and [PAD]s [unk]", "", "İstanbul ΣΑΣ 𝒳", "_under-score/slash",
         "the quick brown fox jumps over the lazy dog " * 9]
RUSSIAN = ["кот", "Красивая тян из аниме", "  Привет,   МИР!  42 ", "日本 кот дом", "", "\u2581кот\u2581дом", "ёж\tи\nуж",
           "xyz кот абвгд" * 3]


def youtokentome():
    import youtokentome
    corpus = Path("/tmp/corpus.txt")
    corpus.write_text(("кот дом кот и дом красивая картина кошка на окне привет мир и мир\nуж ёж нож рожь тян из аниме\n")
                      * 20, encoding="utf-8")
    (DATA / "gpt" / "yttm").mkdir(parents=True, exist_ok=True)
    path = str(DATA / "gpt" / "yttm" / "bpe.model")
    model = youtokentome.BPE.train(str(corpus), path, vocab_size=70)
    cases = []
    for text in RUSSIAN:
        ids = model.encode([text.lower().strip()], output_type=youtokentome.OutputType.ID)[0]
        cases.append({"text": text, "ids": [2] + ids + [3]})
    (DATA / "gpt" / "yttm_cases.json").write_text(json.dumps(cases, ensure_ascii=False, indent=0) + "\n", "utf-8")


def char_bpe():
    from tokenizers import CharBPETokenizer
    folder = DATA / "gpt" / "char_bpe"
    folder.mkdir(parents=True, exist_ok=True)
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(TEXTS[:6]).replace("[", "") + "\na photograph of the cafe in the shape of a world\n" * 3)
    t = CharBPETokenizer(lowercase=True, unk_token="[UNK]")
    t.train([str(corpus)], vocab_size=150, min_frequency=1, special_tokens=["[UNK]", "[PAD]"], show_progress=False)
    corpus.unlink()
    t.save_model(str(folder), "bpe-16k")
    t = CharBPETokenizer.from_file(str(folder / "bpe-16k-vocab.json"), str(folder / "bpe-16k-merges.txt"),
                                   unk_token="[UNK]", lowercase=True)
    t.add_special_tokens(["[PAD]"])
    t.enable_truncation(max_length=64)
    cases = [{"text": text, "ids": t.encode(text).ids} for text in TEXTS]
    (DATA / "gpt" / "char_bpe_cases.json").write_text(json.dumps(cases, ensure_ascii=False, indent=0) + "\n", "utf-8")


# ---- networks ----

class Weights(dict):
    """The tensors of an instance: those that are asked for, in double precision."""

    def __init__(self, salt):
        super().__init__()
        self.salt, self.how = salt, {}

    def get(self, name, *shape):
        import torch
        from make_golden_codecs import numbers
        if name not in self:
            is_norm = len(shape) == 1 and ("norm" in name or "ln" in name or name == "to_logits.0.weight")
            scale, shift = (0.25, 1.0) if is_norm and name.endswith("weight") else (0.125, 0.0)
            if len(shape) > 1:
                scale = 2.0 if "emb" in name or name.startswith("sos") else 2.0 ** round(math.log2(3 / math.sqrt(shape[-1])))
            n = math.prod(shape)
            self[name] = torch.from_numpy(numbers(self.salt + name, n) * scale + shift).double().view(shape)
            self.how[name] = [list(shape), scale, shift, self.salt + name]
        return self[name]

    def linear(self, x, name, out, bias=True):
        y = x @ self.get(name + ".weight", out, x.shape[-1]).T
        return y + self.get(name + ".bias", out) if bias else y

    def norm(self, x, name):
        import torch
        d = x.shape[-1]
        return torch.nn.functional.layer_norm(x, (d,), self.get(name + ".weight", d), self.get(name + ".bias", d))

    def rms(self, x, name):
        return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * self.get(name + ".weight", x.shape[-1])


def attend(q, k, v, heads, allowed):
    import torch
    b, t, d = q.shape
    q, k, v = (x.view(b, t, heads, d // heads).transpose(1, 2) for x in (q, k, v))
    score = q @ k.transpose(2, 3) / math.sqrt(d // heads)
    score = score.masked_fill(~allowed[:t, :t], -math.inf)
    return (torch.softmax(score, -1) @ v).transpose(1, 2).reshape(b, t, d)


def causal(n):
    import torch
    return torch.ones(n, n, dtype=torch.bool).tril()


def mingpt(w, x, layers, heads, prefix):
    from torch.nn.functional import gelu
    d = x.shape[-1]
    for i in range(layers):
        p = f"{prefix}blocks.{i}."
        h = w.norm(x, p + "ln1")
        q, k, v = (w.linear(h, p + "attn." + part, d) for part in ("query", "key", "value"))
        x = x + w.linear(attend(q, k, v, heads, causal(x.shape[1])), p + "attn.proj", d)
        x = x + w.linear(gelu(w.linear(w.norm(x, p + "ln2"), p + "mlp.0", 3 * d)), p + "mlp.2", d)
    return w.norm(x, prefix + "ln_f")


D, HEADS, LAYERS = 32, 2, 3
TEXT, WORDS = 7, 160


# Each network gives the logits that predict codes; with `whole` before them those that predict text, or None.

def mindalle(w, text, codes, k, whole=False):
    import torch
    n = codes.shape[1]
    x = torch.cat([w.get("tok_emb_txt.weight", WORDS, D)[text] + w.get("pos_emb_txt.weight", TEXT, D),
                   w.get("tok_emb_img.weight", k, D)[codes] + w.get("pos_emb_img.weight", CELLS, D)[:n]], 1)
    x = mingpt(w, x, LAYERS, HEADS, "")
    text, image = w.linear(x, "head_txt", WORDS, False)[:, :TEXT - 1], w.linear(x, "head_img", k, False)[:, TEXT - 1:]
    return (text, image) if whole else image


def igpt(w, text, codes, k):
    import torch
    n = codes.shape[1]
    image = w.get("tok_emb_img.weight", k, D)[codes] + w.get("pos_emb_img.weight", CELLS, D)[:n]
    x = torch.cat([w.get("sos.weight", 11, D)[text], image], 1)
    return w.linear(mingpt(w, x, LAYERS, HEADS, ""), "head", k, False)


def igpt_plain(w, text, codes, k):
    import torch
    n = codes.shape[1]
    image = w.get("tok_emb_img.weight", k, D)[codes] + w.get("pos_emb_img.weight", CELLS, D)[:n]
    x = torch.cat([w.get("sos", 1, 1, D).expand(len(codes), 1, D), image], 1)
    return w.linear(mingpt(w, x, LAYERS, HEADS, ""), "head", k, False)


def taming(w, text, codes, k, whole=False):
    import torch
    ids = torch.cat([text, codes], 1)
    x = w.get("transformer.tok_emb.weight", k, D)[ids]
    x = x + w.get("transformer.pos_emb", 1, CELLS, D)[:, :x.shape[1]]
    for i in range(LAYERS):
        w.get(f"transformer.blocks.{i}.attn.mask", 1, 1, CELLS, CELLS)
    image = w.linear(mingpt(w, x, LAYERS, HEADS, "transformer."), "transformer.head", k, False)
    return (None, image) if whole else image


def rudalle_mask(kind, v2, n):
    """Which of n positions see which; those after the text's ids are cells, in v2 a position early."""
    mask = causal(n)
    for q in range(TEXT, n):
        for key in range(TEXT, q):
            a, b = q - TEXT, key - TEXT
            dy, dx = a // SIDE - b // SIDE, abs(a % SIDE - b % SIDE)
            dy, dx = (min(dy, SIDE - dy), min(dx, SIDE - dx)) if v2 else (dy, dx)
            mask[q, key] = {"row": a - b <= SIDE, "column": (a - b) % SIDE == 0, "conv": dy <= 5 and dx <= 5}[kind]
    return mask


def rudalle(v2):
    def run(w, text, codes, k, whole=False):
        import torch
        from torch.nn.functional import gelu
        pads = torch.arange(WORDS - TEXT, WORDS).expand(len(text), TEXT)
        text = torch.where(text == 0, pads, text)
        if v2:
            text = torch.cat([torch.full((len(text), 1), 2), text], 1)
        n, cells = codes.shape[1], torch.arange(codes.shape[1])
        x = torch.cat([w.get("text_embeddings.weight", WORDS, D)[text] +
                       w.get("text_pos_embeddings.weight", TEXT + 1, D)[:text.shape[1]],
                       w.get("image_embeddings.weight", k, D)[codes] +
                       w.get("image_row_embeddings.weight", SIDE, D)[cells // SIDE] +
                       w.get("image_col_embeddings.weight", SIDE, D)[cells % SIDE]], 1)
        layers = 4
        for i in range(layers):
            p = f"transformer.layers.{i}."
            kind = "column" if (i - 1) % 4 == 0 else "row" if i < layers - 1 else "conv"
            mask = rudalle_mask(kind, v2, TEXT + CELLS)
            q, key, v = w.linear(w.norm(x, p + "input_layernorm"), p + "attention.query_key_value", 3 * D).chunk(3, -1)
            y = w.linear(attend(q, key, v, HEADS, mask), p + "attention.dense", D)
            x = x + w.norm(y, p + "before_first_addition_layernorm")
            y = w.linear(w.norm(x, p + "post_attention_layernorm"), p + "mlp.dense_h_to_4h", 4 * D)
            y = w.linear(gelu(y, approximate="tanh"), p + "mlp.dense_4h_to_h", D)
            x = x + w.norm(y, p + "before_second_addition_layernorm")
        x = w.norm(w.norm(x, "transformer.final_layernorm"), "to_logits.0")
        for part in ("row", "col", "conv"):
            w.get(f"transformer.{part}_mask", TEXT + CELLS, TEXT + CELLS)
        logits, last = w.linear(x, "to_logits.1", WORDS + k), text.shape[1] - 1
        return (logits[:, :last, :WORDS], logits[:, last:, WORDS:]) if whole else logits[:, last:, WORDS:]
    return run


def turn(x, heads):
    """Rotary positions of the cells; the class has none, and its numbers become 0."""
    import torch
    b, t, d = x.shape
    hd = d // heads
    f = 10000.0 ** (-torch.arange(0, hd // 2, 2).double() / (hd // 2))
    cell = torch.arange(t - 1)
    angle = torch.cat([(cell // SIDE)[:, None] * f, (cell % SIDE)[:, None] * f], 1)[None, :, None]
    z = torch.view_as_complex(x.reshape(b, t, heads, hd // 2, 2).contiguous())
    z = torch.cat([torch.zeros_like(z[:, :1]), z[:, 1:] * torch.polar(torch.ones_like(angle), angle)], 1)
    return torch.view_as_real(z).reshape(b, t, d)


def llamagen(w, text, codes, k, whole=False):
    import torch
    from torch.nn.functional import silu
    x = torch.cat([w.get("cls_embedding.embedding_table.weight", 11, D)[text],
                   w.get("tok_embeddings.weight", k, D)[codes]], 1)
    for i in range(LAYERS):
        p = f"layers.{i}."
        q, key, v = w.linear(w.rms(x, p + "attention_norm"), p + "attention.wqkv", 3 * D, False).chunk(3, -1)
        y = attend(turn(q, HEADS), turn(key, HEADS), v, HEADS, causal(x.shape[1]))
        x = x + w.linear(y, p + "attention.wo", D, False)
        h = w.rms(x, p + "ffn_norm")
        h = silu(w.linear(h, p + "feed_forward.w1", 96, False)) * w.linear(h, p + "feed_forward.w3", 96, False)
        x = x + w.linear(h, p + "feed_forward.w2", D, False)
    image = w.linear(w.rms(x, "norm"), "output", k, False)
    return (None, image) if whole else image


# name, family, network, codec (of codecs.json), its codes, settings, classes
CASES = [
    ("mindalle", "mindalle", mindalle, "taming", 50, ["heads=2"], 0),
    ("igpt", "mindalle", igpt, "taming", 50, ["heads=2"], 11),
    ("igpt_plain", "mindalle", igpt_plain, "taming", 50, ["heads=2"], 1),
    ("taming", "taming", taming, "taming", 50, ["heads=2"], 50),
    ("rudalle_v2", "rudalle", rudalle(True), "gumbel", 33, ["heads=2", "version=v2"], 0),
    ("rudalle_v3", "rudalle", rudalle(False), "wavelet", 33, ["heads=2", "version=v3"], 0),
    ("llamagen", "llamagen", llamagen, "llamagen", 60, ["heads=2", "image_size=16", "guidance=1"], 10),
]


def main():
    import numpy as np
    import torch
    from safetensors.numpy import save_file
    torch.set_num_threads(1)
    char_bpe()
    cases, arrays = [], {}
    for name, family, network, codec, k, settings, classes in CASES:
        w, margin, seed = Weights(name + "."), 0, len(cases)
        while margin < 2e-4:  # a greedy choice that rounding could change is none to compare
            rng, seed = np.random.default_rng(seed), seed + 100
            text = rng.integers(3, WORDS - TEXT, (2, TEXT))
            text[1, 4:] = 1 if family == "mindalle" else 0
            if classes:
                text = rng.integers(0, classes, (2, 1))
            text, codes = torch.from_numpy(text), torch.from_numpy(rng.integers(0, k, (2, CELLS)))
            greedy, margin = codes[:, :0], math.inf
            for _ in range(CELLS):
                last = network(w, text, greedy, k)[:, -1]
                best = last.topk(2).values
                margin = min(margin, float((best[:, 0] - best[:, 1]).min() / (last.max() - last.min())))
                greedy = torch.cat([greedy, last.argmax(-1, keepdim=True)], 1)
        logits = network(w, text, codes[:, :-1], k)
        print(name, "margin", margin, "greedy", greedy[0].tolist(), "range", float(logits.max() - logits.min()))
        cases.append({"name": name, "family": family, "codec": codec, "set": settings, "classes": classes,
                      "tensors": w.how})
        for key, value in (("text", text), ("codes", codes), ("greedy", greedy)):
            arrays[f"{name}/{key}"] = value.numpy().astype(np.int32)
        arrays[f"{name}/logits"] = logits.numpy().astype(np.float32)
    (DATA / "gpts.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")
    save_file(arrays, str(DATA / "gpts.safetensors"))


if __name__ == "__main__":
    if "--youtokentome" in sys.argv:
        youtokentome()
    else:
        main()
