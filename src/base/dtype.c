/* Element types of tensors: their table, half precision and conversion of rows, block quantisation included. */
#include "base/dtype.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "limn maps little-endian files and shares them with the device: big-endian hosts are not supported"
#endif

enum { BLOCK = 32, Q8_0_BYTES = 2 + BLOCK, Q4_0_BYTES = 2 + BLOCK / 2 };

const dtype_info dtype_table[DTYPE_COUNT] = {
    [DTYPE_F32] = {"f32", 1, 4},
    [DTYPE_F16] = {"f16", 1, 2},
    [DTYPE_Q8_0] = {"q8_0", BLOCK, Q8_0_BYTES},
    [DTYPE_Q4_0] = {"q4_0", BLOCK, Q4_0_BYTES},
    [DTYPE_I32] = {"i32", 1, 4},
    [DTYPE_U8] = {"u8", 1, 1},
    [DTYPE_BF16] = {"bf16", 1, 2},
    [DTYPE_F64] = {"f64", 1, 8},
    [DTYPE_I8] = {"i8", 1, 1},
    [DTYPE_I16] = {"i16", 1, 2},
    [DTYPE_I64] = {"i64", 1, 8},
    [DTYPE_BOOL] = {"bool", 1, 1},
    [DTYPE_U16] = {"u16", 1, 2},
    [DTYPE_U32] = {"u32", 1, 4},
    [DTYPE_U64] = {"u64", 1, 8},
    [DTYPE_F8_E4M3] = {"f8_e4m3", 1, 1},
    [DTYPE_F8_E5M2] = {"f8_e5m2", 1, 1},
    [DTYPE_OTHER] = {"other", 1, 1},
};

bool dtype_from_name(const char *name, dtype *t)
{
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (!strcmp(name, dtype_table[i].name)) {
            *t = (dtype)i;
            return true;
        }
    return false;
}

static inline uint32_t float_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static inline float bits_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    if (exponent == 31)
        return bits_float(sign | 0x7f800000 | mantissa << 13);
    if (exponent)
        return bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
    return bits_float(sign | float_bits((float)mantissa * 0x1p-24f)); /* zero and subnormals: the product is exact */
}

uint16_t float_to_half(float f)
{
    uint32_t x = float_bits(f), sign = x >> 16 & 0x8000;
    x &= 0x7fffffff;
    if (x > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (x >> 13 & 0x3ff)); /* quiet NaN with its payload, as F16C and ARM give */
    if (x >= 0x477ff000)
        return (uint16_t)(sign | 0x7c00); /* from 65520 on, the nearest half is infinity */
    if (x <
        0x38800000) /* below 2^-14: in 0.5 .. 1 a float counts in 2^-24, a half's subnormal step, so the sum rounds */
        return (uint16_t)(sign | (float_bits(bits_float(x) + 0.5f) - 0x3f000000));
    x += 0xfff + (x >> 13 & 1);
    return (uint16_t)(sign | (x - 0x38000000) >> 13);
}

/* Elements of files lie at any address, so each is copied out; compilers make plain loads of it. */
#define LOAD_EACH(type, expression)                                                                                    \
    for (int64_t i = 0; i < n; i++) {                                                                                  \
        type v;                                                                                                        \
        memcpy(&v, (const type *)src + i, sizeof v);                                                                   \
        dst[i] = (float)(expression);                                                                                  \
    }                                                                                                                  \
    break

static float load_half(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return half_to_float(h);
}

/* Sign, 4 bits of exponent, 3 of mantissa: up to 448; all ones are NaN. */
static float e4m3_to_float(uint8_t v)
{
    uint32_t sign = (uint32_t)(v & 0x80) << 24, exponent = v >> 3 & 15, mantissa = v & 7;
    if ((v & 0x7f) == 0x7f)
        return bits_float(sign | 0x7fc00000);
    if (exponent)
        return bits_float(sign | (exponent + 120) << 23 | mantissa << 20);
    return bits_float(sign | float_bits((float)mantissa * 0x1p-9f));
}

static void q8_0_to_float(float *dst, const uint8_t *src, int64_t n)
{
    for (; n > 0; n -= BLOCK, dst += BLOCK, src += Q8_0_BYTES) {
        float d = load_half(src);
        for (int i = 0; i < BLOCK; i++)
            dst[i] = d * (float)(int8_t)src[2 + i];
    }
}

static void q4_0_to_float(float *dst, const uint8_t *src, int64_t n)
{
    for (; n > 0; n -= BLOCK, dst += BLOCK, src += Q4_0_BYTES) {
        float d = load_half(src);
        for (int i = 0; i < BLOCK / 2; i++) {
            dst[i] = d * (float)((src[2 + i] & 15) - 8);
            dst[i + BLOCK / 2] = d * (float)((src[2 + i] >> 4) - 8);
        }
    }
}

