"""make_header.py limn.h OUT.py: the functions and structs of the public header, as cffi loads them without a compiler."""

import re
import sys

import cffi


def declarations(header: str) -> str:
    """What cffi reads: no preprocessor's lines, and nothing for C++."""
    header = re.sub(r"^#ifdef __cplusplus.*?^#endif", "", header, flags=re.M | re.S)
    header = re.sub(r"^[ \t]*#.*$", "", header, flags=re.M)
    return header.replace("LIMN_API ", "")


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as f:
        text = f.read()
    table = cffi.FFI()
    table.cdef(declarations(text))
    table.set_source("limn._header", None)
    table.emit_python_code(sys.argv[2])


main()
