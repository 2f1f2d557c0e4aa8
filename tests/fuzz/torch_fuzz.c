/* libFuzzer's target for PyTorch's files: archives, the older container and bare pickles.  tools/fuzz builds and runs
 * it. */
#include "../torch_support.h"

/* The pickles that begin the older container: magic number, protocol 1001, a little-endian machine. */
static const char head[] = "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
                           "\x80\2M\xe9\3."
                           "\x80\2}X\x0d\0\0\0little_endian\x88s.";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (torch_recognise(data, size)) {
        use_torch(data, size);
        return 0;
    }
    /* What is no file may be a pickle, and the rest of one in the older container. */
    size_t used = 0;
    pickle *p = pickle_read(data, size, &used, "FILE", NULL);
    if (p && used > size)
        abort();
    if (p)
        free(pickle_to_text(pickle_root(p)));
    pickle_free(p);
    if (!p)
        return 0;
    uint8_t *whole = malloc(sizeof head - 1 + size);
    if (!whole)
        abort();
    memcpy(whole, head, sizeof head - 1);
    memcpy(whole + sizeof head - 1, data, size);
    use_torch(whole, sizeof head - 1 + size);
    free(whole);
    return 0;
}
