/* Element types of tensors, in files and on devices. */
#ifndef BASE_DTYPE_H
#define BASE_DTYPE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Block types have GGUF's meaning: 32 consecutive elements of a row share one F16 scale d.
 * Q8_0: {half d; int8 q[32]}, x = d q.  Q4_0: {half d; uint8 q[16]}, element i in the low nibble of q[i],
 * element i + 16 in its high nibble, x = d (q - 8). */
typedef enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_Q8_0,
    DTYPE_Q4_0,
    DTYPE_I32,
    DTYPE_U8,
    /* the rest only occur in imported files */
    DTYPE_BF16,
    DTYPE_F64,
    DTYPE_I8,
    DTYPE_I16,
    DTYPE_I64,
    DTYPE_BOOL,
    DTYPE_U16,
    DTYPE_U32,
    DTYPE_U64,
    DTYPE_F8_E4M3, /* OCP's 8-bit floats: NaN but no infinity */
    DTYPE_F8_E5M2, /* a half's upper byte */
    DTYPE_OTHER,   /* one that limn can't read: its name and its bytes are the tensor's */
    DTYPE_COUNT
} dtype;

typedef struct dtype_info {
    const char *name; /* as the command line spells it: "f32", "q8_0" */
    int block;        /* elements in a block: 1, or 32 */
    int bytes;        /* bytes of a block */
} dtype_info;

extern const dtype_info dtype_table[DTYPE_COUNT];

/* Bytes of a row of n elements; n must be a multiple of the block. */
static inline size_t dtype_row_bytes(dtype t, int64_t n)
{
    return (size_t)(n / dtype_table[t].block) * (size_t)dtype_table[t].bytes;
}

/* "f16" -> DTYPE_F16; false where the name is unknown. */
bool dtype_from_name(const char *name, dtype *t);

float half_to_float(uint16_t h);
uint16_t float_to_half(float f); /* round to nearest even */

/* Converts n elements of a row between types.  Integer sources become float values (BOOL: 0 or 1).
 * dst[0..n) = src; n is a multiple of 32 for block types. */
void dtype_to_float(float *dst, dtype t, const void *src, int64_t n);
/* To F32, F16, Q8_0 or Q4_0.  Blocks are quantised as ggml does: Q8_0 d = max|x|/127; Q4_0 d = x_max/-8,
 * where x_max is the element of largest magnitude. */
void dtype_from_float(dtype t, void *dst, const float *src, int64_t n);
#endif
