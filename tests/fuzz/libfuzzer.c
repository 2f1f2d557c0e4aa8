/* libFuzzer's program for one reader: READ is its function. */
#include "readers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* How far down the stack has been, of which libFuzzer makes a feature of the input.  It depends on where the system
 * puts the stack, so `tools/fuzz --fixed` would make other inputs each time: it is put back. */
extern __thread uintptr_t __sancov_lowest_stack;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uintptr_t before = __sancov_lowest_stack;
    READ(data, size);
    __sancov_lowest_stack = before;
    return 0;
}
