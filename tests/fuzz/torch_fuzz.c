/* libFuzzer's target for PyTorch's files: archives, the older container and bare pickles.  tools/fuzz builds and runs
 * it. */
#include "../torch_support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (torch_recognise(data, size)) {
        use_torch(data, size);
        return 0;
    }
    size_t used = 0;
    pickle *p = pickle_read(data, size, &used, "FILE", NULL);
    if (p && used > size)
        abort();
    if (p)
        free(pickle_to_text(pickle_root(p)));
    pickle_free(p);
    return 0;
}
