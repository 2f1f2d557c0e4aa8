/* The model built into the binary: a GGUF file, page-aligned so that devices can map it. */
    .section .rodata.limn_builtin, "a", @progbits
    .global limn_builtin_model
    .hidden limn_builtin_model
    .balign 4096
limn_builtin_model:
    .incbin "emoji.gguf"
    .global limn_builtin_model_end
    .hidden limn_builtin_model_end
limn_builtin_model_end:
    .balign 4096
    .section .note.GNU-stack, "", @progbits
