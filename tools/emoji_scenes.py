"""Emoji as drawable things, scenes made of them, and which combinations are kept out of training.

What tools/make_emoji_scenes and tools/measure_emoji share, so that a model is judged by the sprites it was taught.
The sprites, names and keywords are those of the Debian packages below; nothing is drawn by hand.

Held out: some combinations never come in a training set, in no caption and no picture, to find out later whether a
model composes or remembers.  Which ones is decided by a hash of their names alone, so it is the same for every seed,
size and number of scenes: SHA-256 of the parts joined by "|", its first four bytes as a big-endian number, divided by
2^32; below the share (0.1) it is held out.  The parts are
    background|COLOUR|NAME              NAME is never on COLOUR, alone or with another; white is never held out
    place|NAME|SIDE                     NAME is never left, right, above or below (SIDE) in a scene of two
    pair|NAME|RELATION|NAME             the first is never "left of" or "above" (RELATION) the second
"""
import collections
import functools
import hashlib
import importlib.util
import io
import os
import pathlib
import random
import re
import sys

FONT = pathlib.Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
EMOJI_TEST = pathlib.Path("/usr/share/unicode/emoji/emoji-test.txt")
ANNOTATIONS = pathlib.Path("/usr/share/unicode/cldr/common/annotations/en.xml")
FILES = {FONT: "fonts-noto-color-emoji", EMOJI_TEST: "unicode-data", ANNOTATIONS: "unicode-cldr-core"}
MODULES = {"PIL": "python3-pil", "fontTools": "python3-fonttools", "numpy": "python3-numpy"}

GROUPS_LEFT_OUT = ("Flags", "Symbols")
EXPECTED_THINGS = 1161  # with Debian 12's packages; figures are comparable between equal sets of things only
PLAIN_SCALE = 0.92      # a thing's side, as a share of the frame's, in plain pictures and in the measure's sprites

WHITE = (255, 255, 255)
COLOURS = {
    "red": (220, 50, 47), "orange": (245, 150, 50), "yellow": (250, 215, 70), "green": (70, 170, 80),
    "cyan": (90, 210, 220), "blue": (60, 110, 220), "navy": (25, 40, 105), "purple": (150, 80, 190),
    "pink": (250, 160, 190), "brown": (140, 95, 60), "gray": (150, 150, 155), "black": (20, 20, 20),
}
HELD_OUT_SHARE = 0.1
SIDES = {"left of": ("left", "right"), "above": ("above", "below")}  # relation: places of the first and the second


def demand(files=()):
    """Ends the program, saying what to install, where a module or a file (of these {file: package} too) is missing."""
    modules = {m: p for m, p in MODULES.items() if importlib.util.find_spec(m) is None}
    files = {str(f): p for f, p in {**FILES, **dict(files)}.items() if not f.is_file()}
    if modules or files:
        packages = sorted({*modules.values(), *files.values()})
        where = f", as {sys.executable} sees it (Debian's packages are for /usr/bin/python3)" if modules else ""
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: missing: {', '.join([*modules, *files])}{where}\n"
                 f"install with: apt install {' '.join(packages)}")


class Thing:
    """An emoji: its name, keywords that may stand for the name, and its picture."""

    def __init__(self, name, group, keywords, sprite, point):
        self.name, self.group, self.keywords, self.point = name, group, keywords, point
        self.sprite = sprite  # RGBA, square, with the font's own margins


