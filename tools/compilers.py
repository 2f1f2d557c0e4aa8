"""The compilers for GPUs that are not here: what tools/compile_kernels and tools/isa compile kernel files with.

Intel (ocloc), AMD and NVIDIA (clang; ptxas turns PTX into registers), SPIR-V (clang, llvm-spirv, spirv-val).
`tools/opencl --install compilers` gets them all.
"""
import os
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

INTEL = ["skl", "tgllp", "dg2", "pvc"]  # Gen9 (HD 520), Gen12 (Iris Xe), Arc, Data Center GPU Max
AMD = ["gfx90a", "gfx1030", "gfx1100"]  # Instinct MI200, Radeon RX 6800, Radeon RX 7900
NVIDIA = ["sm_75", "sm_86", "sm_90"]  # Turing, Ampere (RTX 3060), Hopper
# end the name of a file that is compiled with these definitions
BACKWARD, CROSS, KV_F16, SHARED = " BACKWARD", " CROSS", " KV_F16", " KV_F16 QUERY_HEADS=7"
PANEL_F16, PANEL_Q8_0, TALL = " PANEL_F16", " PANEL_Q8_0", " TILE_TALL"
TWICE, RMS = " TWICE GATED", " RMS"
VARIANTS = {BACKWARD: r"^#ifn?def BACKWARD$", CROSS: r"^#ifdef CROSS$", KV_F16: r"\b(?:IN|OUT)\(KV,",
            SHARED: r"^#ifndef QUERY_HEADS$", PANEL_F16: r"\bIN\(PANEL,", PANEL_Q8_0: r"\bPANEL_(?:AT|4)\(AT\(panels\)",
            TALL: r"^#if !TILE_TALL$", TWICE: r"^#ifdef TWICE$", RMS: r"^#ifdef RMS$"}  # what such a file has
FEW_GROUPS = ["attention", "linear_norm", "norm", "sample"]  # files whose groups are larger (src/device/program.c)
BITCODE = ["/usr/lib/x86_64-linux-gnu/amdgcn/bitcode", "/usr/lib/aarch64-linux-gnu/amdgcn/bitcode", "/opt/rocm/amdgcn/bitcode"]
LIBCLC = ["/usr/lib/clc/nvptx64--nvidiacl.bc", "/usr/share/clc/nvptx64--nvidiacl.bc"]
WIDE = ["attention", "linear_norm", "norm", "sample"]  # files whose groups share rows by 4 WG: few_groups in src/device/program.c
CLANG = ["clang-15", "-x", "cl", "-cl-std=CL1.2", "-Xclang", "-finclude-default-header", "-Wno-linker-warnings"]
IGA = ["/usr/lib/x86_64-linux-gnu/libiga64.so.1", "/usr/local/lib/libiga64.so.1"]


class Failure(Exception):
    """A compiler's complaint, or why it can't run."""


def call(*command, **options):
    """The output of a command, both streams; Failure if it isn't there or doesn't succeed."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=300, **options)
    except FileNotFoundError:
        raise Failure(f"{command[0]} is not installed (tools/opencl --install compilers)") from None
    except subprocess.TimeoutExpired:
        raise Failure(f"{command[0]} took more than 5 minutes") from None
    if done.returncode:
        raise Failure(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout


def first_of(paths, what):
    for path in paths:
        if os.path.exists(path):
            return path
    raise Failure(f"{what} not found (tools/opencl --install compilers)")


def find_tool(name):
    """NVIDIA's ptxas or nvdisasm: on the path, or where tools/opencl puts it; None where it is nowhere."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or (Path(os.environ["HOME"]) / ".cache" if os.environ.get("HOME") else ".cache"))
    fetched = sorted(cache.glob(f"limn/{name}/lib/python*/site-packages/nvidia/*/bin/{name}"))
    return shutil.which(name) or (str(fetched[-1]) if fetched else None)


PTXAS, NVDISASM = find_tool("ptxas"), find_tool("nvdisasm")


def row(registers, scratch, local, group):
    """What a kernel takes: registers (Intel: of a thread), bytes of its own memory and of local memory; its group, or 0."""
    return {"registers": registers, "scratch": int(scratch), "local": int(local), "group": int(group)}


def product(numbers):
    found = 1
    for number in re.findall(r"\d+", numbers):
        found *= int(number)
    return found


def elf_section(data, wanted):
    """The bytes of a section of a 64-bit little-endian ELF file (objcopy doesn't know Intel's machine number)."""
    table, = struct.unpack_from("<Q", data, 40)
    count, names_at = struct.unpack_from("<HH", data, 60)
    sections = [struct.unpack_from("<IIQQQQ", data, table + 64 * i) for i in range(count)]
    names = sections[names_at][4]
    for name, _, _, _, offset, size in sections:
        start = names + name
        if data[start:data.index(0, start)] == wanted:
            return data[offset:offset + size]
    raise Failure(f"ocloc's output has no section {wanted.decode()}")


