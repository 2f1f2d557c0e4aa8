"""Pictures of 128 x 128 with captions, composed of cut-outs: what tools/make_scenes and tools/measure_emoji share.

The things, the held-out combinations and the words for colours and relations are those of tools/emoji_scenes.py; the
cut-outs are those of tools/make_cutouts.  Held out besides, by the same rule:
    count|NAME|N                        NAME is never drawn N times (two, three, four)

What a text says is drawn, and what it doesn't say varies: the style (noto, twemoji, emojione), which way a thing looks, its
size and its place.  Things have three sizes, and their boxes begin at multiples of CELL pixels, so that a thing has the
same codes of a codec wherever it is, alone, in a pair or in a group: what is learned of it in one picture serves in all.
"""
import collections
import functools
import json
import pathlib
import random
import re

import emoji_scenes as es

SIZE, CELL = 128, 16
BOXES = {"big": 128, "middle": 96, "small": 64}     # a thing's box, and its longer side in it
# Two small things are 14 pixels apart: an encoder of four halvings sees 15 beyond a code's own, so hardly the other.
SIDES = {"big": 116, "middle": 88, "small": 50}
STYLES = ("noto", "twemoji", "emojione")            # what is drawn where no style is said
SHARES = {"noto": 0.45, "twemoji": 0.3, "emojione": 0.25}
SAID = {"noto": "Noto", "twemoji": "Twemoji", "emojione": "EmojiOne", "outline": "outline", "pixels": "pixel art",
        "silhouette": "silhouette"}                 # as prompts name them
INKED = ("outline", "silhouette")                   # of one colour
INK, LIGHT_INK = (20, 20, 20), (240, 240, 240)
NUMBERS = {2: "two", 3: "three", 4: "four"}
PLACES = {"in the top left corner": (0, 0), "at the top": (32, 0), "in the top right corner": (64, 0),
          "on the left": (0, 32), "in the middle": (32, 32), "on the right": (64, 32),
          "in the bottom left corner": (0, 64), "at the bottom": (32, 64), "in the bottom right corner": (64, 64)}
GROUPS = {2: ((0, 32), (64, 32)), 3: ((32, 0), (0, 64), (64, 64)), 4: ((0, 0), (64, 0), (0, 64), (64, 64))}
SCENES = {"on a meadow": "meadow", "on the beach": "beach", "in the snow": "snow", "at night": "night",
          "in the sky": "sky"}
PATTERNS = ("striped", "dotted")
DIRECTED = re.compile(r"left|right|pointing|arrow|writing|\bBACK\b|\bEND\b|input|clock|o’clock|thirty|calendar|keycap",
                      re.I)                        # a mirror would make them another thing
IRREGULAR = {"mouse": "mice", "goose": "geese", "foot": "feet", "tooth": "teeth", "leaf": "leaves", "knife": "knives",
             "sheep": "sheep", "fish": "fish", "person": "people", "people": "people", "man": "men", "woman": "women",
             "child": "children", "wolf": "wolves", "ox": "oxen", "scissors": "scissors", "glasses": "glasses",
             "jeans": "jeans", "shorts": "shorts", "chopsticks": "chopsticks", "ice": "ice"}

Recipe = collections.namedtuple("Recipe", "seed held_out_share captions kinds")
# Shares of pictures: one thing; one small thing at a place; two by a relation; a few of a kind.
KINDS = {"one": 0.5, "placed": 0.1, "pair": 0.28, "count": 0.12}


