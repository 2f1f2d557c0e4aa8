/* Rows of tables.  Ids outside the table read row 0: the host has checked those that users give. */

/* Element i of row `row` of a table of rows of d: of weights as they lie, or in panels (PANELS of cl/linear.cl for GPUs,
 * linear_quantised.clh for CPUs) of which there are n rows. */
#define ROW_f32(p, row, i, d, n)         load1_f32(p, (size_t)(row) * (d) + (i))
#define ROW_f16(p, row, i, d, n)         load1_f16(p, (size_t)(row) * (d) + (i))
#define ROW_q8_0(p, row, i, d, n)        load1_q8_0(p, (size_t)(row) * (d) + (i))
#define ROW_q4_0(p, row, i, d, n)        load1_q4_0(p, (size_t)(row) * (d) + (i))
#define ROW_panels_q8_0(p, row, i, d, n) panel8(p, row, i, d, n)
#define ROW_panels_q4_0(p, row, i, d, n) panel4(p, row, i, d, n)
#if CPU
inline uchar panel_byte(__global const uchar *p, size_t row, int block, int at, int blocks, int bits, size_t n,
                        float *scale)
{
    __global const ushort *of = (__global const ushort *)p + (row / 16 * blocks + block) * 16 * (1 + 2 * bits);
    *scale = vload_half(row % 16, (__global const half *)of);
    return of[16 * (1 + at / 2) + row % 16] >> at % 2 * 8;
}
#else
inline uchar panel_byte(__global const uchar *p, size_t row, int block, int at, int blocks, int bits, size_t n,
                        float *scale)
{
    const size_t of = row / 4 * blocks + block;
    *scale = vload_half(of * 4 + row % 4, (__global const half *)(p + (n + 3) / 4 * (blocks * 16) * bits));
    return ((__global const uint *)p)[(of * bits + at / 4) * 4 + row % 4] >> at % 4 * 8;
}
#endif
inline float panel8(__global const uchar *p, int row, int i, int d, int n)
{
    float scale;
    const uchar byte = panel_byte(p, row, i / 32, i % 32, d / 32, 8, n, &scale);
    return scale * (float)as_char(byte);
}
inline float panel4(__global const uchar *p, int row, int i, int d, int n)
{
    float scale;
    const uchar byte = panel_byte(p, row, i / 32, i % 16, d / 32, 4, n, &scale);
    return scale * (float)((i % 32 < 16 ? byte % 16 : byte / 16) - 8);
}

#define EMBED(T, TYPE)                                                                                                 \
    __kernel void embed_##T(IN(int, ids), IN(TYPE, table), OUT(float, y), const int d, const int first,                \
                            const int rows, const int vocabulary)                                                      \
    {                                                                                                                  \
        int i = get_global_id(0), n = get_global_id(1), id = AT(ids)[n];                                               \
        id = id < 0 || id >= vocabulary ? 0 : id;                                                                      \
        if (i < d && id >= first && id < first + rows) /* the table is a piece of a larger one */                      \
            AT(y)[(size_t)n * d + i] = ROW_##T(AT(table), id - first, i, d, rows);                                     \
    }
EMBED(f32, float)
EMBED(f16, half)
EMBED(q8_0, uchar)
EMBED(q4_0, uchar)
EMBED(panels_q8_0, uchar)
EMBED(panels_q4_0, uchar)

/* The id at each position of the sequence: ids[b,text], then vocabulary + codes[b,cells]; out[b,t] from *position on.
 * Those outside of their own table become its row 0. */
__kernel void sequence_ids(IN(int, ids), IN(int, codes), IN(int, position), OUT(int, out), const int count, const int t,
                           const int own, const int text, const int cells, const int vocabulary, const int n_codes)
{
    int i = get_global_id(0);
    if (i >= count)
        return;
    int row = i / t, p = POSITION(i, t), cell = min(p - text, cells - 1);
    int id = p < text ? AT(ids)[row * text + p] : AT(codes)[row * cells + cell], limit = p < text ? vocabulary : n_codes;
    AT(out)[i] = (p < text ? 0 : vocabulary) + (id < 0 || id >= limit ? 0 : id);
}

/* y[b,t,d] = vectors[b,text,d] at the text's positions whose id at[b,t] is below first_text */
__kernel void text_vectors(IN(float, vectors), IN(int, at), IN(int, position), OUT(float, y), const int d, const int t,
                           const int own, const int text, const int first_text)
{
    int i = get_global_id(0), n = get_global_id(1), p = POSITION(n, t);
    if (i < d && p < text && AT(at)[n] < first_text)
        AT(y)[(size_t)n * d + i] = AT(vectors)[((size_t)(n / t) * text + p) * d + i];
}

