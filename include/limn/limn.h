/* limn: text-to-image models of the DALL-E family on any OpenCL device.
 *
 * A model file holds an image codec (pictures <-> grids of discrete codes), a transformer (text -> codes), a CLIP (how
 * well pictures and texts go together) and a tokenizer, or some of them.  Open a device, open a model on it, then
 * generate, encode, decode or score.
 *
 * Conventions: functions that can fail return false (or NULL) and fill the trailing limn_error, which may be NULL and
 * must be zero-initialised; objects come from limn_X_open and go by limn_X_free, which takes the address of the
 * pointer, sets it to NULL and accepts NULL; arrays are row-major with the shapes given; strings are UTF-8.
 * The library never prints and never exits.
 *
 * Threads: a device, its models and their generations serve one thread at a time; a call while another thread is in one
 * is refused (LIMN_USAGE).  Different devices, or one that is opened twice, serve different threads.  What is freed
 * while it is in use, within a callback say, goes when that is over, and the call that goes on then fails (LIMN_USAGE);
 * a device goes with its last model. */
#ifndef LIMN_H
#define LIMN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LIMN_API __attribute__((visibility("default")))
#else
#define LIMN_API
#endif

/* ---- errors and messages ------------------------------------------------------------------------------------- */

enum { LIMN_OK = 0, LIMN_FAILED = 1, LIMN_USAGE = 2, LIMN_NO_DEVICE = 3 };

/* What a program may do something about. */
enum {
    LIMN_CAUSE_OTHER = 0,
    LIMN_CAUSE_DEVICE_MEMORY, /* the driver has less memory than the device says: fewer pictures at once may do */
};

/* code: LIMN_OK, LIMN_FAILED, LIMN_USAGE or LIMN_NO_DEVICE.  text: "what: why (what to do)".  cause: LIMN_CAUSE_… */
typedef struct limn_error {
    int code;
    char text[2048];
    int cause;
} limn_error;

LIMN_API const char *limn_version(void);

/* Receives warnings, notes and kernel build logs.  level: 0 error, 1 warning, 2 information, 3 debugging. */
typedef void limn_log_function(void *context, int level, const char *line);
/* Of the whole process: set it before threads use the library. */
LIMN_API void limn_set_log(limn_log_function *function, void *context);

/* ---- devices ------------------------------------------------------------------------------------------------- */

typedef enum limn_device_type { LIMN_CPU, LIMN_INTEGRATED_GPU, LIMN_DISCRETE_GPU, LIMN_ACCELERATOR } limn_device_type;

/* What a device says of itself.  Sizes are in bytes. */
typedef struct limn_device_info {
    int index;            /* over all platforms: device SPEC "N" */
    int platform, device; /* device SPEC "P.D" */
    limn_device_type type;
    char name[128], vendor[128], platform_name[128], version[128], driver[128];
    uint64_t memory, max_allocation, local_memory;
    uint64_t max_work_group; /* work-items, in one dimension */
    uint32_t compute_units;
    uint32_t vector_width;   /* floats of a native vector: 16, 8, 4; 1 where items are scalar */
    uint32_t base_alignment; /* bytes */
    bool unified_memory, fp16, subgroups, int8_dot, command_buffer;
    /* Measured by `limn bench` or `limn tune` on this machine; 0 where it was not. */
    double gflops, gbytes_per_s;
    /* Why limn can't use this device: "limn needs OpenCL 1.2, and this device has 1.1"; "" where it can. */
    char problem[192];
    /* Where it is, as far as the driver tells: "0000:03:00.0", and 32 hexadecimal digits; else "". */
    char pci[24], uuid[33];
    uint32_t vendor_id; /* of the PCI bus, where the driver tells it; else its own number, or 0 */
    /* Whether it is the same hardware as the device of index `preferred`, by UUID or PCI address, under another
     * platform whose driver is better.  Then auto and types (gpu) mean that one; a number, or the platform's name,
     * means this. */
    bool alternative;
    int preferred;
} limn_device_info;

/* Frees an array that the library made; free() of the same C library does too.  Accepts NULL. */
LIMN_API void limn_free(void *array);

/* All devices of all platforms, as a new array (limn_free it) of *n, also those that limn can't use (problem).  A
 * platform or device that can't be asked is left out with a warning.  Where nothing is left it is LIMN_NO_DEVICE, and
 * the text says what was left out and why. */
LIMN_API bool limn_devices(limn_device_info **list, size_t *n, limn_error *e);

