#!/usr/bin/env python3
"""Writes tests/data/golden/dalle_pytorch/tokenizer_merges.json: of CLIP's merges those that can join anything in the
texts of tokenizer_cases.json beside it, by their ranks, so that the tests need not hold all 48,894.

usage: tools/make_golden_vocabulary.py bpe_simple_vocab_16e6.txt     (of the PyPI package dalle-pytorch)

"spare" are characters beyond ASCII that no text has: the tests fill the other ranks with merges of these, which never apply.
"""
import html
import json
import pathlib
import sys
import unicodedata

N_MERGES = 48894  # what SimpleTokenizer reads
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "golden" / "dalle_pytorch"


def byte_characters():
    """GPT-2's printable character for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


def variants(text):
    """The text as it may look after cleaning."""
    for form in ("NFC", "NFKC"):
        t = unicodedata.normalize(form, html.unescape(html.unescape(text)))
        yield from (t.lower(), text.lower())
        yield t.lower().translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'})


def main():
    characters = byte_characters()
    cases = json.loads((FOLDER / "tokenizer_cases.json").read_text())["cases"]
    words = {"".join(characters[b] for b in word.encode())
             for case in cases for text in variants(case["text"]) for word in text.split()}
    lines = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").split("\n")[1:N_MERGES + 1]
    merges = {i: line for i, line in enumerate(lines)
              if any(line.replace(" ", "").removesuffix("</w>") in word for word in words)}
    spare = "".join(c for c in characters.values() if c >= "\x80" and not any(c in word for word in words))
    json.dump({"count": N_MERGES, "spare": spare, "merges": merges},
              (FOLDER / "tokenizer_merges.json").open("w", encoding="utf-8"), ensure_ascii=False, indent=0)


main()
