/* Rows of tables.  Ids outside the table read row 0: the host has checked those that users give. */

#define EMBED(T, TYPE)                                                                                                 \
    __kernel void embed_##T(IN(int, ids), IN(TYPE, table), OUT(float, y), const int d, const int first,                \
                            const int rows, const int vocabulary)                                                      \
    {                                                                                                                  \
        int i = get_global_id(0), n = get_global_id(1), id = AT(ids)[n];                                               \
        id = id < 0 || id >= vocabulary ? 0 : id;                                                                      \
        if (i < d && id >= first && id < first + rows) /* the table is a piece of a larger one */                      \
            AT(y)[(size_t)n * d + i] = load1_##T(AT(table), (size_t)(id - first) * d + i);                             \
    }
EMBED(f32, float)
EMBED(f16, half)
EMBED(q8_0, uchar)
EMBED(q4_0, uchar)

/* The id at each position of the sequence: ids[b,text], then vocabulary + codes[b,cells]; out[b,t] from *position on.
 * Those outside of their own table become its row 0. */
__kernel void sequence_ids(IN(int, ids), IN(int, codes), IN(int, position), OUT(int, out), const int count, const int t,
                           const int text, const int cells, const int vocabulary, const int n_codes)
{
    int i = get_global_id(0);
    if (i >= count)
        return;
    int row = i / t, p = AT(position)[0] + i % t, cell = min(p - text, cells - 1);
    int id = p < text ? AT(ids)[row * text + p] : AT(codes)[row * cells + cell], limit = p < text ? vocabulary : n_codes;
    AT(out)[i] = (p < text ? 0 : vocabulary) + (id < 0 || id >= limit ? 0 : id);
}

/* y[b,t,d] += the learned position: text_position[p], or row_position[cell / width] + column_position[cell % width] */
__kernel void add_position(IN(float, text_position), IN(float, row_position), IN(float, column_position),
                           IN(int, position), OUT(float, y), const int d, const int t, const int text, const int width,
                           const int height)
{
    int i = get_global_id(0), n = get_global_id(1), p = AT(position)[0] + n % t, cell = p - text;
    if (i >= d || cell >= width * height)
        return;
    AT(y)[(size_t)n * d + i] += p < text ? AT(text_position)[(size_t)p * d + i]
                                         : AT(row_position)[(size_t)(cell / width) * d + i] +
                                               AT(column_position)[(size_t)(cell % width) * d + i];
}
