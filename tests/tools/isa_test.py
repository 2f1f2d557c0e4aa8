#!/usr/bin/env python3
"""tools/isa: listings and kernels whose figures are known.  usage: isa_test.py; exits with 77 where no compiler is here."""
import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
TOOLS = Path(__file__).resolve().parent.parent.parent / "tools"
sys.path.insert(0, str(TOOLS))
import bounds  # noqa: E402
import compilers  # noqa: E402
import isa_code  # noqa: E402

loader = importlib.machinery.SourceFileLoader("isa", str(TOOLS / "isa"))
isa = importlib.util.module_from_spec(importlib.util.spec_from_loader("isa", loader))
loader.exec_module(isa)

# Two loads, one wait for both, two products; the last line goes to itself.
NVIDIA = """
.L_x_2:
        /*0130*/                   LDG.E.128.SYS R16, [R6] ;
        /*0150*/                   LDG.E.SYS R20, [R8] ;
        /*0160*/                   NOP ;
        /*0170*/                   FFMA R11, R18.reuse, R20, R11 ;
        /*0280*/                   FFMA R11, R17, R20, R11 ;
        /*0300*/               @P1 BRA `(.L_x_2) ;
.L_x_5:
        /*05d0*/                   BRA `(.L_x_5);
"""
# A loop that fills local memory around one of four products: 8 + 4 (2 + 4) instructions where there are 16 products.
NVIDIA_TILE = """
.L_x_1:
        /*0000*/                   LDG.E R4, [R2] ;
        /*0010*/                   LDG.E R5, [R2+0x4] ;
        /*0020*/                   STS [R9], R4 ;
        /*0030*/                   STS [R9+0x4], R5 ;
        /*0040*/                   BAR.SYNC 0x0 ;
        /*0050*/                   MOV R6, RZ ;
.L_x_2:
        /*0060*/                   LDS R7, [R10] ;
        /*0070*/                   FFMA R20, R7, R8, R20 ;
        /*0080*/                   FFMA R21, R7, R8, R21 ;
        /*0090*/                   FFMA R22, R7, R8, R22 ;
        /*00a0*/                   FFMA R23, R7, R8, R23 ;
        /*00b0*/              @P0 BRA `(.L_x_2) ;
        /*00c0*/                   IADD3 R2, R2, 0x8, RZ ;
        /*00d0*/              @P1 BRA `(.L_x_1) ;
"""
# One load after the other; a dual instruction has two products, dot4 four; what is a hint isn't counted.
AMD = """
.LBB0_2:                                ; =>This Inner Loop Header: Depth=1
\ts_clause 0x1
\tglobal_load_dwordx4 v[7:10], v[2:3], off
\ts_waitcnt vmcnt(0)
\tglobal_load_b32 v11, v[4:5], off
\ts_waitcnt vmcnt(0) lgkmcnt(0)
\tv_dual_fmac_f32 v6, v7, v11 :: v_dual_fmac_f32 v5, v8, v11
\tv_dot4c_i32_i8_e32 v4, v9, v10
\tds_read2_b32 v[0:1], v12 offset1:4
\ts_cbranch_scc0 .LBB0_2
"""
# 16 of 32 lanes: half a product; local memory is the surface 0xFE.
INTEL = """
L240:
(W)     add (1|M0)               r122.0<1>:d   r122.0<0;1,0>:d   64:w
        send (16|M0)             r16:w    r120    0xC            0x04805000           // wr:2+0, rd:8; hdc.dc1; untyped surface read with xyzw
        send.dc1 (16|M0)         r38      r36     null:0  0x0            0x04205EFE           {A@2,$10} // wr:2+0, rd:2; untyped surface read with x
        sends (16|M0)            null:w   r34     r6      0x8C            0x04025EFE           // wr:2+2, rd:0; hdc.dc1; untyped surface write with x
        mad (16|M0)              r32.0<1>:f    r6.0<2;1>:f       r17.0<2;1>:f      r111.0<1>:f      {Compacted}
        mad (16|M0)              r33.0<1>:d    r6.0<2;1>:d       r16.0<2;1>:d      r111.0<1>:d
        nop
(f1.0)  goto.b (32|M0)                       L768                  L240
L768:
"""
# What a step loads depends on what the one before loaded.
CHASE = """__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void rows1_f32(__global const float *x, __global float *y, int n)
{
    float s = 0.0f;
    int at = get_local_id(0);
    _Pragma("unroll 1") for (int i = 0; i < n; i++) {
        s = fma(x[at], 3.0f, s);
        at = (int)x[at];
    }
    y[get_local_id(0)] = s;
}
"""
failures = []


