"""tools/scenes.py: what captions say is what is drawn, held-out combinations never are, and an index is one picture."""
import pathlib
import re
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "tools"))
import emoji_scenes as es  # noqa: E402
import scenes  # noqa: E402

NAMES = ("ant", "red fox", "glass of milk", "person biking", "left arrow")
HALF = 0.5  # held out: enough to be met in few pictures


class Squares:
    """Cut-outs that are squares of one colour, a thing's own."""

    def has(self, name, style):
        return style in scenes.STYLES[:2] or name != "ant"

    def styles(self, name):
        return [s for s in scenes.STYLES if self.has(name, s)]

    def sized(self, name, style, side, mirrored):
        from PIL import Image
        return Image.new("RGBA", (side, side), (200 + NAMES.index(name), 1, 2, 255))


def made(count, share=es.HELD_OUT_SHARE, kinds=scenes.KINDS, seed=7):
    things = [es.Thing(n, "group", [], None, 0) for n in NAMES]
    recipe = scenes.Recipe(seed, share, 2, kinds)
    return [scenes.scene(recipe, Squares(), things, i) for i in range(count)]


def boxes(picture):
    """The boxes of a picture's squares, by name: their extents where a name has one square."""
    import numpy as np
    pixels = np.asarray(picture)
    out = {}
    for n, name in enumerate(NAMES):
        y, x = np.nonzero((pixels == (200 + n, 1, 2)).all(2))
        if len(y):
            out[name] = (x.min(), y.min(), x.max() + 1, y.max() + 1)
    return out


class Words(unittest.TestCase):
    def test_plural(self):
        for one, many in {"cat face": "cat faces", "face with tears of joy": "faces with tears of joy", "fox": "foxes",
                          "mouse": "mice", "strawberry": "strawberries", "boy": "boys", "fish": "fish", "tooth": "teeth",
                          "person biking": "people biking", "shopping bags": "shopping bags", "bus": "buses",
                          "glass of milk": "glasses of milk", "person": "people"}.items():
            self.assertEqual(scenes.plural(one), many)
        self.assertEqual(scenes.counted("person", 3), "three people")

    def test_prompts_of_counts_are_held_out(self):
        things = [es.Thing(n, "group", [], None, 0) for n in NAMES]
        asked = scenes.held_out_prompts(things, 4, HALF)["count"]
        self.assertEqual(len(asked), 4)
        for q in asked:
            self.assertTrue(scenes.count_held_out(q["thing"], q["count"], HALF))
            self.assertIn(scenes.NUMBERS[q["count"]], q["prompt"])


class Pictures(unittest.TestCase):
    def setUp(self):
        try:
            import numpy  # noqa: F401
            import PIL  # noqa: F401
        except ImportError as e:
            self.skipTest(str(e))

    def test_an_index_is_one_picture(self):
        first, again = made(40), made(40)
        for (a, words), (b, same) in zip(first, again):
            self.assertEqual(a.tobytes(), b.tobytes())
            self.assertEqual(words, same)
        self.assertNotEqual([w for _, w in first], [w for _, w in made(40, seed=8)])

    def test_held_out_is_never_drawn(self):
        for _, captions in made(400, HALF):
            for words in captions:
                colour = re.search(r"on an? (?:striped |dotted )?(\w+) background", words)
                for name in NAMES:
                    said = name in words or scenes.plural(name) in words
                    if said and colour and colour[1] != "white":
                        self.assertFalse(es.background_held_out(colour[1], name, HALF), words)
                    for n, number in scenes.NUMBERS.items():
                        if re.match(f"({number}|{n}) {scenes.plural(name)}", words):
                            self.assertFalse(scenes.count_held_out(name, n, HALF), words)
                match = re.match(r"an? (.+?) to the left of an? (.+?)(,| on | in | at |$)", words)
                if match and {match[1], match[2]} <= set(NAMES):
                    self.assertFalse(es.place_held_out(match[1], "left", HALF), words)
                    self.assertFalse(es.place_held_out(match[2], "right", HALF), words)
                    self.assertFalse(es.pair_held_out(match[1], "left of", match[2], HALF), words)

    def test_what_is_said_is_drawn(self):
        for picture, captions in made(300, kinds={"pair": 1}):
            found = boxes(picture)
            for words in captions:
                for relation, axis, order in (("to the left of", 0, 1), ("to the right of", 0, -1), (" above ", 1, 1),
                                              (" below ", 1, -1)):
                    if relation in words:
                        first, second = sorted(found, key=words.index)
                        self.assertLess(order * found[first][axis], order * found[second][axis], words)

    def test_boxes_begin_at_cells(self):
        gaps = {scenes.SIDES[s]: (scenes.BOXES[s] - scenes.SIDES[s]) // 2 for s in scenes.BOXES}
        for picture, captions in made(200, kinds={"one": 1, "placed": 1}):
            for left, top, right, bottom in boxes(picture).values():
                self.assertIn(right - left, gaps)
                self.assertEqual(((left - gaps[right - left]) % scenes.CELL, (top - gaps[right - left]) % scenes.CELL), (0, 0))

    def test_counts(self):
        import numpy as np
        for picture, captions in made(60, kinds={"count": 1}):
            (name, _), = boxes(picture).items()
            n = round((np.asarray(picture) == (200 + NAMES.index(name), 1, 2)).all(2).sum() / scenes.SIDES["small"] ** 2)
            for words in captions:
                self.assertTrue(words.startswith((f"{n} ", f"{scenes.NUMBERS[n]} ")), f"{words}: {n}")


if __name__ == "__main__":
    unittest.main()