typedef struct limn_device limn_device;
typedef struct limn_device_options {
    uint64_t memory_limit; /* bytes that buffers may take together, also more than the device says that it has; 0: most
                            * of what it says.  Weights that a device reads in place, in the mapped file, count too. */
    bool no_cache;         /* neither read nor write the cache of compiled kernels */
    bool profile;          /* time every kernel: limn_device_profile */
} limn_device_options;

/* spec: auto | N | P.D | cpu | gpu | igpu | dgpu | accel | part of a name | A&B (both must match); NULL or "" is auto,
 * which prefers a discrete GPU, then an integrated one, then a CPU, and goes on to the next where one can't be opened,
 * with a warning.  Any other spec must match exactly one device that can be used, else it is an error.
 * options may be NULL. */
LIMN_API limn_device *limn_device_open(const char *spec, const limn_device_options *options, limn_error *e);
LIMN_API void limn_device_free(limn_device **d);
LIMN_API const limn_device_info *limn_device_get_info(const limn_device *d);
/* Why this one was taken: "the only discrete GPU". */
LIMN_API const char *limn_device_reason(const limn_device *d);

/* One line for each kernel that ran since open, slowest first. */
typedef struct limn_kernel_profile {
    const char *name; /* valid while the device lives */
    uint64_t calls;
    double seconds, bytes, flops; /* totals; bytes and flops as the algorithm needs them */
} limn_kernel_profile;
/* *rows is a new array.  Empty unless the device was opened with `profile`. */
LIMN_API bool limn_device_profile(limn_device *d, limn_kernel_profile **rows, size_t *n, limn_error *e);
/* The same as a timeline in Chrome's trace event format (chrome://tracing, ui.perfetto.dev). */
LIMN_API bool limn_device_write_trace(limn_device *d, const char *path, limn_error *e);

/* ---- models -------------------------------------------------------------------------------------------------- */

typedef struct limn_model limn_model;

/* Reads a GGUF file; NULL takes the model that is built into the library. */
LIMN_API limn_model *limn_model_open(limn_device *d, const char *path, limn_error *e);
/* The same of a file's image: data[size] isn't copied, so it stays there, unchanged, until the model is freed.  name:
 * for messages, or NULL. */
LIMN_API limn_model *limn_model_open_memory(limn_device *d, const void *data, size_t size, const char *name,
                                            limn_error *e);
LIMN_API void limn_model_free(limn_model **m);
/* Frees what the model has on the device, until it is used again: room for another model. */
LIMN_API bool limn_model_rest(limn_model *m, limn_error *e);

typedef struct limn_model_info {
    const char *name;
    bool has_codec, has_transformer, has_clip, has_tokenizer;
    int width, height;               /* pixels */
    int encode_width, encode_height; /* those that limn_encode takes: half, where the decoder doubles them */
    int grid_width, grid_height;     /* codes; a picture is grid_height * grid_width codes in raster order */
    int codes;                       /* K: those that the transformer writes; without one, the codebook's */
    int codebook;                    /* size of the codec's codebook, which encode and decode know: K or more */
    int text_length;                 /* positions for text, `[IMG]` included */
    int text_vocabulary;
    int classes; /* of a model that reads a class in place of text: its text ids are one, 0 to classes - 1; else 0 */
    /* what generate uses where the caller has no wish of their own */
    float default_temperature, default_top_p, default_guidance;
    int default_top_k;
} limn_model_info;
LIMN_API const limn_model_info *limn_model_get_info(const limn_model *m);

/* Token ids of a text as the transformer reads them, without padding.  *ids is a new array. */
LIMN_API bool limn_tokenize(const limn_model *m, const char *text, int32_t **ids, size_t *n, limn_error *e);
/* The token as text, or NULL where the id is not in the vocabulary. */
LIMN_API const char *limn_token(const limn_model *m, int32_t id);

/* ---- pictures and codes -------------------------------------------------------------------------------------- */

/* rgb: u8 [n, encode_height, encode_width, 3].  codes: int32 [n, grid_height * grid_width], the most likely code of
 * each cell. logits: float [n, codebook, grid_height, grid_width] of q(z|x) (of a vqvae minus the squared distances to
 * its codes), or NULL. */
LIMN_API bool limn_encode(limn_model *m, const uint8_t *rgb, int n, int32_t *codes, float *logits, limn_error *e);
/* pixels: float [n, 3, height, width] in 0..1. */
LIMN_API bool limn_decode(limn_model *m, const int32_t *codes, int n, float *pixels, limn_error *e);

/* Both with pixels of one layout in and out, [n, height, width, 3]: u8, or float in 0..1, which is rounded to the
 * nearest u8 where it is encoded. */
typedef enum limn_pixel_type { LIMN_U8, LIMN_F32 } limn_pixel_type;
/* What may be asked of work that takes long.  Zero-initialised: nothing.  size: sizeof(limn_control), or 0 for the
 * fields of version 0.2. */
