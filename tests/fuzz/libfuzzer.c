/* libFuzzer's program for one reader: READ is its function. */
#include "readers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    READ(data, size);
    return 0;
}
