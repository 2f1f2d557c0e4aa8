/* Importing the transformers of DALLE-pytorch, for its family. */
#ifndef CONVERT_DALLE_PYTORCH_H
#define CONVERT_DALLE_PYTORCH_H
#include "convert/convert.h"
#include "models/transformers/dalle_pytorch.h"

/* That of its class DALLE, whose codec has so many codes; fills *d's sizes. */
bool import_dalle_pytorch_transformer(import *im, int codes, dalle_pytorch *d, err *e);
/* Its CLIP, whose text ids are below *vocabulary. */
bool import_dalle_pytorch_clip(import *im, int *vocabulary, err *e);
#endif