def load_things():
    """All things, in the order of emoji-test.txt: fully-qualified emoji of one code point with a bitmap in the font."""
    from fontTools.ttLib import TTFont
    from PIL import Image
    font = TTFont(FONT, lazy=True)
    glyph_of = font.getBestCmap()
    if "CBDT" not in font:
        sys.exit(f"{FONT}: no bitmaps (table CBDT): this is another edition of the font than Debian's")
    bitmaps = font["CBDT"].strikeData[0]
    found, group = [], None
    for line in EMOJI_TEST.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.split(":", 1)[1].strip()
        match = re.match(r"([0-9A-F ]+?) *; fully-qualified *# \S+ E\S+ (.+)", line)
        if not match or group in GROUPS_LEFT_OUT:
            continue
        points = [p for p in (int(x, 16) for x in match[1].split()) if p != 0xFE0F]
        if len(points) == 1 and glyph_of.get(points[0]) in bitmaps:
            found.append((points[0], match[2].strip(), group))
    keywords = load_keywords()
    names = {name.lower() for _, name, _ in found}
    things = []
    for point, name, group in found:
        image = Image.open(io.BytesIO(bitmaps[glyph_of[point]].imageData)).convert("RGBA")
        side = max(image.size)
        sprite = Image.new("RGBA", (side, side), (*WHITE, 0))
        sprite.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        # Where a keyword is another thing's name ("dog" for "dog face"), the name is that thing's.
        mine = [k for k in keywords.get(chr(point), []) if k.lower() not in names]
        things.append(Thing(name, group, mine, sprite, point))
    if len(things) != EXPECTED_THINGS:
        print(f"note: {len(things)} things, not the {EXPECTED_THINGS} of Debian 12: measures are not comparable",
              file=sys.stderr)
    return things


def load_keywords():
    """{character: keywords} of CLDR's English annotations."""
    import xml.etree.ElementTree as tree
    return {a.get("cp"): [k.strip() for k in a.text.split("|")]
            for a in tree.parse(ANNOTATIONS).iter("annotation") if a.get("type") is None}


def restrict(things, path):
    """The things named in a file, one name a line; all for None."""
    if path is None:
        return things
    wanted = {line.strip() for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()} - {""}
    unknown = sorted(wanted - {t.name for t in things})
    if unknown:
        sys.exit(f"{path}: no things: {', '.join(unknown[:5])}{' ...' if len(unknown) > 5 else ''} (--list shows all)")
    if not wanted:
        sys.exit(f"{path}: no names")
    return [t for t in things if t.name in wanted]


def sample(things, count):
    """count of the things, spread over all, always the same ones; a smaller sample is part of a larger one."""
    chosen = {t.name for t in sorted(things, key=lambda t: hashed("sample", t.name))[:count]}
    return [t for t in things if t.name in chosen]


def with_article(name):
    """"a NAME" or "an NAME", by sound where spelling misleads."""
    vowel = re.match(r"[aeiou]|hour|honest|x-ray", name, re.I) and not re.match(r"uni|use|euro|ewe|one\b", name, re.I)
    return f"{'an' if vowel else 'a'} {name}"


def on_background(colour):
    return f"on {with_article(colour)} background"


def write_atomically(path, write):
    """A file by write(file): it is there when it is whole.  Returns its size."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as f:
            write(f)
            size = f.tell()
            f.flush()
            os.fsync(f.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return size


# ---- held out ----

def hashed(*parts):
    """A number in [0, 1) that depends on the parts alone."""
    return int.from_bytes(hashlib.sha256("|".join(parts).encode()).digest()[:4], "big") / 2 ** 32


@functools.lru_cache(maxsize=None)
def background_held_out(colour, name, share=HELD_OUT_SHARE):
    return colour is not None and hashed("background", colour, name) < share


@functools.lru_cache(maxsize=None)
def place_held_out(name, side, share=HELD_OUT_SHARE):
    return hashed("place", name, side) < share


def pair_held_out(first, relation, second, share=HELD_OUT_SHARE):
    return hashed("pair", first, relation, second) < share


def relation_text(first, relation, second, turned):
    """The relation in words; turned: said from the second's side."""
    if relation == "left of":
        return f"{second} to the right of {first}" if turned else f"{first} to the left of {second}"
    return f"{second} below {first}" if turned else f"{first} above {second}"


