#!/usr/bin/env python3
"""Writes tests/data/dallepy/{tokenizer.json,tokenizer_cases.json}: a small byte-level tokenizer of HuggingFace's, and the
ids that it gives texts as DALLE-pytorch's HugTokenizer uses it; "plain": without lower-casing and first space.

Needs `pip install tokenizers`.
"""
import json
import pathlib

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "dallepy"
TEXTS = ["", " ", "a", " a", "a red bear on a blue background", "A RED BEAR", "the shape of an avocado armchair",
         "two cats and a dog, side by side.", "it's the dog's; they'll", "  Hello,   WORLD!!  42 times  ", "\ta\n b",
         "naïve café – Zürich “quotes” …", "русский ТЕКСТ", "日本語 🐻 a", "a [pad] b"]


def ids(tokenizer):
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return [tokenizer.encode(text).ids for text in TEXTS]


tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase()])
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
tokenizer.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(
    vocab_size=340, special_tokens=["[PAD]", "[UNK]"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
tokenizer.add_tokens(["<beyond>"])
tokenizer.save(str(FOLDER / "tokenizer.json"))
lower = ids(tokenizer)
tokenizer.normalizer = normalizers.Sequence([])
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
cases = [{"text": t, "ids": a, "plain": b} for t, a, b in zip(TEXTS, lower, ids(tokenizer))]
(FOLDER / "tokenizer_cases.json").write_text("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n")
