#!/usr/bin/env python3
"""Writes tests/data/dalle_mini/{encoder.pt,decoder.pt,reference.safetensors}: a tiny DALL-E Mini and what it makes.

Needs `pip install min-dalle==0.4.11`, whose classes run it, and safetensors.  The files have that package's form: F16,
each layer's tensor a transposed view into one storage that holds those of all layers.  The vocabulary is
tests/data/golden/min_dalle/{vocab.json,merges.txt}, the grid 4 x 4, so that the detokenizer of tests/data/codecs.json fits,
which has more codes than this model writes.
"""
import json
import pathlib

import numpy as np
import torch
from min_dalle.models import dalle_bart_decoder
from min_dalle.models.dalle_bart_encoder import DalleBartEncoder
from min_dalle.text_tokenizer import TextTokenizer
from safetensors.numpy import save_file

DATA = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "dalle_mini"
VOCABULARY = DATA.parent / "golden" / "min_dalle"
DIM, HEADS, GLU, TEXT_LENGTH, CODES, CELLS = 32, 4, 44, 24, 30, 16
LAYERS = {"encoder": 2, "decoder": 3}
PROMPT, FACTOR, PAD = "An armchair in the shape of an avocado", 16, 1


def fill(model, seed):
    """Normal numbers of F16; norms near one."""
    torch.manual_seed(seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape)
        table = "embed" in name and p.dim() == 2
        p.data = noise if table else noise * 0.2 if p.dim() == 1 else noise / p.shape[1] ** 0.5 * 1.5
        if p.dim() == 1 and name.endswith("weight"):
            p.data += 1
        p.data = p.data.half().float()


def published(model, layers):
    """The state as the published files have it."""
    state = {}
    for name, p in model.state_dict().items():
        if not name.startswith("layers."):
            state[name] = p.half()
        elif name.startswith("layers.0."):
            own = name.removeprefix("layers.0.")
            parts = [model.state_dict()[f"layers.{i}.{own}"].half() for i in range(layers)]
            stack = torch.stack([q.T if q.dim() == 2 else q for q in parts])
            for i in range(layers):
                state[f"layers.{i}.{own}"] = stack[i].T if p.dim() == 2 else stack[i]
    return state


@torch.no_grad()
def greedy(encoder, decoder, text):
    """The codes, and logits [2, cells, codes] without and with the prompt that predict them."""
    state, mask = encoder(text), text.not_equal(PAD)[:, None, None, :]
    memory = torch.zeros(LAYERS["decoder"], 4, CELLS, DIM)
    code, codes, logits = torch.tensor([[CODES - 1]]), [], []
    for i in range(CELLS):
        y, memory = decoder.forward(mask, state, memory, code, torch.tensor([i]))
        y = y[:, -1, :CODES]
        code = (y[:1] * (1 - FACTOR) + y[1:] * FACTOR).argmax(-1, keepdim=True)
        codes.append(code.item())
        logits.append(y)
    return codes, torch.stack(logits, 1)


def main():
    dalle_bart_decoder.IMAGE_TOKEN_COUNT = CELLS
    vocabulary = json.loads((VOCABULARY / "vocab.json").read_text("utf-8"))
    merges = (VOCABULARY / "merges.txt").read_text("utf-8").split("\n")[1:-1]
    ids = TextTokenizer(vocabulary, merges).tokenize(PROMPT)
    encoder = DalleBartEncoder(LAYERS["encoder"], DIM, HEADS, len(vocabulary), TEXT_LENGTH, GLU, "cpu").eval()
    decoder = dalle_bart_decoder.DalleBartDecoder(CODES, DIM, HEADS, GLU, LAYERS["decoder"], "cpu").eval()
    fill(encoder, 1)
    fill(decoder, 24)
    text = torch.full((2, TEXT_LENGTH), PAD)
    text[0, :2] = torch.tensor([ids[0], ids[-1]])
    text[1, :len(ids)] = torch.tensor(ids)
    codes, logits = greedy(encoder, decoder, text)
    for name, model in (("encoder", encoder), ("decoder", decoder)):
        torch.save(published(model, LAYERS[name]), DATA / f"{name}.pt")
    save_file({"ids": np.array(ids, np.int32), "codes": np.array(codes, np.int32), "logits": logits.numpy()},
              DATA / "reference.safetensors", {"prompt": PROMPT})
    print(codes, [len(set(codes)), logits.min().item(), logits.max().item()])


if __name__ == "__main__":
    main()
