/* The names of emoji: src/text/emoji.c. */
#ifdef _WIN32
    .section .rdata, "dr"
#define HIDDEN(name)
#else
    .section .rodata.limn_emoji_names, "a", @progbits
#define HIDDEN(name) .hidden name
#endif
    .global limn_emoji_names
    HIDDEN(limn_emoji_names)
limn_emoji_names:
    .incbin "emoji_names.txt"
    .global limn_emoji_names_end
    HIDDEN(limn_emoji_names_end)
limn_emoji_names_end:
#ifndef _WIN32
    .section .note.GNU-stack, "", @progbits
#endif