def compile_intel(device, source, defines, out):
    call("ocloc", "compile", "-file", source, "-device", device, "-out_dir", str(out),
         "-options", "-cl-std=CL1.2 " + " ".join(defines), "-internal_options", "-cl-intel-allow-zebin")
    info = elf_section(next(out.glob("*.bin")).read_bytes(), b".ze_info").decode()
    kernels = {}
    for part in re.split(r"^  - name: +", info.split("kernels_misc_info:")[0], flags=re.M)[1:]:
        field = dict(re.findall(r"^      (\w+): +(\d+|\[.*\])$", part, flags=re.M))
        if part.startswith("Intel_Symbol_Table"):  # the compiler's own
            continue
        memory = part.partition("per_thread_memory_buffers:")[2]
        kernels[part.split()[0]] = row(f"{field['simd_size']}x{field['grf_count']}",
                                       sum(map(int, re.findall(r"\bsize: +(\d+)", memory))), field.get("slm_size", 0),
                                       product(field.get("required_work_group_size", "0")))
    return kernels


def amd_library(device):
    """clang's options for AMD's device library.  Where that is older than the GPU it is linked here, and takes it for the
    newest that it knows."""
    folder = first_of(BITCODE, "AMD's device library")
    if os.path.exists(f"{folder}/oclc_isa_version_{device.removeprefix('gfx')}.bc"):
        return ["--rocm-device-lib-path=" + folder]
    options = ["-nogpulib"]
    for name in ("opencl", "ocml", "ockl", "oclc_daz_opt_off", "oclc_unsafe_math_off", "oclc_finite_only_off",
                 "oclc_correctly_rounded_sqrt_off", "oclc_wavefrontsize64_off", "oclc_isa_version_1030",
                 "oclc_abi_version_400"):
        options += ["-Xclang", "-mlink-builtin-bitcode", "-Xclang", f"{folder}/{name}.bc"]
    return options


def compile_amd(device, source, defines, out):
    text_at = str(out / "k.s")
    call(*CLANG, *defines, "-O3", "-target", "amdgcn-amd-amdhsa", f"-mcpu={device}", *amd_library(device),
         "-S", source, "-o", text_at)
    text = Path(text_at).read_text()
    called = set(re.findall(r"\b(\w+)@(?:rel32|gotpcrel32)@lo", text))
    defined = set(re.findall(r"^(\w[\w.]*):", text, flags=re.M))
    if called - defined:
        raise Failure("calls of functions that are not defined: " + ", ".join(sorted(called - defined)))
    kernels = {}
    for part in re.split(r"^  - \.", text.partition("amdhsa.kernels:")[2], flags=re.M)[1:]:
        field = dict(re.findall(r"^    \.(\w+): +(\S+)$", part, flags=re.M))
        group = re.search(r"^    \.reqd_workgroup_size:((?:\s+- \d+)+)$", part, flags=re.M)
        scratch = max(int(field["private_segment_fixed_size"]), 4 * int(field["vgpr_spill_count"]))
        kernels[field["name"]] = row(field["vgpr_count"], scratch, field["group_segment_fixed_size"],
                                     product(group[1]) if group else 0)
    return kernels


def groups_of(source, defines):
    """The groups that kernels ask for: clang doesn't tell ptxas."""
    text = call(*CLANG, *defines, "-target", "nvptx64-nvidia-nvcl", "-E", "-P", source)
    found = re.findall(r"reqd_work_group_size\(([\d *,()]+?)\)\s*\)\s*\)\s*void\s+(\w+)", text)
    return {name: product(size) for size, name in found}


def compile_nvidia(device, source, defines, out):
    ptx = str(out / "k.ptx")
    clang = []
    for x in ("-target-cpu", NVIDIA[0], "-target-feature", "+ptx75", "-mlink-builtin-bitcode", first_of(LIBCLC, "libclc")):
        clang += ["-Xclang", x]  # PTX of the oldest, as clang doesn't know the newest
    call(*CLANG, *defines, "-O3", "-target", "nvptx64-nvidia-nvcl", *clang, "-S", source, "-o", ptx)
    kernels = {}
    text = Path(ptx).read_text()
    groups = groups_of(source, defines)
    if PTXAS:
        report = call(PTXAS, "-v", f"-arch={device}", ptx, "-o", str(out / "k.cubin"))
        for part in report.split("Compiling entry function '")[1:]:
            def number(pattern):
                found = re.search(pattern, part)
                return int(found.group(1)) if found else 0
            name = part.split("'")[0]
            kernels[name] = row(number(r"Used (\d+) registers"), max(number(r"(\d+) bytes stack"), number(r"(\d+) bytes spill stores")),
                                number(r"(\d+) bytes smem"), groups.get(name, 0))
        return kernels
    functions = re.findall(r"^\.(?:extern \.|visible \.)?func\s+(?:\([^)]*\)\s*)?(\w+)\s*(?:\([^)]*\))?\s*([;{])", text, flags=re.M)
    extern = {name for name, end in functions if end == ";"} - {name for name, end in functions if end == "{"}
    if extern:
        raise Failure("calls of functions that are not defined: " + ", ".join(sorted(extern)))
    for name, body in re.findall(r"\.entry (\w+)\((.*?)(?=\.entry|\Z)", text, flags=re.S):
        depot = re.search(r"__local_depot\d+\[(\d+)\]", body)
        shared = re.findall(rf"\.shared [^;]*?\b{name}_\$_\w+\[(\d+)\]", text)
        kernels[name] = row("-", depot.group(1) if depot else 0, sum(map(int, shared)), groups.get(name, 0))
    return kernels


