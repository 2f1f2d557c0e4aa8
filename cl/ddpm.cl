/* A step of ancestral sampling (Ho et al. 2020).  A work-item for each number of the picture. */

/* clean[places,d] = what the picture x[places,d] seems to be by said[rows,places,wide], within -clamp..clamp, and y =
 * by_clean clean + by_x x + s noise.  Where wide is 2d, the last d of row 0 say between which s lies. */
__kernel void ddpm_step(IN(float, x), IN(float, said), IN(float, noise), OUT(float, clean), OUT(float, y),
                        const int count, const int d, const int wide, const int rows, const float guidance,
                        const float clean_x, const float clean_o, const float clamp_at, const float by_clean,
                        const float by_x, const float scale, const float log_least, const float log_most)
{
    int i = get_global_id(0);
    if (i >= count)
        return;
    __global const float *p = AT(said) + (size_t)(i / d) * wide + i % d;
    float o = p[0], own = AT(x)[i], s = scale;
    if (rows > 1) {
        float other = p[(size_t)(count / d) * wide];
        o = other + guidance * (o - other);
    }
    if (wide > d) {
        float share = 0.5f * (p[d] + 1);
        s = exp(0.5f * (share * log_most + (1 - share) * log_least));
    }
    float seems = fmin(fmax(clean_x * own + clean_o * o, -clamp_at), clamp_at);
    AT(clean)[i] = seems;
    AT(y)[i] = by_clean * seems + by_x * own + (noise_buffer ? s * AT(noise)[i] : 0.0f);
}
