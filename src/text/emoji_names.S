/* The names of emoji: src/text/emoji.c. */
    .section .rodata.limn_emoji_names, "a", @progbits
    .global limn_emoji_names
    .hidden limn_emoji_names
limn_emoji_names:
    .incbin "emoji_names.txt"
    .global limn_emoji_names_end
    .hidden limn_emoji_names_end
limn_emoji_names_end:
    .section .note.GNU-stack, "", @progbits
