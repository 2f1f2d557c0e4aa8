/* Products with few rows on GPUs, of what goes through a norm first, and gated ones: y[m,n] = act(z w^T + b) + residual,
 * z[m,k] = norm(x).  Each group makes z itself, in local memory, as that takes less time than a launch.  Sums have the
 * order of norm.cl's and linear.cl's, so that a row's result is the same bit for bit, whichever kernels make it.
 *
 * Each kernel is linear_norm.clh, included for a type of w and a number of rows of x, which are linear_group.clh's
 * GROUP_T, GROUP_TYPE, GROUP_BITS, GROUP_ROWS and GROUP_WIDE: a program has the one that they are given for, or else all.
 *
 * Further options:
 *   NORMED  k: z is a norm of x; 0: z is x itself
 *   RMS     it is an RMS norm, else a layer norm
 *   TWICE   x goes through another layer norm before it: z = norm(total), total = before + after(x); the first group
 *           writes total
 *   GATED   y = value * act(gate): the products with two weights
 *   TEAM    work-items that share rows of w, as linear.cl's WG: a group has WG / TEAM teams */
#if !CPU

#ifndef NORMED
#define NORMED 1024
#endif
#if defined(TEAM) && TEAM > WG /* a driver wants smaller groups */
#undef TEAM
#endif
#ifndef TEAM
#define TEAM (WG >= 64 ? WG / 4 : WG)
#endif
#define TEAMS (WG / TEAM)

#if NORMED
#define X_SPACE  __local
#define X_ROW(i) (z + (i)*NORMED)
#else
#define X_SPACE  __global
#define X_ROW(i) (AT(x) + (size_t)min(row + (i), m - 1) * k)
#endif
#define W_END  end
#define W_FROM from
#define W_TALL tall
#ifdef GATED
#define STORE(v, i, j) (results[(i)-row][4 * e + (j)-first] = (v))
#else
#define STORE(v, i, j)                                                                                                 \
    store_sum(v, b_buffer, b_at, residual_buffer, residual_at, y_buffer, y_at, i, j, act, n, 0)
#endif
#include "linear_rows.clh"

/* The norm is done by NORMERS of the work-items, as few as have room for the numbers (of more than 8 of a row, Intel's
 * compiler keeps some in memory): own[i][j] is that of row i and
 * column OWN(j).  Each does what PARTS work-items of norm.cl do, with a sum for each of these. */
#define FITS(items) (NORMED <= 8 * (items) && GROUP_ROWS * ((NORMED + (items)-1) / (items)) <= LINEAR_OWN_GPU)
#define OWNS        ((NORMED + NORMERS - 1) / NORMERS)
#define PARTS       (WG / NORMERS)
#define EACH_OWN    UNROLL for (int j = 0; j < OWNS; j++)
#define EACH_PART   UNROLL for (int j = 0; j < PARTS; j++)
#define OWN(j)      ((int)item + (j)*NORMERS)
#define IS_THERE(j) (((j) + 1) * NORMERS <= NORMED || OWN(j) < NORMED)
#define IF_NORMER   if (NORMERS == WG || item < NORMERS)

/* of[i] = OF(the sum of the TERMs of row i), in the order of norm.cl. */
#define SUM_ROWS(TERM, OF, of)                                                                                         \
    {                                                                                                                  \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        IF_NORMER                                                                                                      \
        {                                                                                                              \
            float v[GROUP_ROWS][PARTS];                                                                                \
            EACH_X EACH_PART v[i][j] = 0.0f;                                                                           \
            EACH_OWN EACH_X                                                                                            \
            {                                                                                                          \
                const float s = TERM;                                                                                  \
                v[i][j % PARTS] = IS_THERE(j) ? v[i][j % PARTS] + s : v[i][j % PARTS];                                 \
            }                                                                                                          \
            EACH_X EACH_PART joined[i * WG + OWN(j)] = v[i][j];                                                        \
        }                                                                                                              \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        if (item < JOINERS)                                                                                            \
            EACH_X                                                                                                     \
            {                                                                                                          \
                __local float *p = joined + i * WG + item;                                                             \
                float s = p[0];                                                                                        \
                UNROLL for (int q = JOINERS; q < WG; q += JOINERS) s += p[q];                                          \
                p[0] = s;                                                                                              \
            }                                                                                                          \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        if (item == 0)                                                                                                 \
            EACH_X                                                                                                     \
            {                                                                                                          \
                __local float *p = joined + i * WG;                                                                    \
                float s = p[0];                                                                                        \
                UNROLL for (int q = 1; q < JOINERS; q++) s += p[q];                                                    \
                p[0] = OF(s);                                                                                          \
            }                                                                                                          \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        EACH_X of[i] = joined[i * WG];                                                                                 \
    }
#define MEAN(s)  ((s) / k)
#define SCALE(s) rsqrt((s) / k + norm_eps)

/* scale[i] = 1 / sqrt(variance + eps) of own[i], and its mean; or 1 / sqrt(mean of squares + eps). */
#ifdef RMS
#define MOMENTS(eps)                                                                                                   \
    norm_eps = eps;                                                                                                    \
    SUM_ROWS(own[i][j] * own[i][j], SCALE, scale)
#define NORM(i, j, w, b) own[i][j] * scale[i] * w
#else
#define MOMENTS(eps)                                                                                                   \
    norm_eps = eps;                                                                                                    \
    SUM_ROWS(own[i][j], MEAN, mean)                                                                                    \
    SUM_ROWS((own[i][j] - mean[i]) * (own[i][j] - mean[i]), SCALE, scale)
#define NORM(i, j, w, b) (own[i][j] - mean[i]) * scale[i] * w + b
#endif

#ifdef GROUP_T
#include "linear_norm.clh"
#else
#define GROUP_T    f32
#define GROUP_TYPE float
#define GROUP_BITS 0
#include "linear_norm_rows.clh"
#define GROUP_T    f16
#define GROUP_TYPE half
#define GROUP_BITS 0
#include "linear_norm_rows.clh"
#define GROUP_T    q8_0
#define GROUP_TYPE uchar
#define GROUP_BITS 8
#include "linear_norm_rows.clh"
#define GROUP_T    q4_0
#define GROUP_TYPE uchar
#define GROUP_BITS 4
#include "linear_norm_rows.clh"
#endif
#endif
