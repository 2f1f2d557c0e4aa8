/* What several test programs share: the device to test on, and tiny models with random weights. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H
#include "device/device.h"
#include "models/codecs/autoencoder.h"
#include "weights/params.h"

/* ---- devices ---- */

/* The kernels that a device would take by itself, and those of the other kind where it can run them and LIMN_TEST_BRIEF
 * is not set. */
typedef struct support_style {
    const char *name; /* "default", "gpu" */
    tuning tune;
} support_style;
enum { SUPPORT_STYLES = 2 };
size_t support_styles(const device *d, support_style styles[SUPPORT_STYLES]);
/* For i = 0, 1, ...: *d becomes a device with the kernels of style i (they are compiled for one style: what it was goes
 * by device_free), and the style's name is returned; NULL, and *d as it was, after the last. */
const char *support_styled(device **d, size_t i);

/* How tests open devices.  LIMN_TEST_LAZY: as few kernels as can be are compiled by drivers such as PoCL, which
 * compiles each for every size of groups, and all of a program when it is asked for the binary: limn keeps none (the
 * driver does), and where launches leave groups to the driver the tests' layer makes small ones of few sizes. */
limn_device_options support_options(void);

/* The device that LIMN_DEVICE names.  Without one the program says so and ends with 77, which ctest counts as skipped;
 * any other failure ends it with 1. */
device *support_device(void);

/* ---- files ---- */

/* The file of that name in a directory of this process, which goes with its files when the program ends.  Each name has
 * one path, which stays. */
const char *support_path(const char *name);

/* Whether two files can be read and have the same bytes. */
bool support_same_files(const char *a, const char *b);

/* Declares and writes the tensors of w, random values for what the table declares: norms near 1, matrices in `type`. */
void support_write_values(gguf_writer *w, const param_table *t, dtype type);

/* The first parameter that isn't declared for what its name says ("codec.decoder.…"), or not in the layer that its name
 * says ("transformer.block.3.…"); NULL: none. */
const param *support_misplaced(const param_table *t);

/* Makes the folder with 12 pictures of SUPPORT_SIDE pixels, squares of one colour on another, and their colours as
 * captions: "red on blue". */
enum { SUPPORT_SIDE = 16 };
void support_pictures(const char *folder);

/* ---- tiny models ---- */

/* A codec of 16 codes for pictures of that side, of two stages. */
autoencoder_config support_autoencoder(int side);

enum { TINY_PAD = 0, TINY_IMAGE = 1, TINY_TOKENS = 258, TINY_TEXT = 8, TINY_CODES = 8 };

/* One thing that is otherwise in the file than it should be. */
typedef struct tiny_edit {
    const char *name; /* of a key or a tensor */
    enum {
        TINY_NOTHING,
        TINY_REMOVE,
        TINY_INT, /* a key with this value, whatever it was */
        TINY_FLOAT,
        TINY_STRING,
        TINY_BOOL,
        TINY_INTS,    /* a list with `number` once */
        TINY_STRINGS, /* a list with `text` once, or empty */
        TINY_RESHAPE, /* a tensor with one more row */
        TINY_RANK,    /* a tensor with one more dimension */
        TINY_ADD      /* a further tensor */
    } what;
    double number;
    const char *text;
} tiny_edit;

/* Pictures of 8 x 8 pixels in 3 channels; a byte-level tokenizer: <pad>, <img>, then the 256 bytes. */
typedef struct tiny_config {
    int layers;            /* 0: 2 */
    int stages;            /* of the codec; 0: 1, a grid of 4 x 4 */
    const char *attention; /* the pattern of all layers; NULL: full */
    bool pad_per_position;
    bool no_codec, no_transformer, no_tokenizer;
    uint64_t seed; /* of the weights */
    tiny_edit edit;
} tiny_config;

bool tiny_model_write(const char *path, const tiny_config *c, err *e);
/* One of no edits, opened; NULL, with a message, where that fails. */
limn_model *support_tiny(device *d);
#endif