/* y[b,t,d] += the learned position: text_position[p], or row_position[cell / width] + column_position[cell % width];
 * each of the tables may be NULL */
__kernel void add_position(IN(float, text_position), IN(float, row_position), IN(float, column_position),
                           IN(int, position), OUT(float, y), const int d, const int t, const int own, const int text,
                           const int width, const int height)
{
    int i = get_global_id(0), n = get_global_id(1), p = POSITION(n, t), cell = p - text;
    if (i >= d || cell >= width * height)
        return;
    float v = 0.0f;
    if (p < text)
        v = text_position_buffer ? AT(text_position)[(size_t)p * d + i] : 0.0f;
    else if (row_position_buffer)
        v = AT(row_position)[(size_t)(cell / width) * d + i];
    if (p >= text && column_position_buffer)
        v += AT(column_position)[(size_t)(cell % width) * d + i];
    AT(y)[(size_t)n * d + i] += v;
}

/* y[b,t,d] at positions of the grid alone: sequence_ids, embed and add_position at once.  A group of WG takes a row. */
#if CPU
#define CELL_VECTORS(T)                                                                                                \
    for (; i + 16 <= d; i += 16)                                                                                       \
        vstore16(load16_##T(AT(image), (size_t)code * d + i) + CELL_POSITION(ROW_VECTOR), 0, yr + i);
#else
#define CELL_VECTORS(T)
#endif
#define NO_VECTORS(T)
#define CELL_POSITION(LOAD) ((row_position_buffer ? LOAD(rp) : 0.0f) + (column_position_buffer ? LOAD(cp) : 0.0f))
#define EMBED_CELLS(T, TYPE, VECTORS)                                                                                  \
    __kernel void embed_cells_##T(IN(int, codes), IN(TYPE, image), IN(float, row_position),                            \
                                  IN(float, column_position), IN(int, position), OUT(float, y), const int d,           \
                                  const int t, const int own, const int text, const int width, const int cells,        \
                                  const int n_codes)                                                                   \
    {                                                                                                                  \
        int n = GROUP(0), cell = min(POSITION(n, t) - text, cells - 1), i = get_local_id(0);                           \
        int code = AT(codes)[n / t * cells + cell];                                                                    \
        code = code < 0 || code >= n_codes ? 0 : code;                                                                 \
        __global const float *rp = AT(row_position) + (size_t)(cell / width) * d;                                      \
        __global const float *cp = AT(column_position) + (size_t)(cell % width) * d;                                   \
        __global float *yr = AT(y) + (size_t)n * d;                                                                    \
        VECTORS(T)                                                                                                     \
        for (; i < d; i += WG)                                                                                         \
            yr[i] = ROW_##T(AT(image), code, i, d, n_codes) + CELL_POSITION(ROW_ONE);                                  \
    }
EMBED_CELLS(f32, float, CELL_VECTORS)
EMBED_CELLS(f16, half, CELL_VECTORS)
EMBED_CELLS(q8_0, uchar, CELL_VECTORS)
EMBED_CELLS(q4_0, uchar, CELL_VECTORS)
EMBED_CELLS(panels_q8_0, uchar, NO_VECTORS)
EMBED_CELLS(panels_q4_0, uchar, NO_VECTORS)

/* out[b,t] = the code before each position from *position on, of codes[b,cells]; `first` before all */
__kernel void decoder_ids(IN(int, codes), IN(int, position), OUT(int, out), const int count, const int t,
                          const int own, const int cells, const int first)
{
    int i = get_global_id(0);
    if (i >= count)
        return;
    int p = POSITION(i, t);
    AT(out)[i] = p > 0 ? AT(codes)[(size_t)(i / t) * cells + min(p, cells) - 1] : first;
}

/* y[b,t,d] = image[id] + table[p] for decoder_ids' id: that, embed and add_table at once.  A group of WG takes a row. */
#define EMBED_DECODER(T, TYPE)                                                                                         \
    __kernel void embed_decoder_##T(IN(int, codes), IN(TYPE, image), IN(float, table), IN(int, position),              \
                                    OUT(float, y), const int d, const int t, const int own, const int cells,           \
                                    const int n_codes, const int length, const int first)                              \
    {                                                                                                                  \
        int n = GROUP(0), p = POSITION(n, t), i = get_local_id(0);                                                     \
        int code = p > 0 ? AT(codes)[(size_t)(n / t) * cells + min(p, cells) - 1] : first;                             \
        const size_t from = code < 0 || code >= n_codes ? 0 : (size_t)code * d;                                        \
        __global const float *at = AT(table) + (size_t)p * d;                                                          \
        __global float *yr = AT(y) + (size_t)n * d;                                                                    \
        if (p >= length)                                                                                               \
            return;                                                                                                    \
        DECODER_VECTORS(T)                                                                                             \
        for (; i < d; i += WG)                                                                                         \
            yr[i] = load1_##T(AT(image), from + i) + at[i];                                                            \
    }
