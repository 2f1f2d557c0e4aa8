/* The model built into the binary: a GGUF file, page-aligned so that devices can map it. */
#ifdef _WIN32
    .section .rdata, "dr"
#define HIDDEN(name)
#else
    .section .rodata.limn_builtin, "a", @progbits
#define HIDDEN(name) .hidden name
#endif
    .global limn_builtin_model
    HIDDEN(limn_builtin_model)
    .balign 4096
limn_builtin_model:
    .incbin "emoji.gguf"
    .global limn_builtin_model_end
    HIDDEN(limn_builtin_model_end)
limn_builtin_model_end:
    .balign 4096
#ifndef _WIN32
    .section .note.GNU-stack, "", @progbits
#endif
