#!/usr/bin/env python3
"""Writes tests/data/bpe_train_cases.json: the tokenizers that HuggingFace's trainer makes of small corpora.

Needs `pip install tokenizers`.  A case: texts, settings, and what came out.  Its tokens are those after the specials
and the byte alphabet, except in cases where a special is in that alphabet: there they are all tokens.
"""
import json
import os
import pathlib
import random

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers.implementations import ByteLevelBPETokenizer  # noqa: E402

DATA = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data"
LIMN = ["<pad>", "<img>"]

CAPTIONS = [
    "a red bear on a blue background", "a blue bear", "A RED CAT to the left of a dog", "two cats and a dog, side by side",
    "it's a cat's hat; they'll like it", "the cat sat on the mat", "3 red balloons, 12 green ones", "a bear  with   a hat\n",
    "red red red", "background", "Bears don't wear hats", "the bear, the cat and the dog on the mat",
]
WORLD = [
    "日本語のテキストと日本の熊", "中文 字符 和 中文", "한국어 텍스트", "русский ТЕКСТ русский", "Ελληνικά ΟΔΟΣ ΟΔΌΣ", "İstanbul I ı İ",
    "STRASSE straße ẞ", "🐻🐻🐻‍❄️ 👩‍👩‍👧‍👦 family 👍🏽", "é é e\u0301 É", "a\u00a0b\u3000c\u2003 d", "١٢٣ ½ ² Ⅷ", "\u202ertl\u202c \ufeffbom",
]
TIES = ["abcd abdc acbd acdb adbc adcb bacd badc bcad bcda bdac bdca cabd cadb cbad cbda cdab cdba dabc dacb dbac dbca"]
RUNS = ["a" * n for n in (1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 64)] + ["b" * 9, "ab" * 20, "aab" * 11, " " * 12 + "x", "!" * 33]


def case(name, texts, vocabulary, min_frequency, lowercase=False, specials=()):
    tokenizer = ByteLevelBPETokenizer(lowercase=lowercase)
    tokenizer.train_from_iterator(texts, vocab_size=vocabulary, min_frequency=min_frequency, show_progress=False,
                                  special_tokens=list(specials))
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary_of = sorted(model["vocab"], key=model["vocab"].get)
    assert list(range(len(vocabulary_of))) == [model["vocab"][t] for t in vocabulary_of]
    whole = any(len(s) == 1 for s in specials)
    return {
        "name": name, "texts": texts, "vocabulary": vocabulary, "min_frequency": min_frequency, "lowercase": lowercase,
        "specials": list(specials), "size": len(vocabulary_of),
        "merges": [m if isinstance(m, str) else " ".join(m) for m in model["merges"]],
        "tokens": vocabulary_of[0 if whole else len(specials) + 256:],
    }


def noise(rng, letters, lines):
    return ["".join(rng.choice(letters) for _ in range(rng.randrange(1, 60))) for _ in range(lines)]


def main():
    rng = random.Random(20220222)
    cases = []
    for name, texts in (("captions", CAPTIONS), ("world", WORLD), ("ties", TIES), ("runs", RUNS)):
        for frequency in (1, 2, 5):
            for lowercase in (False, True):
                cases.append(case(name, texts, 330, frequency, lowercase, LIMN))
        cases.append(case(name, texts, 10000, 0))
        for vocabulary in (0, 100, 258, 259, 261):
            cases.append(case(name, texts, vocabulary, 1, True, LIMN))
    cases.append(case("no text", [], 300, 2, False, LIMN))
    cases.append(case("empty texts", ["", ""], 300, 2, False, LIMN))
    cases.append(case("specials in the text", ["<pad> <img> <pad>", "<pad><pad>"], 300, 1, False, LIMN))
    # A special that text could give keeps its id.
    cases.append(case("specials as bytes", CAPTIONS, 300, 2, False, ["<pad>", "a", "Ġ", "é"]))
    cases.append(case("specials as joins", CAPTIONS + RUNS, 320, 2, False, ["ab", "Ġa", "aa", "bear", "Ġthe", "b c"]))
    for letters in ("ab", "ab ", "abcde ", "aAbB 's", "01 a.", "áé 日本"):
        cases.append(case("noise", noise(rng, letters, 12), 400, 2, True, LIMN))
    with open(DATA / "bpe_train_cases.json", "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