def expect(what, found, wanted):
    if found != wanted:
        failures.append(f"{what}: {found}, not {wanted}")


def listings():
    code = isa_code.nvidia(NVIDIA)
    loop, = isa_code.loops_of(code)
    body = isa_code.whole(code, loop)
    expect("NVIDIA's instructions", len(body), 5)
    expect("NVIDIA's loads", [i.numbers for i in body if i.kind == "load"], [4, 1])
    expect("NVIDIA's products", sum(i.products for i in body), 2)
    expect("NVIDIA's loads under way", isa_code.in_flight(code, loop), 2)
    expect("NVIDIA's figures", isa.weights(code, 1), {"each": 2.5, "fma": 40.0, "loads": 2})
    expect("for two rows", isa.weights(code, 2)["each"], 5.0)
    tile = isa.tiles(isa_code.nvidia(NVIDIA_TILE), {"products": 16, "fill": [1, 1]})
    expect("a tile's step", tile, {"fma": 100 * 16 / (8 + 4 * 6), "loads": 2})
    code = isa_code.amd(AMD)
    loop, = isa_code.loops_of(code)
    body = isa_code.whole(code, loop)
    expect("AMD's instructions", len(body), 8)
    expect("AMD's products", [i.products for i in body if i.kind == "fma"], [2, 4])
    expect("AMD's numbers", [i.numbers for i in body if i.numbers], [4, 1, 2])
    expect("AMD's loads under way", isa_code.in_flight(code, loop), 1)
    code = isa_code.intel(INTEL, 32)
    loop, = isa_code.loops_of(code)
    body = isa_code.whole(code, loop)
    expect("Intel's kinds", [i.kind for i in body], ["other", "load", "read", "write", "fma", "other", "other"])
    expect("Intel's products", sum(i.products for i in body), 0.5)
    expect("Intel's numbers", [i.numbers for i in body if i.numbers], [4, 1, 1])
    expect("Intel's loads under way", isa_code.in_flight(code, loop), 1)
    expect("of 16 lanes", isa_code.count(body), 3.5 + 0.5)


def bound():
    better = {"fma": True, "each": False}
    known = {"a:b": {"sm_86": {"fma": 50.0, "each": 4.0}}, "a:gone": {"sm_86": {"fma": 9.0}}}
    now = {"a:b": {"sm_86": {"fma": 49.5, "each": 5.0, "registers": 9}}, "a:new": {"sm_86": {"fma": 1.0}}}
    bad, skipped = bounds.check(known, now, better)
    expect("what is worse", bad, ["a:b, sm_86: each 5, bound 4"])
    expect("what is new", len(skipped), 1)
    renewed = bounds.renew(known, now, better)
    expect("renewed", renewed, {"a:b": {"sm_86": {"fma": 50.0, "each": 4.0}}, "a:new": {"sm_86": {"fma": 1.0}}})
    expect("renewed in part", "a:gone" in bounds.renew(known, now, better, whole=False), True)
    known[bounds.VERSIONS] = {"sm_86": "ptxas 1"}
    bad, skipped = bounds.check(known, now, better, {"sm_86": "ptxas 2"})
    expect("of another compiler", (bad, len(skipped)), ([], 2))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bounds.json"
        bounds.save(path, renewed)
        expect("saved", bounds.load(path), renewed)


def compiled():
    """A kernel in which each load waits for the one before; the targets that can be compiled for here."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "linear.cl").write_text(CHASE)
        found = Path(folder) / "found.json"
        done = []
        for target in ("sm_86", "gfx1030", "tgllp"):
            command = [str(TOOLS / "isa"), "--cl", folder, "--targets", target, "--json", str(found)]
            run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if "not installed" in run.stdout or "not found" in run.stdout:
                continue
            expect(f"{target}: status", (run.returncode, run.stdout if run.returncode else ""), (0, ""))
            if run.returncode == 0:
                figures = json.loads(found.read_text())["linear:rows1_f32"][target]
                expect(f"{target}: loads under way", figures["loads"], 1)
                expect(f"{target}: one weight a round", 3 <= figures["each"] <= 20, True)
                expect(f"{target}: occupancy", 0 < figures["occupancy"] <= 100, True)
            done.append(target)
        return done


listings()
bound()
targets = compiled()
for failure in failures:
    print(f"isa_test: {failure}", file=sys.stderr)
print(f"isa_test: listings, bounds, compiled for {', '.join(targets) or 'nothing: no compiler is here'}")
sys.exit(1 if failures else 0 if targets else 77)
