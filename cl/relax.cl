/* Relaxed choices: Gumbel noise, and the softmax over logits with it. */

/* y = (x + g) * scale, or g where x is NULL: y[pictures, per], four elements a work-item.  Picture i has the noise of
 * stream + i, its elements being those of rng_uniform (base/rng.h) at the position `step`. */
__kernel void gumbel_noise(IN(float, x), OUT(float, y), const int per, const float scale, const int seed_low,
                           const int seed_high, const int stream, const int step)
{
    int block = get_global_id(0), picture = get_global_id(1), n = min(4, per - 4 * block);
    if (n <= 0)
        return;
    uint4 r = philox((uint4)(block, step, stream + picture, 0), (uint2)(seed_low, seed_high));
    float4 g = -log(-log((float4)(UNIFORM(r.x), UNIFORM(r.y), UNIFORM(r.z), UNIFORM(r.w))));
    size_t at = (size_t)picture * per + 4 * block;
    if (n == 4) {
        vstore4(x_buffer ? (vload4(0, AT(x) + at) + g) * scale : g, 0, AT(y) + at);
        return;
    }
    float rest[4];
    vstore4(g, 0, rest);
    for (int j = 0; j < n; j++)
        AT(y)[at + j] = x_buffer ? (AT(x)[at + j] + rest[j]) * scale : rest[j];
}

/* y[row,k] = 1 at index[row], else 0 */
__kernel void one_hot(IN(int, index), OUT(float, y), const int count, const int k)
{
    int i = get_global_id(0);
    if (i < count)
        AT(y)[i] = i % k == AT(index)[i / k] ? 1.0f : 0.0f;
}
