/* What a device can do at most: fused multiply-adds without memory, and reading memory without arithmetic. */

#if CPU
typedef float16 wide;
#define LANES 16
#else
typedef float4 wide;
#define LANES 4
#endif
/* 12 independent chains hide the latency; scalars by name, since not every compiler keeps arrays in registers. */
#define CHAINS(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11)
#define START(i) wide v##i = (wide)(get_global_id(0) + i);
#define STEP(i)  v##i = MAD(v##i, (wide)a, (wide)b);
#define SUM(i)   s += v##i;

/* 2 * 12 * LANES * rounds operations a work-item */
__kernel void peak(OUT(float, y), const int rounds, const float a, const float b)
{
    CHAINS(START)
    for (int r = 0; r < rounds; r++) {
        CHAINS(STEP)
    }
    wide s = 0.0f;
    CHAINS(SUM)
    AT(y)[get_global_id(0)] = s.x + s.y + s.z + s.w;
}

/* Each work-item reads `per` elements: CPU its own run of them, else neighbours read neighbours. */
__kernel void read(IN(float, x), OUT(float, y), const int per)
{
    wide s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
#if CPU
    __global const float *p = AT(x) + (size_t)get_global_id(0) * per;
    int run = per / 4; /* four streams at once, as many as prefetchers follow well */
    for (int i = 0; i < run; i += 16) {
        s0 += vload16(0, p + i);
        s1 += vload16(0, p + run + i);
        s2 += vload16(0, p + 2 * run + i);
        s3 += vload16(0, p + 3 * run + i);
    }
#else
    size_t n = get_global_size(0), step = n * 4;
    __global const float *p = AT(x) + get_global_id(0) * 4;
    for (int i = 0; i < per; i += 16, p += 4 * step) {
        s0 += vload4(0, p);
        s1 += vload4(0, p + step);
        s2 += vload4(0, p + 2 * step);
        s3 += vload4(0, p + 3 * step);
    }
#endif
    s0 += s1 + s2 + s3;
    AT(y)[get_global_id(0)] = s0.x + s0.y + s0.z + s0.w;
}
