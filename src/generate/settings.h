/* What a picture says of the settings that made it: the same whoever writes it. */
#ifndef GENERATE_SETTINGS_H
#define GENERATE_SETTINGS_H
#include "io/parameters.h"
#include "limn/limn.h"

/* Of a picture that a model has drawn by these options, all but the prompt, its number and its image prompt. */
parameters settings_parameters(const limn_model_info *i, const limn_generate_options *g);
/* All of it, as limn_settings_text; NULL where memory is short. */
char *settings_text(const limn_model_info *i, const limn_generate_options *g, const limn_settings *s);
/* The sampler's name of limn_generate_options for what a picture says; NULL: it is none of limn's. */
const char *settings_sampler(const char *title);
/* The other way round: what front ends call a sampler; NULL: there is none of that name. */
const char *settings_sampler_title(const char *name);
/* The names of samplers and of spacings by their numbers; NULL behind the last. */
const char *settings_sampler_name(int i);
const char *settings_spacing_name(int i);
#endif
