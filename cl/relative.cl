/* Biases of attention by the distance of two positions.  bias[heads,t,t]; table[2 reach + 1, heads]: row reach + d is
 * that of the distance d, the key's position minus the query's, and its first and last rows are of all beyond too. */

/* One work-item: a key, of a head's query. */
__kernel void relative_bias(IN(float, table), OUT(float, bias), const int heads, const int t, const int reach)
{
    int key = get_global_id(0), row = get_global_id(1), head = row / t, query = row % t;
    if (key < t)
        AT(bias)[(size_t)row * t + key] = AT(table)[(clamp(key - query, -reach, reach) + reach) * heads + head];
}

#ifdef BACKWARD

/* dtable[2 reach + 1, heads]: the sum over all pairs of that distance.  One work-item: a head, of a row of the table.
 */
__kernel void relative_bias_back(IN(float, dbias), OUT(float, dtable), const int heads, const int t, const int reach,
                                 const int add)
{
    int head = get_global_id(0), entry = get_global_id(1), distance = entry - reach;
    if (head >= heads)
        return;
    float sum = 0.0f;
    for (int query = 0; query < t; query++) {
        float own = 0.0f; /* of this query: long sums lose less by parts */
        int first = entry == 0 ? 0 : max(query + distance, 0);
        int last = entry == 2 * reach ? t - 1 : min(query + distance, t - 1);
        for (int key = first; key <= last; key++)
            own += AT(dbias)[((size_t)head * t + query) * t + key];
        sum += own;
    }
    ADD_TO(AT(dtable) + (size_t)entry * heads + head, sum);
}
#endif
