"""Figures that may not get worse: a file has, by row and column, the best that was measured, and a check compares.

    {"conv:conv2d": {"sm_86": {"fma": 75.1, "loads": 12}, ...}, "compiled by": {"sm_86": "ptxas 13.0.88"}}

Rows are sorted and have a line for each column, so that a change of one is a line of the difference.  Who makes one figure
worse for the sake of another changes the file by hand."""
import json

VERSIONS = "compiled by"
SLACK = 1.02  # what a figure may differ by before it counts as worse


def load(path):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}


def worse(figure, bound, larger_is_better):
    return figure * SLACK < bound if larger_is_better else figure > bound * SLACK


def check(bounds, measured, better, versions=None):
    """What is worse, as lines; what isn't compared, as lines.  measured[row][column] = {name: figure}, of which those in
    better ({name: whether larger is}) are bound.  Rows without bounds are new, and not compared."""
    bad, skipped = [], []
    old = bounds.get(VERSIONS, {})
    other = {c for c, v in (versions or {}).items() if c in old and old[c] != v}
    skipped += [f"{c} isn't compared: the bounds are of {old[c]}, here is {versions[c]}" for c in sorted(other)]
    for row, columns in sorted(measured.items()):
        if row not in bounds:
            skipped.append(f"{row} isn't compared: it has no bounds (--write gives it some)")
            continue
        for column, figures in columns.items():
            for name, bound in bounds[row].get(column, {}).items():
                if column not in other and name in figures and worse(figures[name], bound, better[name]):
                    bad.append(f"{row}, {column}: {name} {figures[name]:g}, bound {bound:g}")
    return bad, skipped


def renew(bounds, measured, better, versions=None, whole=True):
    """The bounds with each figure that is better or new in its place.  A column of another compiler begins anew.  Where
    all was measured (whole), rows that were not are gone."""
    old = bounds.get(VERSIONS, {})
    result = {} if whole else {k: v for k, v in bounds.items() if k != VERSIONS}
    for row, columns in measured.items():
        result[row] = dict(bounds.get(row, {}))
        for column, figures in columns.items():
            before = bounds.get(row, {}).get(column, {}) if (versions or {}).get(column) == old.get(column) else {}
            now = {}
            for name, figure in figures.items():
                if name in better:
                    keep = name in before and (before[name] > figure if better[name] else before[name] < figure)
                    now[name] = before[name] if keep else round(figure, 3)
            result[row][column] = now
    if versions:
        result[VERSIONS] = {**old, **versions}
    return result


def save(path, bounds):
    lines = []
    for row, columns in sorted(bounds.items(), key=lambda r: (r[0] != VERSIONS, r[0])):
        inner = ",\n".join(f"    {json.dumps(c)}: {json.dumps(f)}" for c, f in sorted(columns.items()))
        lines.append(f"  {json.dumps(row)}: {{\n{inner}\n  }}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
