"""What compiled kernels consist of: instructions of NVIDIA, AMD and Intel, the loops that they form, the loads that they
have under way.  tools/isa prints it.

An instruction is what is issued once for a warp, a wave or a thread: of kind

    fma         products that are added: `products` of a lane (4 where one instruction takes 4 bytes, 2 of halves)
    load store  of global memory, `numbers` of 32 bits or less of a lane
    read write  of local memory, the same
    other       addresses, conversions, branches, waits, ...

What only hints at the hardware (s_clause, s_delay_alu, nop, ...) isn't counted."""
import math
import re
from dataclasses import dataclass, field


@dataclass
class Instruction:
    kind: str
    text: str
    products: float = 0
    numbers: int = 0
    to: list = field(default_factory=list)  # labels that it may go to
    ends: bool = False  # what follows it in the code doesn't follow it otherwise
    writes: set = field(default_factory=set)  # registers
    reads: set = field(default_factory=set)
    cost: float = 1  # Intel: 0.5 of what half of a thread's 32 lanes, or fewer, do
    waits: int = None  # AMD: no more than so many loads are under way behind it
    label: bool = False  # no instruction, but a place: its name is `text`


@dataclass
class Loop:
    """A natural loop: the head, through which all ways into it lead, and its instructions, as places in the code."""
    head: int
    body: set
    inner: list = field(default_factory=list)  # loops in it, and in no other one in it
    parent: object = None


def span(first, count):
    return set(range(first, first + count))


# ---- NVIDIA: nvdisasm -c ----

NVIDIA_WIDTH = {".128": 4, ".64": 2}


def nvidia_line(predicated, op, rest, to):
    base = op.split(".")[0]
    numbers = next((n for part, n in NVIDIA_WIDTH.items() if part in op), 1)
    registers = [int(r) for r in re.findall(r"\bR(\d+)\b", rest)]
    i = Instruction("other", f"{op} {rest}", to=[to] if to and base == "BRA" else [])
    i.ends = base in ("BRA", "EXIT", "RET") and not predicated
    if base in ("LDG", "LD"):
        i.kind, i.numbers = "load", numbers
    elif base in ("STG", "ST", "RED", "ATOMG"):
        i.kind, i.numbers = "store", numbers
    elif base == "LDS":
        i.kind, i.numbers = "read", numbers
    elif base == "STS":
        i.kind, i.numbers = "write", numbers
    elif base == "FFMA":
        i.kind, i.products = "fma", 1
    elif base == "HFMA2" and not re.match(r"R\d+, -?RZ, -?RZ", rest):  # that is how zeros and constants are made
        i.kind, i.products = "fma", 2
    elif base in ("IDP", "IDP4A"):
        i.kind, i.products = "fma", 2 if ".2A" in op else 4
    elif base in ("HMMA", "IMMA"):  # of a warp: rows x columns x depth, as .16816. says
        shape = re.search(r"\.(\d+?)(8|16)(4|8|16|32)\b", op)
        i.kind, i.products = "fma", product_of(shape.groups()) / 32 if shape else 32
    if i.kind in ("store", "write") or not registers:
        i.reads = set(registers)
    else:
        i.writes, i.reads = span(registers[0], numbers if i.kind in ("load", "read") else 1), set(registers[1:])
    return i


def product_of(numbers):
    result = 1
    for number in numbers:
        result *= int(number)
    return result


def nvidia(text):
    code = []
    for line in text.splitlines():
        label = re.match(r"(\.L_\w+):", line)
        if label:
            code.append(Instruction("other", label[1], label=True))
            continue
        found = re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+ +)?([A-Z][A-Z0-9_.]*) *(.*?) *;", line)
        if found and found[2] != "NOP":
            to = re.search(r"`\((\.L_\w+)\)", found[3])
            code.append(nvidia_line(found[1], found[2], found[3].replace(".reuse", ""), to and to[1]))
    return code


# ---- AMD: clang -S ----

AMD_HINTS = ("s_clause", "s_delay_alu", "s_nop", "s_inst_prefetch", "s_code_end", "s_set_inst_prefetch_distance")
AMD_FMA = r"v_(?:dual_)?(?:fma|fmac|mac|mad|fmaak|fmamk|fma_mix|fma_mixlo|fma_mixhi|mad_mix)(?:_legacy)?_(?:f32|f16)"


def amd_registers(rest):
    found = [span(int(a), int(b) - int(a) + 1) for a, b in re.findall(r"\bv\[(\d+):(\d+)\]", rest)]
    return [{int(r)} for r in re.findall(r"\bv(\d+)\b", rest)] + found


