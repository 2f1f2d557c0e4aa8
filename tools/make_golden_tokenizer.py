#!/usr/bin/env python3
"""Writes tests/data/tokenizer_cases.json: what HuggingFace's tokenizers make of many strings.

Needs `pip install tokenizers`.  Run it anywhere; the vocabulary is tests/data/emoji_{vocab.json,merges.txt}.
Left out: NUL, which C strings can't hold, and characters that this Python doesn't know, since the two sides'
Unicode versions may differ about those.
"""
import json
import pathlib
import random
import unicodedata

from tokenizers import normalizers
from tokenizers.implementations import ByteLevelBPETokenizer

DATA = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data"

BY_HAND = [
    "", " ", "  ", "   ", "\n", "\t", "a", " a", "  a", "a ", "a  ", "  a  b  ", "a\nb", "a\n\nb", "a \n b",
    "a\r\n\r\nb",
    "a red bear on a blue background", "A RED BEAR", "two cats and a dog, side by side.", "Hello, world!",
    "<pad>", "<img>",
    "it's", "IT'S", "don't we're they've I'm you'll he'd", "'s't're've'm'll'd", "''s", "' s", " 's",
    "it\u2019s", "'ſ", "'",
    "o'clock rock'n'roll 'tis", "1", "12345678901234567890", "3.14159 -2e10 0x1F", "a1b2 c3", "1st 2nd",
    "½ ² ⅷ Ⅷ ๓ १२३ ①",
    "?!...,,,;;;", "a--b__c", "(a)[b]{c}", "$5 €5 £5", "#hash @at a@b.example https://example.org/?q=1&r=2",
    "日本語のテキスト", "中文 字符。", "한국어 텍스트", "русский ТЕКСТ", "Ελληνικά ΟΔΟΣ ΟΔΌΣ", "العربية", "עִבְרִית", "हिन्दी",
    "ไทย", "ქართული",
    "İstanbul I ı İ", "STRASSE straße ẞ", "Ǆ ǅ ǆ", "Å Å Ω K", "Ꭰ ꭰ Ა ა", "𐐀 𐐨", "Ⱥ Ⱦ", "ǈ ᾈ ᾼ", "\u0345 ͅa",
    "🐻", "🐻🐻‍❄️", "👩‍👩‍👧‍👦 family", "👍🏽 👍🏿", "🏳️‍🌈🏴󠁧󠁢󠁳󠁣󠁴󠁿", "🇩🇪🇯🇵", "1️⃣ #️⃣", "a\u200db", "☃️☃︎",
    "e\u0301 é", "a\u0300\u0301\u0302\u0303", " \u0301", "\u0301", "क्षि", "Z\u0351\u036b\u0343algo",
    "a\u00adb", "\ufeffbom", "a\u200bb", "\u202ertl\u202c", "\ufffd \ufffe \uffff \U0010ffff", "\ue000 \U000f0000",
    "\x01\x02\x1c\x1d\x1e\x1f\x7f\x80\x9f", "tab\tnew\x0bline\x0cfeed", "\u180e \u2060",
    "a" * 300, "ab" * 200, "bear" * 60, " " * 70 + "x", "x" + "\n" * 70, "!" * 100, "the " * 40,
]
WHITE = [chr(c) for c in (*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F,
                          0x3000)]
BLOCKS = [(1, 0x80), (0x80, 0x250), (0x250, 0x600), (0x600, 0xE00), (0xE00, 0x2000), (0x2000, 0x3100), (0x3100, 0xD800),
          (0xE000, 0x10000), (0x10000, 0x20000), (0x1F300, 0x1FB00), (0x20000, 0x30000)]
BITS = ["'s", "'LL", "the", " a ", "Bear", "42", "...", "\r\n", "\u200d", "\ufe0f", "\u0301", "é", "漢字", "🐻", "İ"]


def known(rng):
    while True:
        c = chr(rng.randrange(*rng.choice(BLOCKS)))
        if unicodedata.category(c) not in ("Cn", "Cs"):
            return c


def mixture(rng):
    out = []
    for _ in range(rng.choice([2, 3, 5, 8, 13, 21])):
        kind = rng.random()
        if kind < 0.3:
            out.append(rng.choice(WHITE + [" "] * 20) * rng.choice([1, 1, 1, 2, 3]))
        elif kind < 0.6:
            out.append(rng.choice(BITS))
        else:
            out.append(known(rng) * rng.choice([1, 1, 1, 2]))
    return "".join(out)


def main():
    rng = random.Random(20220222)
    files = [str(DATA / "emoji_vocab.json"), str(DATA / "emoji_merges.txt")]
    tokenizer = ByteLevelBPETokenizer(*files, lowercase=True)
    lower = normalizers.Lowercase()
    texts = BY_HAND + [f"a{w}b {w}c{w}{w}d{w}" for w in WHITE] + [w * 2 for w in WHITE]
    texts += [mixture(rng) for _ in range(250)]
    rows = [{"text": t, "lower": lower.normalize_str(t), "ids": tokenizer.encode(t).ids} for t in texts]
    lines = [json.dumps(r) for r in rows]
    # Ids in any order cut characters apart; 0 and 1 are specials, which limn leaves out.
    usable = [i for i in range(2, tokenizer.get_vocab_size()) if "\0" not in tokenizer.decode([i])]
    odd = [i for i in usable if "\ufffd" in tokenizer.decode([i])]
    rows = [[rng.choice(rng.choice([usable, odd])) for _ in range(rng.randrange(1, 24))] for _ in range(150)]
    decoded = [json.dumps({"ids": r, "text": tokenizer.decode(r)}) for r in rows]
    with open(DATA / "tokenizer_cases.json", "w", encoding="utf-8") as f:
        f.write('{"encode": [\n' + ",\n".join(lines) + '\n],\n"decode": [\n' + ",\n".join(decoded) + "\n]}\n")


if __name__ == "__main__":
    main()
