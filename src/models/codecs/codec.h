/* Image codecs: from pictures to grids of codes and back.  Each kind is a file and a line in codec.c's registry. */
#ifndef MODELS_CODECS_CODEC_H
#define MODELS_CODECS_CODEC_H
#include "weights/params.h"

typedef struct codec codec;

#define CODEC_FEATURES 8

typedef struct codec_kind {
    const char *name; /* limn.codec.kind */
    /* Reads the hyper-parameters, fills c, allocates c->state, and then declares the parameters, since the table points
     * into the state. */
    bool (*open)(codec *c, const gguf *g, param_table *p, err *e);
    /* x[b,height,width,3] (codec_input_height, codec_input_width), mapped by `input` ->
     * logits[b,grid_height,grid_width,codes] of q(z|x); a vqvae's are minus the squared distances to the codebook's
     * rows; of latents there are means and ln variances[b,grid_height,grid_width,2 latents] instead
     */
    tensor (*encode)(run *r, const codec *c, tensor x);
    /* The codes I32 [b,cells] or of encode's shape whose logits are the largest, where the kind can choose them without
     * all logits in memory; NULL: op_argmax of encode. */
    tensor (*choose)(run *r, const codec *c, tensor x);
    /* grid[b,grid_height,grid_width,code_dim], of codebook entries or mixtures of them -> [b,height,width,channels],
     * which `output` maps to pixels and which losses read */
    tensor (*decode_grid)(run *r, const codec *c, tensor grid);
    /* For perceptual losses: features[i], [b,h_i,w_i,c_i], is what stage i of the encoder makes of x[b,h,w,3], of any
     * size that it can halve.  Returns how many there are.  It is called under a tape, so all of them stay in memory.
     * NULL: the kind has none. */
    int (*features)(run *r, const codec *c, tensor x, tensor features[CODEC_FEATURES]);
} codec_kind;

/* value = scale * x + shift */
typedef struct pixel_map {
    float scale, shift;
} pixel_map;

struct codec {
    const codec_kind *kind;
    int width, height, grid_width, grid_height, codes;
    const tensor *codebook; /* in the state: [codes, code_dim]; NULL: there is none */
    int latents;            /* numbers of a cell, where there is no codebook and codes is 0; else 0 */
    float scale;            /* of these: latents are so many times what the encoder gives */
    int channels;           /* of decoded pictures: at least 3 */
    bool logits;            /* decode_grid gives the pixels' logits */
    int reach;              /* how far away the cells are, at most, that a decoded pixel depends on; -1: all count */
    int overlap;            /* where all count: the margin of tiles that are blended; 0: there are no tiles */
    pixel_map input;        /* from 0..1 */
    pixel_map output;       /* to 0..1, before clamping */
    bool doubles;           /* decoded pictures have twice the sides of those that encode takes */
    bool no_encoder;        /* encode must not be called */
    void *state;
};

/* c->kind is NULL if the file holds no codec, which is no error. */
bool codec_open(codec *c, const gguf *g, param_table *p, err *e);
void codec_release(codec *c);
/* For kinds: fills c for pictures of these sides, with cells of step x step pixels, a state of so many zero bytes,
 * three channels and pixels mapped to -1..1; the kind sets codes, codebook and what differs.  An error, which names
 * `file`, if step doesn't divide the sides: then c stays as it was. */
bool codec_start(codec *c, const codec_kind *kind, int width, int height, int step, size_t state, const char *file,
                 err *e);
/* Whether a key, or a tensor, of that name in a model file belongs to the codec. */
bool codec_owns_key(const char *key);
bool codec_owns_tensor(const char *name);
/* The sides of the pictures that encode takes, in pixels. */
int codec_input_width(const codec *c);
int codec_input_height(const codec *c);

/* How many numbers a picture's codes are: one a cell, or `latents`, which are floats: their bits stand in the arrays of
 * codes, the numbers of a cell side by side. */
int64_t codec_numbers(const codec *c);
/* Those of a row of cells. */
int codec_columns(const codec *c);
/* codes I32 [b, codec_numbers], or latents F32 -> [b,height,width,channels]; `output` maps the first three channels to
 * pixels */
tensor codec_decode(run *r, const codec *c, tensor codes);
/* For training: distributions q[b,grid_height,grid_width,codes] over the codebook -> [b,height,width,channels] */
tensor codec_decode_soft(run *r, const codec *c, tensor q);
/* out[n] = map of u8 / 255 */
void codec_floats(float *out, const uint8_t *rgb, int64_t n, pixel_map map);
/* rgb[n,input height,input width,3] -> the most likely codes[n,codec_numbers]; logits[n,cells,codes] of q(z|x), or
 * NULL. Resets the run. */
bool codec_encode(run *r, const codec *c, const uint8_t *rgb, int n, int32_t *codes, float *logits, err *e);
/* Of latents, from pixels[n,input height,input width,3] as `input` maps them: moments[n,cells,2 latents], means and ln
 * variances in -30..20, not scaled.  Resets the run. */
bool codec_moments(run *r, const codec *c, const float *pixels, int n, float *moments, err *e);
/* Count_works (device/count.h): what codec_encode has on the device without logits, and with.  context: the codec. */
bool codec_encode_walk(void *c, run *r, int n, err *e);
bool codec_logits_walk(void *c, run *r, int n, err *e);

/* ---- codec_tile.c: decoding whole pictures, or, in less memory, one picture by tiles ----
 * A picture that is cut into k pieces along each side has about k x k tiles.  Each is decoded with a margin of c->reach
 * cells, so that there are no seams: the pixels are the same to rounding.  Of a codec with norms over all of a picture
 * tiles with c->overlap are blended where they lie over each other, and colours differ a little from the whole's. */

/* codes[n,cells] -> pixels[n,height,width,3] in 0..1, all n at once.  Resets the run. */
bool codec_decode_pictures(run *r, const codec *c, const int32_t *codes, int n, float *pixels, err *e);
/* The same for one picture that is cut into `cuts` pieces along each side, 2 to codec_most_cuts. */
bool codec_decode_tiles(run *r, const codec *c, const int32_t *codes, int cuts, float *pixels, err *e);
/* The cells of a tile's margin. */
int codec_margin(const codec *c);
/* The most pieces that a side can be cut into.  1: the picture can't be cut, since its pixels depend on all cells, or
 * on so many that tiles would be mostly margin. */
int codec_most_cuts(const codec *c);
/* How many tiles a picture that is cut so has, and their sides in cells with their margins. */
int codec_tiles(const codec *c, int cuts, int *width, int *height);
/* A count_work (device/count.h): what decoding n pictures, or one by tiles, takes of r's memory.  context: the codec.
 */
bool codec_walk_decode(void *context, run *r, int n, err *e);
#endif