def amd_numbers(op):
    many = re.search(r"(?:dwordx|_b32x|_x)(\d+)", op)
    bits = re.search(r"_b(\d+)(?:_|$)", op)
    twice = 2 if re.match(r"ds_(?:read|write|load|store)_?2", op) else 1
    return int(many[1]) if many else twice * (max(1, int(bits[1]) // 32) if bits else 1)


def amd_line(op, rest):
    i = Instruction("other", f"{op} {rest}")
    to = re.search(r"(\.LBB\w+)", rest)
    i.ends = op in ("s_branch", "s_endpgm")
    if op.startswith(("s_cbranch", "s_branch")) and to:
        i.to = [to[1]]
    elif re.match(r"(global|flat|buffer)_load", op):
        i.kind, i.numbers = "load", amd_numbers(op)
    elif re.match(r"(global|flat|buffer)_(store|atomic)", op):
        i.kind, i.numbers = "store", amd_numbers(op)
    elif re.match(r"ds_(read|load)", op):
        i.kind, i.numbers = "read", amd_numbers(op)
    elif re.match(r"ds_(write|store)", op):
        i.kind, i.numbers = "write", amd_numbers(op)
    elif op == "s_waitcnt":
        counter = re.search(r"vmcnt\((\d+)\)", rest)
        i.waits = int(counter[1]) if counter else None
    elif re.match(r"v_pk_(fma|mad)_f(16|32)", op) or "dot2" in op:
        i.kind, i.products = "fma", 2
    elif "dot4" in op or "dot8" in op:
        i.kind, i.products = "fma", 8 if "dot8" in op else 4
    else:  # one instruction may be two: "v_dual_fmac_f32 v0, v1, v2 :: v_dual_mul_f32 v3, v4, v5"
        i.products = len(re.findall(AMD_FMA, i.text))
        i.kind = "fma" if i.products else "other"
    if i.kind == "load":
        i.writes = amd_registers(rest.split(",")[0])[0]
    return i


def amd(text):
    code = []
    for line in text.splitlines():
        label = re.match(r"(\.LBB\w+):", line)
        if label:
            code.append(Instruction("other", label[1], label=True))
            continue
        found = re.match(r"\t([a-z]\w+) *(.*?) *(?:;.*)?$", line)
        if found and found[1] not in AMD_HINTS:
            code.append(amd_line(found[1], found[2].replace("\t", " ").strip()))
    return code


# ---- Intel: ocloc disasm ----

INTEL_LINE = re.compile(r"^(?:\([^)]*\))?\s*([a-z][\w.]*)\s+\((\d+)\|M\d+\)\s*(.*)$")
INTEL_OTHER = re.compile(r"^(?:\([^)]*\))?\s*([a-z][\w.]*)\s*(.*)$")


def intel_send(i, op, rest):
    """What a message does, by the comment that the disassembler adds."""
    operands, _, comment = rest.partition("//")
    local = ".slm" in op or bool(re.search(r"\b0x[0-9A-F]{6}FE\b", operands)) and "dc" in op + comment
    returned = re.search(r"rd:(\d+)", comment)
    returned = int(returned[1]) if returned else 0
    channels = re.search(r"with ([xyzw]+)", comment)
    vector = re.search(r"\bd\d+(?:u32)?x(\d+)", comment)
    i.numbers = len(channels[1]) if channels else int(vector[1]) if vector else 1
    if "fence" in comment or "barrier" in comment or "end of thread" in comment or "gtwy" in op:
        i.numbers = 0
    elif returned and re.search(r"read|load", comment):
        i.kind = "read" if local else "load"
    elif re.search(r"write|store|atomic", comment):
        i.kind = "write" if local else "store"
    to = re.match(r"\s*r(\d+)", operands)
    if to and returned:
        i.writes = span(int(to[1]), returned)


def intel_line(op, lanes, rest, simd):
    i = Instruction("other", f"{op} ({lanes}) {rest}", cost=0.5 if simd == 32 and lanes < 32 else 1)
    if op.startswith("send") or op.startswith(("load.", "store.", "atomic")):
        intel_send(i, op, rest)
        return i
    operands = rest.split("{")[0].split("//")[0]
    if op in ("mad", "fma", "mac", "mach") and re.search(r":(f|hf|df)\b", operands):
        i.kind, i.products = "fma", min(1, lanes / simd)
    elif op == "dp4a":
        i.kind, i.products = "fma", 4 * min(1, lanes / simd)
    elif op.startswith("dpas"):  # dpas.DEPTHxREPEAT: of 2 halves or 4 bytes a step
        shape = re.search(r"(\d+)x(\d+)", op)
        i.kind, i.products = "fma", (product_of(shape.groups()) if shape else 8) * (4 if re.search(r":u?b\b", operands) else 2)
    named = re.findall(r"\br(\d+)\.\d+<([^>]*)>", operands)
    for n, (register, region) in enumerate(named):
        wide = lanes >= 16 and not region.startswith("0")
        (i.writes if n == 0 else i.reads).update(span(int(register), 2 if wide else 1))
    return i


def intel(text, simd):
    code = []
    for line in text.splitlines():
        label = re.match(r"^(L\d+):", line)
        if label:
            code.append(Instruction("other", label[1], label=True))
            continue
        found, lanes = INTEL_LINE.match(line), 1
        if found:
            op, lanes, rest = found[1], int(found[2]), found[3]
        else:
            found = INTEL_OTHER.match(line)
            if not found:
                continue
            op, rest = found[1], found[2]
        if op in ("nop", "illegal"):
            continue
        i = intel_line(op, lanes, rest, simd)
        if i.kind == "other":
            i.to = re.findall(r"\b(L\d+)\b", rest.split("//")[0])
            i.ends = op == "jmpi" and not re.match(r"\([^)]*f\d", line)
        code.append(i)
    return code


# ---- loops ----

def blocks_of(code):
    """(first instructions of the basic blocks, in their order; those that follow each)."""
    at = {i.text: n for n, i in enumerate(code) if i.label}
    starts = {0} | set(at.values()) | {n + 1 for n, i in enumerate(code) if (i.to or i.ends) and n + 1 < len(code)}
    firsts = sorted(starts)
    following = []
    for first, end in zip(firsts, firsts[1:] + [len(code)]):
        last = code[end - 1]
        next_ones = {at[to] for to in last.to if to in at}
        if not last.ends and end < len(code):
            next_ones.add(end)
        following.append(next_ones)
    number = {first: n for n, first in enumerate(firsts)}
    return firsts, [[number[n] for n in f] for f in following]


def dominators(following):
    """Of each block the closest that all ways to it lead through (Cooper, Harvey and Kennedy 2001); None: no way does."""
    order, seen, stack = [], {0}, [(0, iter(following[0]))]
    while stack:
        block, rest = stack[-1]
        for other in rest:
            if other not in seen:
                seen.add(other)
                stack.append((other, iter(following[other])))
                break
        else:
            order.append(block)
            stack.pop()
    place = {block: n for n, block in enumerate(order)}
    before = {block: [] for block in order}
    for block in order:
        for other in following[block]:
            before[other].append(block)
    found = [None] * len(following)
    found[0] = 0
    changed = True
    while changed:
        changed = False
        for block in reversed(order[:-1]):
            closest = None
            for other in before[block]:
                if found[other] is not None:
                    closest = other if closest is None else closest
                    while closest != other:
                        while place[closest] < place[other]:
                            closest = found[closest]
                        while place[other] < place[closest]:
                            other = found[other]
            if found[block] != closest:
                found[block], changed = closest, True
    return found, before


def loops_of(code):
    """All loops, outer ones first."""
    firsts, following = blocks_of(code)
    closest, before = dominators(following)
    bodies = {}
    for block in before:
        for head in following[block]:
            at = block
            while at not in (head, 0):
                at = closest[at]
            if at != head:
                continue
            body, left = bodies.setdefault(head, {head}), [block]
            while left:
                at = left.pop()
                if at not in body:
                    body.add(at)
                    left += before[at]
    ends = firsts[1:] + [len(code)]
    places = {h: {n for b in blocks for n in range(firsts[b], ends[b])} for h, blocks in bodies.items()}
    found = [Loop(firsts[h], body) for h, body in sorted(places.items(), key=lambda p: (-len(p[1]), firsts[p[0]]))
             if sum(not code[n].label for n in body) > 1]  # what goes to itself fills up the end of NVIDIA's code
    for n, loop in enumerate(found):
        for other in found[:n]:
            if loop.body < other.body:
                loop.parent = other  # the last one is the smallest
        if loop.parent:
            loop.parent.inner.append(loop)
    for loop in found:
        loop.inner.sort(key=lambda inner: inner.head)
    return sorted(found, key=lambda loop: (loop.head, -len(loop.body)))


def own(code, loop):
    """A loop's instructions without those of the loops in it."""
    inside = set().union(*(inner.body for inner in loop.inner))
    return [code[n] for n in sorted(loop.body - inside) if not code[n].label]


def whole(code, loop):
    return [code[n] for n in sorted(loop.body) if not code[n].label]


def count(instructions, kind=None):
    """How many there are of a kind, or in all; of 16 lanes, where a thread has 32."""
    return sum(i.cost for i in instructions if kind in (i.kind, None))


def in_flight(code, loop):
    """The most loads of global memory that a loop has under way when it waits for one of them.  Two rounds, so that what
    the next one needs may be asked for before."""
    under_way, most = [], 0
    for i in whole(code, loop) * 2:
        if i.waits is not None:
            if len(under_way) > i.waits:
                most = max(most, count(under_way))
                under_way = under_way[len(under_way) - i.waits:] if i.waits else []
            continue
        needed = max((n for n, load in enumerate(under_way) if load.writes & i.reads), default=-1)
        if needed >= 0:  # older ones come back first
            most = max(most, count(under_way))
            under_way = under_way[needed + 1:]
        if i.kind == "load":
            under_way.append(i)
    return math.ceil(most)
