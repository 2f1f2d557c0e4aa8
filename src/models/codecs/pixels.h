/* The codec of models that draw pixels (transformers/unclip.h), which has no parameters. */
#ifndef MODELS_CODECS_PIXELS_H
#define MODELS_CODECS_PIXELS_H
#include "models/codecs/codec.h"

extern const codec_kind codec_pixels;
#endif