typedef struct limn_control {
    size_t size;
    /* Called now and then with how much is done; returning false stops it with LIMN_FAILED "interrupted". */
    bool (*progress)(void *context, int64_t done, int64_t total);
    void *context;
} limn_control;
/* control may be NULL.  What is done is counted in pictures. */
LIMN_API bool limn_encode_pixels(limn_model *m, limn_pixel_type type, const void *pixels, int n, int32_t *codes,
                                 const limn_control *control, limn_error *e);
LIMN_API bool limn_decode_pixels(limn_model *m, const int32_t *codes, int n, limn_pixel_type type, void *pixels,
                                 const limn_control *control, limn_error *e);

/* ---- generation ---------------------------------------------------------------------------------------------- */

/* What is too long for the model loses its end, with a warning, where the model's authors cut it; else it is an error.
 */
typedef struct limn_generate_options {
    const char *prompt;      /* or NULL, and then: */
    const int32_t *text_ids; /* the model's own ids, without padding */
    size_t n_text_ids;
    int count;         /* pictures; 0 means 1 */
    int first;         /* number of the first of them: pictures first to first + count - 1 of the seed, from 0 */
    uint64_t seed;     /* picture i of seed s is the same whatever the count */
    float temperature; /* 0: greedy (the most likely code each time) */
    int top_k;         /* sample among the k most likely codes (and those tied with the k-th); 0: all */
    float top_p;       /* among the fewest most likely codes that hold this probability together; 0 or 1: all */
    float guidance;    /* classifier-free guidance (Ho & Salimans 2022): u + g (c - u); 0 or 1: none */
    bool kv_cache_f16; /* keep the keys and values of attention as F16: half the memory, and slightly other logits */
    /* Image prompt: where keep[i] != 0, cell i has kept_codes[i] in every picture.  Both NULL, or one entry a cell. */
    const uint8_t *keep;
    const int32_t *kept_codes;
    /* Called now and then with the number of codes done of all.  codes is NULL, or, where preview is set, `count` rows
     * with the codes so far and -1 in the cells to come.  Returning false stops with LIMN_FAILED "interrupted". */
    bool (*progress)(void *context, int done, int total, const int32_t *codes);
    void *context;
    bool preview;
    /* In guidance, what the pictures are to keep away from: u is of this text, not of the row without condition.
     * NULL: none, and "" is a prompt of no words.  Without guidance it has no effect. */
    const char *negative;
    /* Called as soon as some pictures are done, in order: codes[n, grid] of pictures first to first + n - 1, `first`
     * counted from the options' first.  It may use the model (decode them), and returns false to stop with LIMN_FAILED
     * "interrupted".  Where it is set and preview isn't, limn_generate's codes may be NULL: then no more of them are
     * kept than are at work. */
    bool (*ready)(void *context, int first, int n, const int32_t *codes);
} limn_generate_options;

/* The options with the model's own defaults filled in. */
LIMN_API limn_generate_options limn_generate_defaults(const limn_model *m);
/* codes: int32 [count, grid_height * grid_width], or NULL (see `ready`). */
LIMN_API bool limn_generate(limn_model *m, const limn_generate_options *o, int32_t *codes, limn_error *e);
/* Whether it would take the options, its texts above all: its errors and warnings without its work. */
LIMN_API bool limn_generate_check(limn_model *m, const limn_generate_options *o, limn_error *e);

/* Generation as an object: the pictures of different requests are drawn together.  All that are at work share each
 * reading of the weights, a picture that is finished leaves its place to one that waits, and each is bit for bit the
 * one that it would be alone.
 *
 *     limn_generation *g = limn_generation_open(model, NULL, &e);
 *     limn_generation_add(g, &(limn_request){.prompt = "a red apple", .seed = 1, .count = 4}, &apples, &e);
 *     limn_generation_add(g, &(limn_request){.prompt = "a green pear", .guidance = 3}, &pear, &e);
 *     for (int left = 1; left > 0 && limn_generation_step(g, &left, &e);)
 *         while (limn_generation_take(g, &id, &number, codes))
 *             ... limn_decode(model, codes, 1, pixels, &e) ...
 *     limn_generation_free(&g);
 *
 * Between two calls the model may do other work, within the device's memory. */
typedef struct limn_generation limn_generation;

