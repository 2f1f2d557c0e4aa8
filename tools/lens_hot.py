"""Which kernels the time goes to, by limn bench --predict, and whether each moves memory in whole lines and keeps its lanes
busy; else the reason has to stand here."""
import fnmatch
import json
import subprocess

# What people wait for; the names are limn bench's.
WORKS = {
    "a code": ["generate builtin, F16, 1 row", "generate mini, Q8_0, 2 rows, 1 picture with guidance",
               "generate mini, Q4_0, 1 row", "generate mindalle, F16, 1 row", "generate mindalle, Q8_0, 9 rows",
               "generate janus-pro-1b, Q8_0, 2 rows, 1 picture with guidance",
               "generate simplear-0.5b, Q4_0, 2 rows, 1 picture with guidance"],
    "a picture": ["decode builtin, 8 pictures", "decode openai-dvae", "decode vqgan", "decode vq16-384",
                  "decode cosmos, 1024 x 1024"],
    "a training step": ["train transformer, dim 256, 8 layers, 288 positions, 8 pictures",
                        "train dvae, 128 x 128, 3 stages of 64, 8 pictures"],
}
DEVICES = ["iris_xe", "rtx3060"]
LEAST = 1  # percent of a work that make a kernel hot
GOALS = {"load": 90, "store": 90, "lanes": 85}
VIEWS = {"32": "NVIDIA", "16": "Intel"}
SMALL = "small shapes"  # begins the names of bounds over all of these

# Kernel, figure, why it is below its goal.  One that is missing fails --check, and so does one that isn't needed.
REASONS = [
    ("linear:rows[248]_*", "store", "4 numbers of each row of x, 16 bytes, are all that a group makes of the 4 KB and more that it reads"),
    ("linear_norm:*", "store", "4 numbers of each row of x, 16 bytes, are all that a team makes of the 4 KB and more that it reads"),
    ("linear_norm:normed_f16", "load", "rows of 2730 numbers begin anywhere in a line; what an instruction leaves of one, its neighbours read"),
    ("attention_tile:attention", "load", "of F16 keys a tile's row is 32 bytes at a time, half of one of Intel's lines; the next step reads the other half"),
    ("conv:conv2d", "store", "100% but where a picture's 3 channels come out: 12 bytes of a pixel, of a tile that has room for 128 channels"),
    ("elementwise:activate", "lanes", "erf() has branches by its argument, which neighbours don't share"),
    ("optimiser:add_parts", "lanes", "one group adds up 256 numbers, of which half remain after each step"),
]


def predicted(limn):
    """{work: {kernel: its largest share on one of the devices, percent}}; a launch counts with what it costs besides."""
    found = {}
    for device in DEVICES:
        command = [limn, "bench", "--predict", device, "--json"] + [name for names in WORKS.values() for name in names]
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True)
        rows = {row["name"]: row["predicted"] for row in json.loads(done.stdout)["rows"] if "predicted" in row}
        for work, names in WORKS.items():
            for name in names:
                p = rows[name]
                gap = sum(p["launch_seconds"]) / 2 / p["launches"]
                times = {k["kernel"]: k["seconds"] + gap * k["launches"] for k in p["kernels"]}
                for kernel, seconds in times.items():
                    of = found.setdefault(work, {})
                    of[kernel] = max(of.get(kernel, 0), 100 * seconds / sum(times.values()))
    return found


def file_of(kernel, files):
    """The kernel as limn names it: of the .cl file that includes what it is written in."""
    written, name = kernel.split(":")
    return max((f for f in files if written.startswith(f)), key=len, default=written) + ":" + name


def worst(bounds, files):
    """{kernel: {figure: {view: (the least, its test)}}}, of shapes that are like models' where there are any."""
    found, small = {}, {}
    for row, views in bounds.items():
        test, _, kernel = row.rpartition(" / ")
        if not test:
            continue
        of = (small if test.startswith(SMALL) else found).setdefault(file_of(kernel, files), {})
        for figure in GOALS:
            for view in VIEWS:
                value = views.get(view, {}).get(figure)
                if value is not None:
                    least = of.setdefault(figure, {})
                    least[view] = min(least.get(view, (value, test)), (value, test))
    return {**small, **found}


def reason_of(kernel, figure):
    return next((r for r in REASONS if r[1] in (figure, "*") and fnmatch.fnmatchcase(kernel, r[0])), None)


def text(of, figure):
    return " ".join(f"{of[figure][v][0]:4.0f}" if v in of.get(figure, {}) else "   -" for v in VIEWS)


def report(limn, bounds, files):
    """(lines of the table, complaints)"""
    shares, figures = predicted(limn), worst(bounds, files)
    lines, complaints, used = [], [], set()
    lines += [f"of {LEAST}% and more of a work, by its largest share on {' and '.join(DEVICES)}; lines and lanes of "
              + ", ".join(f"{name} ({view} lanes)" for view, name in VIEWS.items()),
              f"{'kernel':36}" + "".join(f"{work:>17}" for work in WORKS) + f"{'load':>11}{'store':>11}{'lanes':>11}"]
    hot = {k for of in shares.values() for k, share in of.items() if share >= LEAST}
    for kernel in sorted(hot, key=lambda k: -max(of.get(k, 0) for of in shares.values())):
        of = figures.get(kernel)
        cells = "".join(f"{share:16.1f}%" if (share := shares[work].get(kernel, 0)) >= 0.05 else f"{'-':>17}" for work in WORKS)
        if of is None:
            complaints.append(f"{kernel} is hot, and no test of the lens runs it (give tests/ops/ops_lens.c a shape)")
            lines.append(f"{kernel:36}{cells}  is not watched")
            continue
        lines.append(f"{kernel:36}{cells}  {text(of, 'load')}  {text(of, 'store')}  {text(of, 'lanes')}")
        for figure, goal in GOALS.items():
            low = [(value, test) for value, test in of.get(figure, {}).values() if value < goal]
            if not low:
                continue
            reason = reason_of(kernel, figure)
            if reason:
                used.add(reason)
                lines.append(f"    {figure}: {reason[2]}")
            else:
                complaints.append(f"{kernel}: {figure} {min(low)[0]:.0f}% ({min(low)[1]}), asked are {goal}% or a reason")
    complaints += [f"{kernel}, {figure}: the reason isn't needed any more" for kernel, figure, why in REASONS
                   if (kernel, figure, why) not in used]
    return lines, complaints