def compile_spirv(_, source, defines, out):
    bitcode, spirv = str(out / "k.bc"), str(out / "k.spv")
    call(*CLANG, *defines, "-O0", "-target", "spir64", "-emit-llvm", "-c", source, "-o", bitcode)
    call("llvm-spirv-15", "--spirv-max-version=1.1", bitcode, "-o", spirv)
    call("spirv-val", "--target-env", "opencl2.2", spirv)
    return {}


def capabilities(target):
    """What a device's driver says of it, as src/device/tuning.c makes definitions of it."""
    return ["-DLINEAR_BYTE_VECTORS=1"] if target in INTEL else []  # its native vectors are of 16 chars


def compile_one(target, source, defines, folder):
    """(kernels, folder of what was made, complaint)"""
    out = Path(tempfile.mkdtemp(dir=folder))
    if Path(source).stem in FEW_GROUPS and not any(d.startswith("-DWG=") for d in defines):
        defines = defines + ["-DWG=256"]
    defines = defines + [d for d in capabilities(target) if d.split("=")[0] not in {x.split("=")[0] for x in defines}]
    how = (compile_intel if target in INTEL else compile_amd if target in AMD else
           compile_nvidia if target in NVIDIA else compile_spirv)
    try:
        return how(target, source, defines, out), out, None
    except Failure as failure:
        return {}, out, str(failure)


def listing(target, out, name):
    """The instructions of a kernel that compile_one made in `out`, as its vendor's disassembler writes them."""
    if target in AMD:
        text = (out / "k.s").read_text()
        return re.search(rf"^{name}:(.*?)^\t\.section", text, flags=re.M | re.S)[1]
    if target in NVIDIA:
        if not NVDISASM or not PTXAS:
            raise Failure("ptxas and nvdisasm are not installed (tools/opencl --install compilers)")
        whole = out / "k.sass"
        if not whole.exists():
            whole.write_text(call(NVDISASM, "-c", str(out / "k.cubin")))
        return re.search(rf"^\.text\.{name}:(.*?)(?=^\t\.section|\Z)", whole.read_text(), flags=re.M | re.S)[1]
    at = out / "dump" / f".text.{name}.asm"
    if not at.exists():  # ocloc looks for the disassembler by the name that Debian's package for developers alone has
        (out / "dump").mkdir()
        (out / "libiga64.so").symlink_to(first_of(IGA, "Intel's disassembler, libiga64.so.1,"))
        environment = {**os.environ, "LD_LIBRARY_PATH": f"{out}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
        call("ocloc", "disasm", "-file", str(next(out.glob("*.bin"))), "-device", target, "-dump", str(out / "dump"), env=environment)
    return at.read_text(errors="replace")


def version(target):
    """What compiles for a target, and in which version: figures of another one may differ."""
    if target in NVIDIA:
        found = re.search(r"release [\d.]+, V([\d.]+)", call(PTXAS, "--version")) if PTXAS else None
        return f"clang-15, ptxas {found[1]}" if found else "clang-15"
    if target in AMD:
        return "clang-15"
    return "IGC " + (call("dpkg-query", "-W", "-f", "${Version}", "libigc1") if shutil.which("dpkg-query") else "?")


def text_of(path):
    """A kernel file with what it includes in its place, as device/source.c puts it together."""
    lines = [f'#line 1 "{path.name}"']
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'#include "([^"]+)"', line)
        lines += [text_of(path.parent / found[1]), f'#line {number + 1} "{path.name}"'] if found else [line]
    return "\n".join(lines) + "\n"


def kernel_files(directory):
    """The .cl files of a folder but common.cl."""
    return sorted(f for f in Path(directory).glob("*.cl") if f.name != "common.cl")


def definitions(path, defines):
    """What a kernel file is compiled with: kernels for GPUs, in groups as they are launched."""
    wide = path.stem in WIDE and not any(d.startswith("-DWG=") for d in defines)
    return ["-DCPU=0"] + (["-DWG=256"] if wide else []) + defines


def whole_text(path):
    """The program that a kernel file is: common.cl, then the file."""
    common = path.parent / "common.cl"
    return (text_of(common) if common.exists() else "") + text_of(path)
