/* Settings as text. */
#include "generate/settings.h"

parameters settings_parameters(const limn_model_info *i, const limn_generate_options *g)
{
    return (parameters){.negative = g->negative,
                        .sampler = g->temperature <= 0 ? "Greedy"
                                   : i->default_steps  ? "MaskGIT"
                                                       : "Gumbel-Max",
                        .model = i->name,
                        .version = "limn " LIMN_VERSION,
                        .kv_cache = g->kv_cache_f16 ? "f16" : NULL,
                        .has = PARAMETERS_STEPS | PARAMETERS_GUIDANCE | PARAMETERS_SEED | PARAMETERS_SIZE |
                               PARAMETERS_TEMPERATURE | PARAMETERS_TOP_K | PARAMETERS_TOP_P |
                               (g->strength > 0 ? PARAMETERS_STRENGTH : 0),
                        .steps = g->steps           ? g->steps
                                 : i->default_steps ? i->default_steps
                                                    : i->grid_width * i->grid_height,
                        .strength = g->strength,
                        .width = i->width,
                        .height = i->height,
                        .top_k = g->top_k,
                        .seed = g->seed,
                        .guidance = g->guidance > 0 ? g->guidance : 1,
                        .temperature = g->temperature,
                        .top_p = g->top_p > 0 ? g->top_p : 1};
}