class Cutouts:
    """The pictures of tools/make_cutouts, by (name, style); those that aren't there are made of others."""

    def __init__(self, folder):
        import numpy as np
        folder = pathlib.Path(folder)
        self.pictures = np.load(folder / "cutouts.npy", mmap_mode="r")
        self.number = {tuple(n): i for i, n in enumerate(json.loads((folder / "cutouts.json").read_text()))}

    def has(self, name, style):
        return (name, style) in self.number

    def styles(self, name):
        return [s for s in STYLES if self.has(name, s)]

    @functools.lru_cache(maxsize=20000)
    def sized(self, name, style, side, mirrored):
        """RGBA, square of that side; of style "outline/light" and the like for dark grounds."""
        from PIL import Image, ImageOps
        style, *light = style.split("/")
        if style == "pixels":
            return self.pixels(name, side, mirrored)
        base = "noto" if style == "silhouette" else style if self.has(name, style) else "twemoji"
        picture = Image.fromarray(self.pictures[self.number[name, base]])
        picture = picture.convert("RGBa").resize((side, side), Image.Resampling.LANCZOS).convert("RGBA")
        if style in INKED:
            ink = Image.new("RGBA", picture.size, (*(LIGHT_INK if light else INK), 255))
            ink.putalpha(picture.getchannel("A"))
            picture = ink
        return ImageOps.mirror(picture) if mirrored else picture

    def pixels(self, name, side, mirrored):
        """As pixel art: squares of 4 pixels, each seen or not, of a few colours."""
        from PIL import Image
        small = self.sized(name, "twemoji", side // 4, mirrored)
        alpha = small.getchannel("A").point(lambda a: 255 if a >= 128 else 0)
        few = small.convert("RGB").point(lambda v: min(255, 51 * ((v + 25) // 51))).convert("RGBA")
        few.putalpha(alpha)
        return few.resize((side // 4 * 4,) * 2, Image.Resampling.NEAREST)


def plural(name):
    """"cat faces", "faces with tears of joy", "people biking"."""
    head, *rest = re.split(r"(?= (?:with|of|in|behind|on|from|without|and|to)\b)|(?=:)", name, maxsplit=1)
    words = head.split(" ")
    if words[0] in ("person", "people", "man", "woman") and len(words) > 1:
        return " ".join([IRREGULAR[words[0]], *words[1:]]) + "".join(rest)
    last = words[-1]
    if last.lower() in IRREGULAR:
        last = IRREGULAR[last.lower()]
    elif re.search(r"(s|x|z|ch|sh)$", last):
        last += "" if last.endswith("s") and not last.endswith("ss") and not last.endswith("us") else "es"
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return " ".join([*words[:-1], last]) + "".join(rest)


def counted(name, n, words=True):
    return f"{NUMBERS[n] if words else n} {plural(name)}"


def count_held_out(name, n, share=es.HELD_OUT_SHARE):
    return es.hashed("count", name, str(n)) < share


def held_out_prompts(things, count, share=es.HELD_OUT_SHARE):
    """emoji_scenes' prompts, and as many of counts."""
    out = es.held_out_prompts(things, count, share)
    counts = [(t.name, n) for t in things for n in NUMBERS if count_held_out(t.name, n, share)]
    counts.sort(key=lambda c: es.hashed("test", c[0], str(c[1])))
    out["count"] = [{"prompt": counted(name, n), "thing": name, "count": n} for name, n in counts[:count]]
    return out


# ---- what is drawn ----

def pick(rng, items, shares=None):
    """One of the items; only random() is used, whose numbers Python promises to keep."""
    items = list(items)
    if shares is None:
        return items[int(rng.random() * len(items))]
    at = rng.random() * sum(shares)
    for item, share in zip(items, shares):
        at -= share
        if at < 0:
            return item
    return items[-1]


class Ground:
    """What is behind the things: its words, or None for white, and how it is drawn."""

    def __init__(self, words=None, colour=None, kind="plain"):
        self.words, self.colour, self.kind = words, colour, kind

    def dark(self):
        return self.kind == "night" or (self.colour and sum(es.COLOURS[self.colour]) < 250)

    def draw(self, rng):
        from PIL import Image, ImageDraw
        colour = es.COLOURS.get(self.colour, es.WHITE)
        canvas = Image.new("RGBA", (SIZE, SIZE), (*colour, 255))
        draw = ImageDraw.Draw(canvas)
        if self.kind == "striped":
            for x in range(0, SIZE, 16):
                draw.rectangle((x, 0, x + 7, SIZE), lighter(colour))
        elif self.kind == "dotted":
            for y in range(4, SIZE, 16):
                for x in range(4, SIZE, 16):
                    draw.ellipse((x, y, x + 7, y + 7), lighter(colour))
        elif self.kind != "plain":
            getattr(self, self.kind)(draw, rng)
        return canvas

    @staticmethod
    def halves(draw, above, below, horizon):
        draw.rectangle((0, 0, SIZE, horizon - 1), above)
        draw.rectangle((0, horizon, SIZE, SIZE), below)

    def meadow(self, draw, rng):
        self.halves(draw, (150, 215, 245), (110, 190, 80), 80)

    def beach(self, draw, rng):
        self.halves(draw, (150, 215, 245), (240, 215, 150), 88)
        draw.rectangle((0, 64, SIZE, 87), (60, 140, 200))

    def snow(self, draw, rng):
        self.halves(draw, (170, 190, 215), (240, 245, 250), 80)
        for _ in range(12):
            x, y = (8 * int(rng.random() * 16) + 2 for _ in range(2))
            draw.ellipse((x, y, x + 3, y + 3), (255, 255, 255))

    def night(self, draw, rng):
        draw.rectangle((0, 0, SIZE, SIZE), (16, 20, 60))
        for _ in range(16):
            x, y = (8 * int(rng.random() * 16) + 3 for _ in range(2))
            draw.rectangle((x, y, x + 1, y + 1), (250, 245, 200))

    def sky(self, draw, rng):
        draw.rectangle((0, 0, SIZE, SIZE), (130, 200, 245))
        for _ in range(3):
            x, y = 16 * int(rng.random() * 7), 16 * int(rng.random() * 7)
            draw.ellipse((x, y + 8, x + 31, y + 23), (255, 255, 255))


def lighter(colour):
    return tuple((c + 2 * 255) // 3 if sum(colour) < 600 else c * 4 // 5 for c in colour)


def choose_ground(recipe, names, rng):
    kind = pick(rng, ("white", "plain", "scene", "pattern"), (0.5, 0.3, 0.12, 0.08))
    free = [c for c in es.COLOURS if not any(es.background_held_out(c, n, recipe.held_out_share) for n in names)]
    if kind == "scene":
        words = pick(rng, SCENES)
        return Ground(words, kind=SCENES[words])
    if kind == "white" or not free:
        return Ground()
    colour = pick(rng, free)
    if kind == "plain":
        return Ground(es.on_background(colour), colour)
    pattern = pick(rng, PATTERNS)
    return Ground(f"on {es.with_article(pattern)} {colour} background", colour, pattern)


def choose_style(cutouts, names, rng):
    """(style, whether the caption says it)."""
    both = [s for s in STYLES if all(cutouts.has(n, s) for n in names)]
    said = rng.random() < 0.35
    if said and rng.random() < 0.45:
        return pick(rng, ("outline", "pixels", "silhouette"), (0.5, 0.25, 0.25)), True
    return pick(rng, both, [SHARES[s] for s in both]), said


def put(canvas, ground, cutouts, name, style, size, x, y, mirrored, upside_down=False):
    """Draws a thing into its box at (x, y)."""
    look = f"{style}/light" if style in INKED and ground.dark() else style
    picture = cutouts.sized(name, look, SIDES[size], mirrored)
    if upside_down:
        picture = picture.rotate(180)
    gap = (BOXES[size] - picture.width) // 2
    canvas.alpha_composite(picture, (x + gap, y + gap))


def free_places(size):
    """Where a thing of that size may be: corners of its box."""
    if size == "small":
        return list(PLACES.values())
    steps = range(0, SIZE - BOXES[size] + 1, CELL)
    return [(x, y) for y in steps for x in steps]


def mirror(name, rng):
    return rng.random() < 0.5 and not DIRECTED.search(name)


cached_order = functools.lru_cache(maxsize=4)(es.order)


def scene(recipe, cutouts, things, index):
    """Picture number index of a recipe: (RGB picture, captions).  It depends on these and the things alone."""
    rng = random.Random(f"{recipe.seed}/picture/{index}")
    turn, position = divmod(index, len(things))
    thing = things[cached_order(recipe.seed, turn, len(things))[position]]
    kind = pick(rng, recipe.kinds, recipe.kinds.values())
    canvas, describe = globals()[f"draw_{kind}"](recipe, cutouts, things, thing, rng)
    return canvas.convert("RGB"), [describe(rng) for _ in range(recipe.captions)]


def ending(words, ground, style, said, rng):
    """The caption's end: what is behind, and the style."""
    if ground.words:
        words = f"{words} {ground.words}"
    elif rng.random() < 0.06:
        words = f"{words} on a white background"
    if said:
        words = f"{words}, {SAID[style]}" if rng.random() < 0.3 else f"{words} in the style of {SAID[style]}"
    return words


def phrase(thing, rng, bare=0.25, keyword=0.07):
    words = thing.name
    if thing.keywords and rng.random() < keyword:
        words = pick(rng, thing.keywords)
    return words if rng.random() < bare else es.with_article(words)


def draw_one(recipe, cutouts, things, thing, rng):
    ground, (style, said) = choose_ground(recipe, [thing.name], rng), choose_style(cutouts, [thing.name], rng)
    size = pick(rng, BOXES, (0.25, 0.5, 0.25))
    upside_down = rng.random() < 0.04
    x, y = pick(rng, free_places(size))
    canvas = ground.draw(rng)
    put(canvas, ground, cutouts, thing.name, style, size, x, y, mirror(thing.name, rng), upside_down)

    def describe(rng):
        words = phrase(thing, rng)
        if size == "big" and rng.random() < 0.08:
            words = f"a big {thing.name}"
        if upside_down:
            words += " upside down"
        return ending(words, ground, style, said, rng)
    return canvas, describe


def draw_placed(recipe, cutouts, things, thing, rng):
    ground, (style, said) = choose_ground(recipe, [thing.name], rng), choose_style(cutouts, [thing.name], rng)
    place = pick(rng, PLACES)
    canvas = ground.draw(rng)
    put(canvas, ground, cutouts, thing.name, style, "small", *PLACES[place], mirror(thing.name, rng))

    def describe(rng):
        words = f"a {pick(rng, ('small', 'little'))} {thing.name}"
        return ending(f"{words} {place}" if place != "in the middle" or rng.random() < 0.5 else words,
                      ground, style, said, rng)
    return canvas, describe


def draw_pair(recipe, cutouts, things, thing, rng):
    pair = es.choose_pair(ES(recipe.held_out_share), things, thing, rng)
    if pair is None:
        return draw_one(recipe, cutouts, things, thing, rng)
    first, relation, second = pair[:3]
    names = [first.name, second.name]
    ground, (style, said) = choose_ground(recipe, names, rng), choose_style(cutouts, names, rng)
    canvas = ground.draw(rng)
    boxes = ((0, 32), (64, 32)) if relation == "left of" else ((32, 0), (32, 64))
    for t, (x, y) in zip((first, second), boxes):
        put(canvas, ground, cutouts, t.name, style, "small", x, y, mirror(t.name, rng))

    def describe(rng):
        kind = int(rng.random() * (4 if relation == "left of" else 2))
        a, b = phrase(first, rng), phrase(second, rng)
        words = f"{a} {('and', 'next to')[kind - 2]} {b}" if kind > 1 else es.relation_text(a, relation, b, kind == 1)
        return ending(words, ground, style, said, rng)
    return canvas, describe


ES = collections.namedtuple("ES", "held_out_share white_share", defaults=(1,))  # what es.choose_pair reads


def draw_count(recipe, cutouts, things, thing, rng):
    free = [n for n in NUMBERS if not count_held_out(thing.name, n, recipe.held_out_share)]
    if not free:
        return draw_one(recipe, cutouts, things, thing, rng)
    n = pick(rng, free)
    ground, (style, said) = choose_ground(recipe, [thing.name], rng), choose_style(cutouts, [thing.name], rng)
    canvas, mirrored = ground.draw(rng), mirror(thing.name, rng)
    for x, y in GROUPS[n]:
        put(canvas, ground, cutouts, thing.name, style, "small", x, y, mirrored)
    return canvas, lambda rng: ending(counted(thing.name, n, rng.random() < 0.85), ground, style, said, rng)


def plain(cutouts, name, style="noto", size="big", mirrored=False, colour=None, x=0, y=0):
    """A thing alone: what codecs are checked with.  RGB."""
    ground = Ground(colour=colour)
    canvas = ground.draw(None)
    put(canvas, ground, cutouts, name, style, size, x, y, mirrored)
    return canvas.convert("RGB")