void dtype_to_float(float *dst, dtype t, const void *src, int64_t n)
{
    assert(n >= 0 && n % dtype_table[t].block == 0);
    switch (t) {
    case DTYPE_F32:
        if (n)
            memcpy(dst, src, (size_t)n * sizeof *dst);
        break;
    case DTYPE_F16:
        LOAD_EACH(uint16_t, half_to_float(v));
    case DTYPE_BF16:
        LOAD_EACH(uint16_t, bits_float((uint32_t)v << 16));
    case DTYPE_F64:
        LOAD_EACH(double, v);
    case DTYPE_I8:
        LOAD_EACH(int8_t, v);
    case DTYPE_U8:
        LOAD_EACH(uint8_t, v);
    case DTYPE_I16:
        LOAD_EACH(int16_t, v);
    case DTYPE_I32:
        LOAD_EACH(int32_t, v);
    case DTYPE_I64:
        LOAD_EACH(int64_t, v);
    case DTYPE_BOOL:
        LOAD_EACH(uint8_t, v != 0);
    case DTYPE_U16:
        LOAD_EACH(uint16_t, v);
    case DTYPE_U32:
        LOAD_EACH(uint32_t, v);
    case DTYPE_U64:
        LOAD_EACH(uint64_t, v);
    case DTYPE_F8_E4M3:
        LOAD_EACH(uint8_t, e4m3_to_float(v));
    case DTYPE_F8_E5M2:
        LOAD_EACH(uint8_t, half_to_float((uint16_t)(v << 8)));
    case DTYPE_OTHER:
        LOAD_EACH(uint8_t, v * NAN);
    case DTYPE_Q8_0:
        q8_0_to_float(dst, src, n);
        break;
    case DTYPE_Q4_0:
        q4_0_to_float(dst, src, n);
        break;
    case DTYPE_COUNT:
        assert(!"not a type");
    }
}

/* ggml's reference casts the scaled value to int8; where that is undefined (a NaN, or 1/d overflowed) x86 gives 0. */
static int narrow(float x)
{
    return x > -129 && x < 128 ? (int)x : 0;
}

/* x * s rounded to float: a fused multiply-add would round q4_0's x * id + 8.5 differently on some machines. */
static float product(float x, float s)
{
    volatile float p = x * s;
    return p;
}

static void store_half(uint8_t *p, float f)
{
    uint16_t h = float_to_half(f);
    memcpy(p, &h, sizeof h);
}

/* quantize_row_q8_0_ref.  The codes are made with the float scale, though its half is what is stored. */
static void q8_0_from_float(uint8_t *dst, const float *x, int64_t n)
{
    for (; n > 0; n -= BLOCK, x += BLOCK, dst += Q8_0_BYTES) {
        float largest = 0;
        for (int i = 0; i < BLOCK; i++)
            largest = largest > fabsf(x[i]) ? largest : fabsf(x[i]);
        float d = largest / 127, inverse = d != 0 ? 1 / d : 0;
        store_half(dst, d);
        for (int i = 0; i < BLOCK; i++)
            dst[2 + i] = (uint8_t)narrow(roundf(product(x[i], inverse)));
    }
}

static uint8_t q4_0_code(float x, float inverse)
{
    int q = narrow(product(x, inverse) + 8.5f);
    return (uint8_t)(q > 15 ? 15 : q);
}

/* quantize_row_q4_0_ref: the element of largest magnitude, the first of equals, becomes exactly -8. */
static void q4_0_from_float(uint8_t *dst, const float *x, int64_t n)
{
    for (; n > 0; n -= BLOCK, x += BLOCK, dst += Q4_0_BYTES) {
        float largest = 0, signed_largest = 0;
        for (int i = 0; i < BLOCK; i++)
            if (largest < fabsf(x[i])) {
                largest = fabsf(x[i]);
                signed_largest = x[i];
            }
        float d = signed_largest / -8, inverse = d != 0 ? 1 / d : 0;
        store_half(dst, d);
        for (int i = 0; i < BLOCK / 2; i++)
            dst[2 + i] = (uint8_t)(q4_0_code(x[i], inverse) | q4_0_code(x[i + BLOCK / 2], inverse) << 4);
    }
}

void dtype_from_float(dtype t, void *dst, const float *src, int64_t n)
{
    assert(n >= 0 && n % dtype_table[t].block == 0);
    switch (t) {
    case DTYPE_F32:
        if (n)
            memcpy(dst, src, (size_t)n * sizeof *src);
        break;
    case DTYPE_F16:
        for (int64_t i = 0; i < n; i++)
            store_half((uint8_t *)dst + 2 * i, src[i]);
        break;
    case DTYPE_Q8_0:
        q8_0_from_float(dst, src, n);
        break;
    case DTYPE_Q4_0:
        q4_0_from_float(dst, src, n);
        break;
    default:
        assert(!"parameters are stored as F32, F16, Q8_0 or Q4_0");
    }
}