#if CPU
#define DECODER_VECTORS(T)                                                                                             \
    for (; i + 16 <= d; i += 16)                                                                                       \
        vstore16(load16_##T(AT(image), from + i) + vload16(0, at + i), 0, yr + i);
#else
#define DECODER_VECTORS(T)
#endif
EMBED_DECODER(f32, float)
EMBED_DECODER(f16, half)
EMBED_DECODER(q8_0, uchar)
EMBED_DECODER(q4_0, uchar)

/* y[b,t,d] = x[b,t,d] + table[p,d], p from *position on */
__kernel void add_table(IN(float, x), IN(float, table), IN(int, position), OUT(float, y), const int d, const int t,
                        const int own, const int length)
{
    int i = get_global_id(0), n = get_global_id(1), p = POSITION(n, t);
    if (i < d && p < length)
        AT(y)[(size_t)n * d + i] = AT(x)[(size_t)n * d + i] + AT(table)[(size_t)p * d + i];
}

#ifdef BACKWARD

#if CPU
#define EMBED_BACK_COLUMNS EMBED_BACK_COLUMNS_CPU
#else
#define EMBED_BACK_COLUMNS 1
#endif

/* dtable[id - first, d] += dy[n, d] for the ids that lie in first to first + rows - 1.  A work-item has some columns of
 * one segment of the rows (id % segments, a power of two) to itself and takes the ids in their order: sums without
 * atomics, the same every time. */
__kernel void embed_back(IN(int, ids), IN(float, dy), OUT(float, dtable), const int n, const int d, const int first,
                         const int rows, const int vocabulary, const int segments)
{
    int column = get_global_id(0) * EMBED_BACK_COLUMNS, segment = get_global_id(1);
    int end = min(d, column + EMBED_BACK_COLUMNS);
    if (column >= d)
        return;
    for (int j = 0; j < n; j++) {
        int id = AT(ids)[j];
        id = (id < 0 || id >= vocabulary ? 0 : id) - first;
        if (id < 0 || id >= rows || (id & (segments - 1)) != segment)
            continue;
        __global float *to = AT(dtable) + (size_t)id * d;
        __global const float *from = AT(dy) + (size_t)j * d;
        int i = column;
#if CPU
        for (; i + 16 <= end; i += 16)
            vstore16(vload16(0, to + i) + vload16(0, from + i), 0, to + i);
#endif
        for (; i < end; i++)
            to[i] += from[i];
    }
}

/* dvectors[b,text,d] of text_vectors: 0 where something else stood */
__kernel void text_vectors_back(IN(float, dy), IN(int, at), IN(int, position), OUT(float, dvectors), const int d,
                                const int t, const int own, const int text, const int first_text, const int add)
{
    int i = get_global_id(0), n = get_global_id(1), image = n / text;
    int place = n % text - AT(position)[own ? image : 0], row = image * t + clamp(place, 0, t - 1);
    bool seen = place >= 0 && place < t && AT(at)[row] < first_text;
    if (i < d)
        ADD_TO(AT(dvectors) + (size_t)n * d + i, seen ? AT(dy)[(size_t)row * d + i] : 0.0f);
}

/* Row e of a table of positions: the sum of dy[b,t,d] over the batch and the positions start + e stride + k step for
 * k < count, as far as they are among *position to *position + t - 1. */
__kernel void position_back(IN(float, dy), IN(int, position), OUT(float, dtable), const int b, const int t, const int d,
                            const int start, const int stride, const int step, const int count, const int add)
{
    int entry = get_global_id(1), p = start + entry * stride - AT(position)[0];
#define BODY(T, LOAD, STORE)                                                                                           \
    T sum = 0.0f;                                                                                                      \
    for (int k = 0; k < count; k++)                                                                                    \
        if (p + k * step >= 0 && p + k * step < t)                                                                     \
            for (int image = 0; image < b; image++)                                                                    \
                sum += LOAD(AT(dy) + ((size_t)image * t + p + k * step) * d);                                          \
    __global float *to = AT(dtable) + (size_t)entry * d;                                                               \
    STORE(add ? LOAD(to) + sum : sum, to);
    COLUMNS(get_global_id(0), d, BODY)
#undef BODY
}
#endif
