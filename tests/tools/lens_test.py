#!/usr/bin/env python3
"""The lens sees in tests/device/lens_program.c what is in it.  usage: lens_test.py BUILD; exits with 77 without the lens."""
import importlib.machinery
import importlib.util
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
TOOLS = Path(__file__).resolve().parent.parent.parent / "tools"
sys.path.insert(0, str(TOOLS))
loader = importlib.machinery.SourceFileLoader("lens", str(TOOLS / "lens"))
lens = importlib.util.module_from_spec(importlib.util.spec_from_loader("lens", loader))
loader.exec_module(lens)

# name: {view: {figure: value}}
KNOWN = {
    "every": {"32": {"load": 100, "store": 100, "lanes": 100, "apart": 100}, "16": {"load": 100}, "64": {"load": 100},
              "all": {"groups": 4, "items": 64, "own": 0}},
    "second": {"32": {"load": 50, "store": 100}, "16": {"load": 50}, "64": {"load": 50}},
    "one": {"32": {"load": 100, "store": 100}},
    "vectors": {"32": {"load": 100, "apart": 25}, "16": {"load": 100}},
    "aligned": {"32": {"load": 100, "apart": 100}, "16": {"load": 100}, "64": {"load": 100}},
    "banks": {"32": {"bank": 4}, "16": {"bank": 4}},
    "products": {"all": {"groups": 4, "items": 64}},
}


def check_hot(build):
    """Complaints: of lens_hot's figures of made-up bounds, and of the kernels that time goes to."""
    bounds = {"a / linear_group:rows1_f16": {"32": {"load": 100.0, "lanes": 90.0}, "16": {"load": 50.0}},
              "b / linear_group:rows1_f16": {"32": {"load": 70.0}}, "small shapes / linear_group:rows1_f16": {"32": {"load": 9.0}},
              "small shapes / norm:softmax": {"16": {"store": 30.0}}}
    want = {"linear:rows1_f16": {"load": {"32": (70.0, "b"), "16": (50.0, "a")}, "lanes": {"32": (90.0, "a")}},
            "norm:softmax": {"store": {"16": (30.0, "small shapes")}}}
    found = lens.lens_hot.worst(bounds, {"linear", "linear_norm", "norm"})
    bad = [] if found == want else [f"the worst of each kernel: {found}, not {want}"]
    files = {f.stem for f in (TOOLS.parent / "cl").glob("*.cl")}
    lines, complaints = lens.lens_hot.report(Path(build) / "limn", lens.bounds.load(lens.BOUNDS), files)
    if len(lines) < 30:
        bad.append(f"only {len(lines)} lines on hot kernels")
    return bad + complaints


def main(build):
    files = lens.needed(Path(build))
    with tempfile.TemporaryDirectory() as folder:
        launches = lens.run(files, [Path(build) / "tests/lens_program"], Path(folder) / "0", 8)
    found = {name: lens.figures_of(s) for name, s in lens.gather(launches, lambda launch: launch["test"]).items()}
    bad = check_hot(build)
    for name, views in KNOWN.items():
        for view, figures in views.items():
            for figure, value in figures.items():
                here = found.get(name, {}).get(view, {}).get(figure)
                if here != value:
                    bad.append(f"{name}, {view}: {figure} {here}, not {value}")
    sums = lens.gather(launches, lambda launch: launch["test"])
    for lanes in (32, 16, 64):  # half of them, for most of the time
        busy = found["lanes"][str(lanes)]["lanes"]
        if not 50 <= busy < 60:
            bad.append(f"lanes, {lanes}: {busy}, not half of them")
    if sums["products"]["kinds"]["fma"] != 256 * 100 or sums["products"]["flops"] != 256 * 200:
        bad.append(f"products: {sums['products']['kinds']['fma']} multiply-adds, {sums['products']['flops']} FLOP")
    for line in bad:
        print(f"lens_test: {line}", file=sys.stderr)
    print(f"lens_test: {len(found)} kernels")
    return 1 if bad or len(found) != 8 else 0


sys.exit(main(sys.argv[1]))
