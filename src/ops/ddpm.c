/* Ancestral sampling of diffusion models. */
#include "ops/ops_internal.h"

tensor op_ddpm_step(run *r, tensor x, tensor said, tensor noise, const ddpm_step *s, tensor *clean)
{
    *clean = (tensor){0};
    if (run_failed(r))
        return (tensor){0};
    int64_t d = last_of(&x), wide = last_of(&said), rows = said.shape[0], count = tensor_count(&x);
    REQUIRE(r, (rows == 1 || rows == 2) && (wide == d || wide == 2 * d));
    REQUIRE(r, tensor_count(&said) == rows * count / d * wide && (!noise.buf || tensor_count(&noise) == count));
    tensor y = tensor_like(r, &x, d);
    *clean = tensor_like(r, &x, d);
    LAUNCH(r, "ddpm:ddpm_step", work_each(count, 12, 24), ARG_T(x), ARG_T(said), ARG_T(noise), ARG_T(*clean), ARG_T(y),
           ARG_I(count), ARG_I(d), ARG_I(wide), ARG_I(rows), ARG_F(s->guidance), ARG_F(s->clean_x), ARG_F(s->clean_o),
           ARG_F(s->clamp), ARG_F(s->by_clean), ARG_F(s->by_x), ARG_F(s->noise), ARG_F(s->log_least),
           ARG_F(s->log_most));
    return y;
}