def held_out_prompts(things, count, share=HELD_OUT_SHARE):
    """Up to count prompts of each kind with a held-out combination, always the same ones for the same things.

    {"background": [{"prompt", "thing", "colour"}], "place": [{"prompt", "first", "relation", "second"}], "pair": ...}
    place: one of the two is where it never is in training, the pair is not held out; pair: the other way round.
    """
    backgrounds = [(c, t.name) for t in things for c in COLOURS if background_held_out(c, t.name, share)]
    backgrounds.sort(key=lambda b: hashed("test", *b))
    out = {"background": [{"prompt": f"{with_article(n)} {on_background(c)}", "thing": n, "colour": c}
                          for c, n in backgrounds[:count]], "place": [], "pair": []}
    rng = random.Random("held-out prompts")
    seen = set()
    for _ in range(200 * count if len(things) > 1 and share > 0 else 0):
        first, second = (things[int(rng.random() * len(things))].name for _ in range(2))
        relation = list(SIDES)[int(rng.random() * 2)]
        turned = rng.random() < 0.5
        sides = SIDES[relation]
        places = place_held_out(first, sides[0], share) + place_held_out(second, sides[1], share)
        pair = pair_held_out(first, relation, second, share)
        kind = "pair" if pair and not places else "place" if places == 1 and not pair else None
        key = (first, relation, second)
        if first == second or kind is None or key in seen or len(out[kind]) >= count:
            continue
        seen.add(key)
        words = relation_text(with_article(first), relation, with_article(second), turned)
        out[kind].append({"prompt": words, "first": first, "relation": relation, "second": second})
    return out


# ---- drawing ----

def put(canvas, thing, side, x, y):
    """Draws the thing, side pixels wide, with its corner at (x, y); what lies outside is cut."""
    from PIL import Image
    sprite = thing.sprite.resize((side, side), Image.Resampling.LANCZOS)
    left, top = max(0, -x), max(0, -y)
    canvas.alpha_composite(sprite, (x + left, y + top), (left, top))