/* Zero-initialised: the defaults.  size: sizeof of the struct, or 0 for the fields of version 0.2. */
typedef struct limn_generation_options {
    size_t size;
    /* Sequences at work together, up to 32: a picture is one, or two with guidance.  0: as many as wait when the first
     * one begins, and all memory is given back when they are finished together.  Else there is room for so many all the
     * time that some are at work, for requests that come later.  Where memory is short, there are fewer. */
    int rows;
    bool kv_cache_f16; /* keep the keys and values of attention as F16: half the memory, and slightly other logits */
    bool decoder;      /* keep room for limn_decode while pictures are at work */
} limn_generation_options;

/* What to draw.  Zero-initialised settings are the model's own defaults.  All of it is copied. */
typedef struct limn_request {
    size_t size;             /* sizeof(limn_request), or 0 for the fields of version 0.2 */
    const char *prompt;      /* or NULL, and then: */
    const int32_t *text_ids; /* the model's own ids, without padding */
    size_t n_text_ids;
    const char *negative; /* as of limn_generate */
    uint64_t seed;
    int first, count;    /* pictures first to first + count - 1 of the seed, from 0; count 0 means 1 */
    float temperature;   /* 0: the model's own */
    bool greedy;         /* the most likely code each time, whatever the temperature */
    int top_k;           /* 0: the model's own; -1: all */
    float top_p;         /* 0: the model's own; 1: all */
    float guidance;      /* 0: the model's own; 1: none */
    const uint8_t *keep; /* as of limn_generate */
    const int32_t *kept_codes;
} limn_request;

/* options may be NULL. */
LIMN_API limn_generation *limn_generation_open(limn_model *m, const limn_generation_options *options, limn_error *e);
/* Also with pictures at work: they are gone. */
LIMN_API void limn_generation_free(limn_generation **g);
/* The request's pictures wait, behind those of earlier requests.  *id, from 1 on, names it; id may be NULL.
 * LIMN_USAGE where it can't be drawn. */
LIMN_API bool limn_generation_add(limn_generation *g, const limn_request *q, uint64_t *id, limn_error *e);
/* Pictures begin that wait, as far as there is room, and all at work get up to a line of codes more: it returns as soon
 * as some are finished.  *left (may be NULL): pictures that aren't finished.  After a failure those that were at work
 * wait again, and the next step begins them anew. */
LIMN_API bool limn_generation_step(limn_generation *g, int *left, limn_error *e);
/* Pictures that weren't taken. */
typedef struct limn_generation_status {
    int waiting, working, finished;
    int64_t codes; /* that are known, of those that are at work or finished */
} limn_generation_status;
/* As of now; valid until the next call. */
LIMN_API const limn_generation_status *limn_generation_get_status(limn_generation *g);
/* A finished picture, in the order in which they were finished: its request, its number of the seed and its codes,
 * int32 [grid_height * grid_width].  False where there is none.  id and number may be NULL. */
LIMN_API bool limn_generation_take(limn_generation *g, uint64_t *id, int *number, int32_t *codes);
/* The codes so far of a picture that wasn't taken, kept ones and -1 in the cells to come; *done (may be NULL) of them
 * are there. */
LIMN_API bool limn_generation_peek(limn_generation *g, uint64_t id, int number, int32_t *codes, int *done,
                                   limn_error *e);
/* Drops the pictures of a request that weren't taken.  LIMN_USAGE where there are none. */
LIMN_API bool limn_generation_cancel(limn_generation *g, uint64_t id, limn_error *e);

typedef struct limn_score {
    double image_log_likelihood; /* log p(z|y), nats, summed over the image codes */
    double text_log_likelihood;  /* log p(y), nats, summed over the text positions after the first, padding excluded */
    int image_tokens, text_tokens; /* the number of summands of each */
} limn_score;
/* text_ids without padding; codes int32 [grid]; logits: float [grid, K] that predict each image code, or NULL. */
LIMN_API bool limn_score_codes(limn_model *m, const int32_t *text_ids, size_t n_text_ids, const int32_t *codes,
                               float *logits, limn_score *result, limn_error *e);

/* How well pictures go with a text, by the model's CLIP (Radford et al. 2021): scores[i], from -1 to 1, is the cosine
 * of the two embeddings.  Scores of one text rank pictures; those of different texts, or CLIPs, don't compare.
 * rgb: u8 [n, height, width, 3], of any size: the CLIP sees the centred square.  A long text loses its end. */
LIMN_API bool limn_rank(limn_model *m, const char *text, const uint8_t *rgb, int n, int width, int height,
                        float *scores, limn_error *e);
/* The same with pixels of either type, and a control that may be NULL. */
LIMN_API bool limn_rank_pixels(limn_model *m, const char *text, limn_pixel_type type, const void *pixels, int n,
                               int width, int height, float *scores, const limn_control *control, limn_error *e);

#ifdef __cplusplus
}
#endif
#endif
