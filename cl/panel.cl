/* Panels of convolutions' weights in types that take less memory than floats: panel.clh has their layout.
 *
 * pack_panels: weights w[n,k], in rows as files have them, to panels from `first_panel` on, zeros beyond n; halves
 * (PANEL_F16, CPU; elsewhere gemm.cl's pack_f16 makes them), or blocks (PANEL_Q8_0), where 32 divides k.
 * unpack_panels: `count` numbers of whole panels as floats, for kernels that read no others. */
#include "panel.clh"

#ifdef PANEL_Q8_0
#define ELEMENT uchar
#define W_BYTES 34 /* of 32 numbers of a row: a scale, then they */
#else
#define ELEMENT ushort
#endif

#if CPU

/* One work-item: 32 numbers of k, or the rest, of one panel, through private memory, as rows of a power of two share
 * cache sets. */
__kernel void pack_panels(IN(ELEMENT, w), OUT(ELEMENT, panels), const int n, const int k, const int first_panel)
{
    const int k0 = get_global_id(0) * 32, panel = get_global_id(1), count = min(32, k - k0);
    ELEMENT block[32][32];
#ifdef PANEL_Q8_0
    __global uchar *to = AT(panels) + ((size_t)(first_panel + panel) * k + k0) / 32 * PANEL_BLOCK;
    __global ushort *scales = (__global ushort *)to;
    to += 64;
#else
    __global ushort *to = AT(panels) + ((size_t)(first_panel + panel) * k + k0) * 32;
#endif
    for (int j = 0; j < 32; j++) {
        const int row = panel * 32 + j;
#ifdef PANEL_Q8_0
        __global const uchar *from = AT(w) + ((size_t)min(row, n - 1) * k + k0) / 32 * W_BYTES;
        scales[j] = row < n ? *(__global const ushort *)from : (ushort)0;
        from += 2;
#else
        __global const ushort *from = AT(w) + (size_t)min(row, n - 1) * k + k0;
#endif
        for (int i = 0; i < count; i++)
            block[j][i] = row < n ? from[i] : (ELEMENT)0;
    }
    for (int i = 0; i < count; i++)
        for (int j = 0; j < 32; j++)
            to[i * 32 + j] = block[j][i];
}

/* One work-item: PANEL_UNPACK numbers. */
CPU_KERNEL void unpack_panels(IN(PANEL, panels), OUT(float, y), const int count)
{
    const int first = get_global_id(0) * PANEL_UNPACK, end = min(count, first + PANEL_UNPACK);
    for (int i = first; i < end; i += 16)
        vstore16(PANEL_16(AT(panels), i), 0, AT(y) + i);
}

#else

#ifdef PANEL_Q8_0
/* One work-item: a row of a panel, of which neighbours read neighbours of w's rows. */
__kernel void pack_panels(IN(uchar, w), OUT(uchar, panels), const int n, const int k, const int first_panel)
{
    const int i = get_global_id(0), panel = get_global_id(1), in_block = i % 32;
    __global uchar *to = AT(panels) + ((size_t)(first_panel + panel) * k + i) / 32 * PANEL_BLOCK;
    if (i >= k)
        return;
    uint words[8];
    for (int j = 0; j < 8; j++) {
        uint four[4];
        for (int t = 0; t < 4; t++) {
            const int row = panel * 32 + 4 * j + t;
            four[t] = row < n ? AT(w)[((size_t)row * k + i) / 32 * W_BYTES + 2 + in_block] : 0;
        }
        words[j] = four[0] | four[1] << 8 | four[2] << 16 | four[3] << 24;
    }
    vstore8((uint8)(words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7]), 0,
            (__global uint *)(to + 64 + in_block * 32));
    const int row = panel * 32 + in_block;
    ((__global ushort *)to)[in_block] =
        row < n ? *(__global const ushort *)(AT(w) + ((size_t)row * k + i) / 32 * W_BYTES) : (ushort)0;
}

#endif

/* One work-item: four numbers. */
__kernel void unpack_panels(IN(PANEL, panels), OUT(float, y), const int count)
{
    const int i = get_global_id(0) * 4;
    if (i < count)
        vstore4(PANEL_4(AT(panels), i), 0, AT(y) + i);
}

#endif