def plain(thing, size, background=WHITE):
    """The thing alone, centred: what codec checks and the measure use.  RGB."""
    from PIL import Image
    canvas = Image.new("RGBA", (size, size), (*background, 255))
    side = int(PLAIN_SCALE * size)
    put(canvas, thing, side, (size - side) // 2, (size - side) // 2)
    return canvas.convert("RGB")


Recipe = collections.namedtuple(
    "Recipe", "seed size jitter scale single_share white_share white_named bare_share keyword_share held_out_share captions")


def order(seed, turn, n):
    """A permutation of n things: scene after scene takes the next one, so that all come equally often."""
    rng = random.Random(f"{seed}/order/{turn}")
    keys = [rng.random() for _ in range(n)]
    return sorted(range(n), key=keys.__getitem__)


cached_order = functools.lru_cache(maxsize=4)(order)


def scene(recipe, things, index):
    """Scene number index of a recipe: (RGB picture, captions).  It depends on recipe, things and index alone."""
    from PIL import Image
    # Only random() is used: Python promises that its numbers stay the same, not those of choice() or shuffle().
    rng = random.Random(f"{recipe.seed}/scene/{index}")
    turn, position = divmod(index, len(things))
    thing = things[cached_order(recipe.seed, turn, len(things))[position]]
    pair = choose_pair(recipe, things, thing, rng) if rng.random() >= recipe.single_share else None
    if pair:
        first, relation, second, colour = pair
    else:
        colour = choose_colour(recipe, [thing], rng)
    size = recipe.size
    canvas = Image.new("RGBA", (size, size), (*COLOURS.get(colour, WHITE), 255))
    if pair:
        half = size // 2
        for which, t in enumerate((first, second)):
            x, y = (which * half, size // 4) if relation == "left of" else (size // 4, which * half)
            place(canvas, t, half, x, y, (recipe.jitter + 1) // 2, recipe.scale, rng)
    else:
        place(canvas, thing, size, 0, 0, recipe.jitter, recipe.scale, rng)
    captions = []
    for _ in range(recipe.captions):
        bare = rng.random() < recipe.bare_share
        if pair:
            words = pair_words(phrase(recipe, first, bare, rng), relation, phrase(recipe, second, bare, rng), rng)
        else:
            words = phrase(recipe, thing, bare, rng)
        shown = colour or ("white" if rng.random() < recipe.white_named else None)
        captions.append(f"{words} {on_background(shown)}" if shown else words)
    return canvas.convert("RGB"), captions


def place(canvas, thing, box, x, y, jitter, scale, rng):
    """Draws the thing about the middle of the box of that size at (x, y)."""
    side = int(box * (scale[0] + (scale[1] - scale[0]) * rng.random()))
    dx, dy = (int(rng.random() * (2 * jitter + 1)) - jitter for _ in range(2))
    put(canvas, thing, side, x + (box - side) // 2 + dx, y + (box - side) // 2 + dy)


def choose_colour(recipe, drawn, rng):
    """A colour that none of the things is held out from; None: white."""
    if rng.random() < recipe.white_share:
        return None
    free = [c for c in COLOURS if not any(background_held_out(c, t.name, recipe.held_out_share) for t in drawn)]
    return free[int(rng.random() * len(free))] if free else None


def choose_pair(recipe, things, thing, rng):
    """(first, relation, second, colour) with the thing as first or second, or None where all is held out."""
    for _ in range(100):
        relation = list(SIDES)[int(rng.random() * 2)]
        other = things[int(rng.random() * len(things))]
        first, second = (thing, other) if rng.random() < 0.5 else (other, thing)
        sides = SIDES[relation]
        if (other is thing or place_held_out(first.name, sides[0], recipe.held_out_share)
                or place_held_out(second.name, sides[1], recipe.held_out_share)
                or pair_held_out(first.name, relation, second.name, recipe.held_out_share)):
            continue
        return first, relation, second, choose_colour(recipe, (first, second), rng)
    return None


def phrase(recipe, thing, bare, rng):
    words = thing.name
    if rng.random() < recipe.keyword_share and thing.keywords:
        words = thing.keywords[int(rng.random() * len(thing.keywords))]
    return words if bare else with_article(words)


def pair_words(first, relation, second, rng):
    kind = int(rng.random() * (3 if relation == "left of" else 2))
    return f"{first} and {second}" if kind == 2 else relation_text(first, relation, second, kind == 1)


# ---- the measure ----

def sprites(things, background=WHITE, size=32):
    """What pictures are compared with: float32 [things, size, size, 3] in 0..1, by way of the picture twice as large."""
    import numpy as np
    from PIL import Image
    small = [plain(t, 2 * size, background).resize((size, size), Image.Resampling.BOX) for t in things]
    return np.stack([np.asarray(s, dtype=np.float32) for s in small]) / 255


def shrunk(picture, size=32):
    """An opened picture at the size of the comparison: float32 [size, size, 3] in 0..1."""
    import numpy as np
    from PIL import Image
    return np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BOX), dtype=np.float32) / 255


def distances(image, references, x=0, y=0, shift=2):
    """Squared distances [n] of references [n, s, s, 3] to the part of the image at (x, y), least over small shifts."""
    flat = references.reshape(len(references), -1)
    return distances_at(image, flat, (flat ** 2).sum(1), [(x, y)], [0], shift)


def distances_at(image, flat, squares, places, besides, shift):
    """The same, least over places as well, of references flat [n, s * s * 3], whose sums of squares are [n].

    besides [places]: what is added to the distances there.
    """
    import numpy as np
    side = round((flat.shape[1] / 3) ** 0.5)
    wide = np.pad(image, ((shift, shift), (shift, shift), (0, 0)), mode="edge")
    steps = range(2 * shift + 1)
    parts = np.stack([wide[y + dy:y + dy + side, x + dx:x + dx + side].reshape(-1)
                      for x, y in places for dy in steps for dx in steps])
    added = (parts ** 2).sum(1) + np.repeat(np.float32(besides), len(steps) ** 2)
    return (squares[:, None] - 2 * flat @ parts.T + added).min(1)


def rank(all_distances, asked):
    """How many others are nearer than the one asked for: 0 is top-1."""
    return int((all_distances < all_distances[asked]).sum())


def background_colour(picture):
    """The name, "white" or one of COLOURS, that is nearest to the median of the picture's border."""
    import numpy as np
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float64)
    w = max(1, min(pixels.shape[:2]) // 64)
    border = [pixels[:w], pixels[-w:], pixels[:, :w], pixels[:, -w:]]
    median = np.median(np.concatenate([b.reshape(-1, 3) for b in border]), axis=0)
    named = {"white": WHITE, **COLOURS}
    return min(named, key=lambda c: ((median - named[c]) ** 2).sum())
