/* Image codecs: pictures to grids of codes and back.  One file per kind, one line each in codec.c's registry. */
#ifndef MODELS_CODEC_H
#define MODELS_CODEC_H
#include "models/params.h"

typedef struct codec codec;

#define CODEC_FEATURES 8

typedef struct codec_kind {
    const char *name; /* limn.codec.kind */
    /* Reads the hyper-parameters, fills c, allocates c->state and declares the parameters: that last, since the table
     * then points into the state. */
    bool (*open)(codec *c, const gguf *g, param_table *p, err *e);
    /* x[b,height,width,3] (codec_input_height, codec_input_width) as `input` maps it ->
     * logits[b,grid_height,grid_width,codes] of q(z|x); of a vqvae minus the squared distances to the codebook's rows
     */
    tensor (*encode)(run *r, const codec *c, tensor x);
    /* codes I32 [b, cells] -> [b,height,width,channels], of which `output` maps the first three */
    tensor (*decode)(run *r, const codec *c, tensor codes);
    /* From distributions q[b,grid_height,grid_width,codes] over the codebook to what the losses read: training. */
    tensor (*decode_soft)(run *r, const codec *c, tensor q);
    /* What the encoder's stages give for x[b,h,w,3] of any size that they can halve: features[i] is [b,h_i,w_i,c_i].
     * For perceptual losses, so while a tape records: nothing is given back on the way.  Returns how many; NULL where a
     * kind has none. */
    int (*features)(run *r, const codec *c, tensor x, tensor features[CODEC_FEATURES]);
} codec_kind;

/* value = scale * x + shift */
typedef struct pixel_map {
    float scale, shift;
} pixel_map;

struct codec {
    const codec_kind *kind;
    int width, height, grid_width, grid_height, codes;
    int channels;        /* of what decode returns: at least 3 */
    int reach;           /* a decoded pixel depends on cells at most so far from its own; -1: on all */
    int64_t cell_floats; /* numbers for each cell that decode has in memory at a time, without an op's scratch */
    pixel_map input;     /* from 0..1 */
    pixel_map output;    /* to 0..1, before clamping */
    bool doubles;        /* decode gives pictures of twice the sides that encode takes */
    bool no_encoder;     /* encode is not to be called */
    void *state;
};

/* NULL kind where the file holds no codec: not an error. */
bool codec_open(codec *c, const gguf *g, param_table *p, err *e);
void codec_release(codec *c);
/* Pixels that encode takes. */
int codec_input_width(const codec *c);
int codec_input_height(const codec *c);

/* out[n] = u8 / 255 by the map */
void codec_floats(float *out, const uint8_t *rgb, int64_t n, pixel_map map);
/* rgb[n,input height,input width,3] -> the most likely codes[n,cells]; logits[n,cells,codes] of q(z|x), or NULL. Resets
 * the run.
 */
bool codec_encode(run *r, const codec *c, const uint8_t *rgb, int n, int32_t *codes, float *logits, err *e);
/* What codec_encode has on the device, for plans (a plan_work of models/plan.h, with the codec as its context). */
bool codec_encode_walk(void *c, run *r, int n, err *e);
/* codes[n,cells] -> pixels[n,height,width,3] in 0..1.  Resets the run.  Pictures that the device's memory seems too
 * small for are decoded one after the other, and one picture by tiles, where its pixels don't depend on all cells: then
 * the pixels are the same to rounding. */
bool codec_decode(run *r, const codec *c, const int32_t *codes, int n, float *pixels, err *e);

/* ---- codec_tile.c ---- */

/* Bytes of a run's memory that decode needs for n pictures of h x w cells, about. */
uint64_t codec_decode_bytes(const codec *c, const device *d, int64_t n, int64_t h, int64_t w);
/* One picture, codes[cells] -> pixels[height,width,3], by tiles of tile x tile cells: each is decoded with a margin of
 * c->reach cells, which is not negative, so there are no seams. */
bool codec_decode_tiles(run *r, const codec *c, const int32_t *codes, int tile, float *pixels, err *e);
/* The largest tile that seems to fit into `available` bytes, but none of less than half the reach; 0: the whole picture
 * fits, or can't be cut. */
int codec_tile_for(const codec *c, const device *d, uint64_t available);
/* codes[n,cells] all at once, whatever memory that takes. */
bool codec_decode_whole(run *r, const codec *c, const int32_t *codes, int n, float *pixels, err *e);

/* For kinds: a run's memory is in two parts, which stages use in turn (run_next).  floats: of the next stage, for each
 * cell. */
typedef struct decode_sizes {
    double most[2];
    int n;
} decode_sizes;
void decode_stage(decode_sizes *s, double floats);

extern const codec_kind codec_dvae, codec_vqvae;                                 /* dvae.c, vqvae.c */
extern const codec_kind codec_openai_dvae, codec_resnet_vq, codec_dalle_pytorch; /* openai_dvae.c, … */
#endif
