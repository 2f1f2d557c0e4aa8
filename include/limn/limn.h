/* limn: text-to-image models of the DALL-E family on any OpenCL device.
 *
 * A model file holds an image codec (pictures <-> grids of discrete codes), a transformer (text -> codes), a CLIP (how
 * well pictures and texts go together) and a tokenizer, or some of them.  Open a device, open a model on it, then
 * generate, encode, decode or score.
 *
 * Conventions: functions that can fail return false (or NULL) and fill the trailing limn_error, which may be NULL and
 * must be zero-initialised.  limn_X_open makes an object and limn_X_free frees it: that takes the address of the
 * pointer, sets it to NULL and accepts NULL.  Arrays are row-major with the shapes given; strings are UTF-8.  The
 * library never prints and never exits.
 *
 * Threads: a device, its models and their generations serve one thread at a time; if another thread calls meanwhile,
 * the call is refused (LIMN_USAGE).  Different devices, or one device opened twice, can serve different threads at
 * once.  An object that is freed while it is in use (within a callback) is freed after that, and the call that uses it
 * fails (LIMN_USAGE).  A device that is freed before its models stays until the last of them is freed. */
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

/* Causes that a program can do something about. */
enum {
    LIMN_CAUSE_OTHER = 0,
    LIMN_CAUSE_DEVICE_MEMORY, /* the driver has less memory than the device says: fewer pictures at once may fit */
    LIMN_CAUSE_MEMORY_LIMIT,  /* the least that it needs is above the device's memory_limit */
    LIMN_CAUSE_INTERRUPTED,   /* a function of the caller's returned false */
    LIMN_CAUSE_BUSY,          /* another thread, or other work, has it: later it may do */
    LIMN_CAUSE_DEVICE_LOST,   /* the device doesn't answer any more: it must be opened anew, and its models on it */
};

/* code: LIMN_OK, LIMN_FAILED, LIMN_USAGE or LIMN_NO_DEVICE.  text: "what: why (what to do)"; what stands in backticks
 * in it is a setting, mostly a field of the options below: `memory_limit`.  cause: LIMN_CAUSE_… */
typedef struct limn_error {
    int code;
    char text[2048];
    int cause;
} limn_error;

LIMN_API const char *limn_version(void);

/* Receives warnings, notes and kernel build logs.  level: 0 error, 1 warning, 2 information, 3 debugging. */
typedef void limn_log_function(void *context, int level, const char *line);
/* For the whole process, except for devices and models with a function of their own (limn_device_options,
 * limn_model_options): set it before threads use the library. */
LIMN_API void limn_set_log(limn_log_function *function, void *context);

/* Progress of work that takes long, and how to stop it.  Zero-initialised: neither.  size: sizeof(limn_control), or 0
 * for the fields of version 0.2. */
typedef struct limn_control {
    size_t size;
    /* Called now and then with how much is done; if it returns false, the work stops: LIMN_FAILED "interrupted". */
    bool (*progress)(void *context, int64_t done, int64_t total);
    void *context;
} limn_control;

/* ---- devices ------------------------------------------------------------------------------------------------- */

typedef enum limn_device_type { LIMN_CPU, LIMN_INTEGRATED_GPU, LIMN_DISCRETE_GPU, LIMN_ACCELERATOR } limn_device_type;

/* What a driver tells about a device.  Sizes are in bytes. */
typedef struct limn_device_info {
    int index;            /* over all platforms: device SPEC "N" */
    int platform, device; /* device SPEC "P.D" */
    limn_device_type type;
    char name[128], vendor[128], platform_name[128], version[128], driver[128];
    uint64_t memory, max_allocation, local_memory;
    uint64_t max_work_group; /* work-items, in one dimension */
    uint32_t compute_units;
    uint32_t vector_width;   /* floats of a native vector: 16, 8, 4; 1 if work-items are scalar */
    uint32_t base_alignment; /* bytes */
    bool unified_memory, fp16, subgroups, int8_dot, command_buffer;
    bool byte_vectors; /* its native vectors hold more bytes than a word does */
    /* Measured by `limn bench` or `limn tune` on this machine; 0 if it wasn't. */
    double gflops, gbytes_per_s;
    /* Why limn can't use this device: "limn needs OpenCL 1.2, and this device has 1.1"; "" if it can. */
    char problem[192];
    /* Its PCI address, "0000:03:00.0", and UUID, 32 hexadecimal digits; "" if the driver doesn't tell. */
    char pci[24], uuid[33];
    uint32_t vendor_id; /* of the PCI bus, if the driver tells it; else the driver's own number, or 0 */
    /* Whether the device of index `preferred` is the same hardware (by UUID or PCI address) under another platform with
     * a better driver.  Then auto and types (gpu) mean that one; a number, or the platform's name, means this one. */
    bool alternative;
    int preferred;
} limn_device_info;

/* Frees an array that the library made; free() of the same C library does too.  Accepts NULL. */
LIMN_API void limn_free(void *array);

/* All devices of all platforms, also those that limn can't use (problem), as a new array of *n (limn_free).  A platform
 * or device that fails to answer is left out with a warning.  LIMN_NO_DEVICE if nothing is left: the text says what was
 * left out, and why. */
LIMN_API bool limn_devices(limn_device_info **list, size_t *n, limn_error *e);

typedef struct limn_device limn_device;
/* Zero-initialised: the defaults.  size: sizeof of the struct, or 0 for the fields of version 0.2. */
typedef struct limn_device_options {
    size_t size;
    uint64_t
        memory_limit; /* the most bytes that all buffers may take, which may be more than the device says it has; 0:
                       * most of what it says.  Weights that it reads in place, in the mapped file, count too. */
    bool no_cache;    /* neither read nor write the cache of compiled kernels */
    bool profile;     /* time every kernel: limn_device_profile */
    /* Takes the messages of the device's opening, and of calls that use it or its models, instead of the process's
     * function, in the calling thread. */
    limn_log_function *log;
    void *log_context;
} limn_device_options;

/* spec: auto | N | P.D | cpu | gpu | igpu | dgpu | accel | part of a name | A&B (both must match); NULL or "" is auto,
 * which prefers a discrete GPU, then an integrated one, then a CPU; if that can't be opened, it warns and takes the
 * next. Any other spec must match exactly one device that can be used; otherwise it is an error. options may be NULL.
 */
LIMN_API limn_device *limn_device_open(const char *spec, const limn_device_options *options, limn_error *e);
LIMN_API void limn_device_free(limn_device **d);
LIMN_API const limn_device_info *limn_device_get_info(const limn_device *d);
/* Why spec meant this one: "the only discrete GPU". */
LIMN_API const char *limn_device_reason(const limn_device *d);

/* One line for each kernel that ran since open, slowest first. */
typedef struct limn_kernel_profile {
    const char *name; /* valid while the device lives */
    uint64_t calls;
    double seconds, bytes, flops; /* totals; bytes and flops are what the algorithm needs */
} limn_kernel_profile;
/* *rows is a new array.  Empty unless the device was opened with `profile`. */
LIMN_API bool limn_device_profile(limn_device *d, limn_kernel_profile **rows, size_t *n, limn_error *e);
/* The same as a timeline in Chrome's trace event format (chrome://tracing, ui.perfetto.dev). */
LIMN_API bool limn_device_write_trace(limn_device *d, const char *path, limn_error *e);

/* ---- models -------------------------------------------------------------------------------------------------- */

typedef struct limn_model limn_model;

/* Reads a GGUF file; NULL takes the model that is built into the library. */
LIMN_API limn_model *limn_model_open(limn_device *d, const char *path, limn_error *e);
/* The same for a file in memory: data[size] isn't copied, so it must stay unchanged until the model is freed.  name:
 * for messages, or NULL. */
LIMN_API limn_model *limn_model_open_memory(limn_device *d, const void *data, size_t size, const char *name,
                                            limn_error *e);
/* A low-rank adapter (Hu et al. 2021) of a model's transformer, in the layout of HuggingFace's PEFT: limn_train_dalle
 * makes them, and so do others for the published model.  Those of Stable Diffusion, of its U-Net and text encoder, may
 * have kohya's layout, or diffusers'. */
typedef struct limn_adapter {
    /* a folder with adapter_model.safetensors and adapter_config.json, or the first of these; of Stable Diffusion any
     * file, or a folder with pytorch_lora_weights.safetensors */
    const char *path;
    float scale; /* how much of it is added to the weights: 1 as it was trained; 0: nothing */
} limn_adapter;

/* An embedding of textual inversion (Gal et al. 2022), a word that Stable Diffusion's text encoder has learned: a file
 * of AUTOMATIC1111's (.pt), diffusers' (.bin) or safetensors. */
typedef struct limn_embedding {
    const char *path;
    const char *name; /* the word that prompts have for it; NULL: the file's own token, or its name without ending */
} limn_embedding;

/* Zero-initialised: nothing.  size: sizeof of the struct, or 0 for the fields of version 0.2. */
typedef struct limn_model_options {
    size_t size;
    const void *data; /* [data_size], a file's image, as of limn_model_open_memory: the path is only its name then */
    size_t data_size;
    const limn_control *control; /* its progress counts tensors */
    limn_log_function *log;      /* takes the messages of calls that use the model, instead of the device's function */
    void *log_context;
    int width, height; /* of its pictures, one of limn_model_info's sizes, else LIMN_USAGE; 0: the file's */
    /* [n_adapters], added to the weights while the model is opened, which then lie in memory besides; weights that
     * aren't F32 are rounded to their type again. */
    const limn_adapter *adapters;
    size_t n_adapters;
    const limn_embedding *embeddings; /* [n_embeddings]: words more that prompts may have */
    size_t n_embeddings;
} limn_model_options;
/* The same with options, which may be NULL. */
LIMN_API limn_model *limn_model_open_with(limn_device *d, const char *path, const limn_model_options *options,
                                          limn_error *e);
LIMN_API void limn_model_free(limn_model **m);
/* Frees what the model has on the device until it is used again.  If another model of the device needs the room this
 * happens by itself, to the model that was used longest ago.  A model that is at work can't rest: LIMN_USAGE. */
LIMN_API bool limn_model_rest(limn_model *m, limn_error *e);

/* What the model hasn't is 0.  It lives as long as the model; later versions may have more fields at its end. */
typedef struct limn_model_info {
    const char *name;
    bool has_codec, has_transformer, has_clip, has_tokenizer;
    int width, height;               /* pixels */
    int encode_width, encode_height; /* of pictures that limn_encode takes: half of that if the decoder doubles them */
    int grid_width, grid_height;     /* codes; a picture is grid_height * grid_width codes in raster order */
    int codes;                       /* K: how many codes the transformer knows; without one, the codec does */
    int codebook;                    /* how many codes the codec knows: K or more */
    int text_length;                 /* positions for text, `[IMG]` included */
    int text_vocabulary;
    int classes; /* of a model that reads a class instead of text: its text ids are one id, 0 to classes - 1; else 0 */
    /* defaults for generating */
    float default_temperature, default_top_p, default_guidance;
    int default_top_k;
    int clip_dim;         /* of embeddings */
    int clip_image_size;  /* pixels of a side of the square that the CLIP sees */
    int clip_text_length; /* tokens of a text that the CLIP reads, with those that it puts at its ends */
    /* [n_sizes][2]: widths and heights of the pictures that limn_model_options can choose from, the file's first */
    const int *sizes;
    int n_sizes;
    int default_steps; /* of a model that draws all of a picture at once, in steps; else 0 */
    /* Of a diffusion model, whose pictures are latents instead of codes; else 0.  A place has so many numbers, which
     * stand side by side: grid_width counts them all.  They are floats, whose bits stand in the arrays of codes. */
    int latent_channels;
    int size_step; /* the pictures' sides may be any multiples of it; 0: one of `sizes` */
    const char *default_sampler, *default_spacing; /* of a diffusion model; NULL: none, or the sampler's own spacing */
    int embedded; /* the last of the text_vocabulary ids, which are those of limn_model_options' embeddings */
    /* of unCLIP: whether it draws texts, and variations of pictures; its other stages' defaults, beside the decoder's
     */
    bool has_prior, has_image_encoder;
    int default_prior_steps, default_super_steps;
    float default_prior_guidance;
} limn_model_info;
LIMN_API const limn_model_info *limn_model_get_info(const limn_model *m);

/* Token ids of a text as the transformer reads them, without padding.  *ids is a new array. */
LIMN_API bool limn_tokenize(const limn_model *m, const char *text, int32_t **ids, size_t *n, limn_error *e);
/* The token as text, or NULL if the id is not in the vocabulary. */
LIMN_API const char *limn_token(const limn_model *m, int32_t id);

/* ---- pictures and codes -------------------------------------------------------------------------------------- */

/* rgb: u8 [n, encode_height, encode_width, 3].  codes: int32 [n, grid_height * grid_width], the most likely code of
 * each cell.  logits: float [n, codebook, grid_height, grid_width] of q(z|x), or NULL; a vqvae's are minus the squared
 * distances to its codes. */
LIMN_API bool limn_encode(limn_model *m, const uint8_t *rgb, int n, int32_t *codes, float *logits, limn_error *e);
/* pixels: float [n, 3, height, width] in 0..1. */
LIMN_API bool limn_decode(limn_model *m, const int32_t *codes, int n, float *pixels, limn_error *e);

/* Both with pixels of the same layout in and out, [n, height, width, 3]: u8, or float in 0..1, which encoding rounds to
 * the nearest u8. */
typedef enum limn_pixel_type { LIMN_U8, LIMN_F32 } limn_pixel_type;
/* control may be NULL; its progress counts pictures. */
LIMN_API bool limn_encode_pixels(limn_model *m, limn_pixel_type type, const void *pixels, int n, int32_t *codes,
                                 const limn_control *control, limn_error *e);
LIMN_API bool limn_decode_pixels(limn_model *m, const int32_t *codes, int n, limn_pixel_type type, void *pixels,
                                 const limn_control *control, limn_error *e);

/* A picture of any size: u8 [height, width, channels] in sRGB.  Of 4 channels the last is alpha, not multiplied in. */
typedef struct limn_picture {
    int width, height, channels; /* 3 or 4 */
    uint8_t *pixels;
} limn_picture;
/* Reads a PNG, JPEG or WebP file as the commands do: upright, its colours converted to sRGB.  4 channels where a part
 * of it is transparent, else 3.  p->pixels is a new array (limn_free); no device is needed. */
LIMN_API bool limn_picture_read(const char *path, limn_picture *p, limn_error *e);
/* What limn_encode takes of a picture: over white, the largest centred part of the model's shape, resized (Lanczos).
 * rgb: u8 [encode_height, encode_width, 3]. */
LIMN_API bool limn_picture_fit(const limn_model *m, const limn_picture *p, uint8_t *rgb, limn_error *e);
/* The cells that a mask keeps, for limn_generate_options: keep[grid_height * grid_width] is 1 where the mask, cut and
 * resized as by limn_picture_fit, is opaque, or white where no part of it is transparent. */
LIMN_API bool limn_picture_mask(const limn_model *m, const limn_picture *p, uint8_t *keep, limn_error *e);
/* The same of a region as `limn generate --keep` has it: "top:F", "bottom:F", "left:F", "right:F" or "box:X,Y,W,H", in
 * fractions of the picture up to 1, or in whole pixels where one of them is above 1; or the path of a mask. */
LIMN_API bool limn_picture_keep(const limn_model *m, const char *region, uint8_t *keep, limn_error *e);

/* How pictures look, quickly: rgb u8 [n, height, width, 3].  Of codes as limn_decode_pixels has them; of latents by a
 * linear map of each place alone, since decoding them takes as long as some steps. */
LIMN_API bool limn_preview(limn_model *m, const int32_t *codes, int n, uint8_t *rgb, limn_error *e);

/* ---- generation ---------------------------------------------------------------------------------------------- */

/* A text that is too long for the model is cut, with a warning, if the model's authors cut it; else it is an error. */
typedef struct limn_generate_options {
    const char *prompt;      /* or NULL, and then: */
    const int32_t *text_ids; /* the model's own ids, without padding */
    size_t n_text_ids;
    int count;         /* pictures; 0 means 1 */
    int first;         /* draws pictures first to first + count - 1 of the seed, which are numbered from 0 */
    uint64_t seed;     /* picture i of seed s is the same whatever the count */
    float temperature; /* 0: greedy (the most likely code each time) */
    int top_k;         /* sample among the k most likely codes (and those tied with the k-th); 0: all */
    float top_p;       /* among the fewest most likely codes that hold this probability together; 0 or 1: all */
    float guidance;    /* classifier-free guidance (Ho & Salimans 2022): u + g (c - u); 0 or 1: none */
    bool kv_cache_f16; /* keep the keys and values of attention as F16: half the memory, and slightly other logits */
    /* Image prompt: where keep[i] != 0, cell i has kept_codes[i] in every picture.  Both NULL, or one entry a cell. */
    const uint8_t *keep;
    const int32_t *kept_codes;
    /* Called now and then with the number of codes that are done, of all.  codes is NULL or, with preview, `count` rows
     * with the codes so far and -1 for cells to come.  Returning false stops with LIMN_FAILED "interrupted". */
    bool (*progress)(void *context, int done, int total, const int32_t *codes);
    void *context;
    bool preview;
    /* Negative prompt, for guidance: u is computed with this text instead of without a prompt.  NULL: the model's own,
     * if it has one, or none; "" is a prompt of no words.  Without guidance it has no effect. */
    const char *negative;
    /* Called as soon as some pictures are done, in order: codes[n, grid] of pictures first to first + n - 1, where
     * `first` counts from the options' first.  It may use the model (to decode them); returning false stops with
     * LIMN_FAILED "interrupted".  With it and without preview, limn_generate's codes may be NULL: then only the codes
     * of pictures at work are kept in memory. */
    bool (*ready)(void *context, int first, int n, const int32_t *codes);
    int draft; /* codes that are drafted and checked in one pass, as in limn_generation_options */
    /* Of models that fill all cells at once (limn_model_info, default_steps), else 0: in how many steps, 0 means the
     * model's own; and how much of an image prompt changes, above 0 and up to 1.  Below 1 only so much of the steps is
     * done: kept_codes has all cells, and those that `keep`, which may be NULL, doesn't name are masked in part, by
     * chance.  0 and 1: all of these are drawn anew.  `temperature` is there that of the cells' confidence in the first
     * step, and falls to 0; at 0 each cell takes its most likely code. */
    int steps;
    float strength;
    /* Of diffusion models (limn_model_info, latent_channels), else NULL: how noise becomes latents, and which times the
     * steps have.  NULL: the model's own.  Their `steps` are those of the sampler.
     * sampler: "ddim", "pndm", "euler", "euler_karras", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "dpmpp_2m_sde",
     * "dpmpp_2m_sde_karras", "lcm" or "unclip".  spacing: "leading", "linspace" or "trailing". */
    const char *sampler, *spacing;
    /* Instead of random numbers, to compare with other programs: float [n_noise, latents], of unit variance, the
     * latents in the order of codes: what the picture begins with, then that of each step that draws noise. */
    const float *noise;
    int n_noise;
    /* Of diffusion models: a picture that is changed, u8 [height, width, 3] of the model's size, or NULL.  `strength`,
     * above 0 and up to 1, says how much: only so much of the steps is done, from the picture with as much noise; 0
     * means 0.8, and 1 where `paint` is given.  paint: u8 [height, width], not 0 where it is painted anew (inpainting);
     * the rest stays, as far as the codec keeps it.  NULL: everywhere.  `noise` has then, in this order, that by which
     * the picture's latents are drawn (not where all of the steps are done by a model for painting, which sees what
     * stays), what the steps begin with, with `paint` that of the latents of what stays, and that of the steps. */
    const uint8_t *image, *paint;
    /* Of unCLIP (limn_model_info, has_image_encoder, has_prior), else 0.  It draws what a CLIP embedding says: that of
     * `image`, which are variations of it, beside a prompt or none, or the one that its prior draws of the prompt.
     * image is u8 [image_height, image_width, 3] there, of any size (0: encode_height, encode_width). */
    int image_width, image_height;
    /* Pictures on the way from one embedding to another, along the sphere (Ramesh et al. 2022, 4.2): `between`, 2 or
     * more, is how many there are, both ends included, and picture i of the seed shows i / (between - 1) of the way.
     * All have the same noise.  The ends: `image`, else the prompt's, and `image_to` (as image), else that of
     * prompt_to.  Where texts are ends, nothing else is read of them. */
    const uint8_t *image_to;
    int image_to_width, image_to_height;
    const char *prompt_to;
    int between;
    /* Steps of the prior and of what enlarges the pictures (`steps` are the decoder's), and the prior's guidance; 0:
     * the model's own.  `noise` is [n_noise, latents] here too: row after row what each of the three begins with,
     * followed by that of its steps but the last; the decoder's smaller pictures stand at the upper left, and the
     * prior's embeddings in the first channel, pixel after pixel. */
    int prior_steps, super_steps;
    float prior_guidance;
} limn_generate_options;

/* Options with the model's own defaults. */
LIMN_API limn_generate_options limn_generate_defaults(const limn_model *m);
/* codes: int32 [count, grid_height * grid_width], or NULL (see `ready`). */
LIMN_API bool limn_generate(limn_model *m, const limn_generate_options *o, int32_t *codes, limn_error *e);
/* Checks the options, above all the texts: gives limn_generate's errors and warnings without its work. */
LIMN_API bool limn_generate_check(limn_model *m, const limn_generate_options *o, limn_error *e);

/* What a picture's settings say beside its options.  Zero-initialised: nothing.  size: sizeof(limn_settings), or 0. */
typedef struct limn_settings {
    size_t size;
    int picture; /* which one of the options' count, from 0 on */
    /* Names of the image prompt, of what was kept of it ("top:0.5"), and of adapters ("style:0.5, other"); or NULL. */
    const char *image_prompt, *keep, *adapters;
    const char *image_to; /* the name of the picture at the other end of `between`; or NULL */
} limn_settings;
/* The text that `limn generate` writes into a picture's file under the keyword "parameters": the prompt, and the
 * settings that draw it again, in AUTOMATIC1111's form.  A new string (limn_free).  settings may be NULL. */
LIMN_API char *limn_settings_text(const limn_model *m, const limn_generate_options *o, const limn_settings *settings,
                                  limn_error *e);

/* Generation as an object: it draws pictures of different requests together, so that they share each reading of the
 * weights.  A finished picture makes room for one that waits (continuous batching).  Each picture is bit for bit the
 * same as if it were drawn alone.
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
    /* How many sequences are drawn at once, up to 32: a picture is one, or two with guidance.  0: as many as wait when
     * the first picture begins; memory is freed when all of these are finished.  Else there is always room for so many,
     * also for requests that come later, while any picture is at work.  If memory is short, there are fewer. */
    int rows;
    bool kv_cache_f16; /* keep the keys and values of attention as F16: half the memory, and slightly other logits */
    bool decoder;      /* keep room for limn_decode while pictures are at work */
    /* How many codes of a picture are drafted and checked in one pass over the weights, at most (up to 32, and where
     * several sequences are drawn at once 32 together).  The codes are the same: a draft counts if it is what would
     * have been chosen.  1: none is drafted; 0: what is best on the device, as limn_tune found; without that, 1. */
    int draft;
} limn_generation_options;

/* What to draw.  Zero-initialised settings are the model's own defaults.  The library copies all of it. */
typedef struct limn_request {
    size_t size;             /* sizeof(limn_request), or 0 for the fields of version 0.2 */
    const char *prompt;      /* or NULL, and then: */
    const int32_t *text_ids; /* the model's own ids, without padding */
    size_t n_text_ids;
    const char *negative; /* as in limn_generate_options */
    uint64_t seed;
    int first, count;    /* pictures first to first + count - 1 of the seed, from 0; count 0 means 1 */
    float temperature;   /* 0: the model's own */
    bool greedy;         /* the most likely code each time, whatever the temperature */
    int top_k;           /* 0: the model's own; -1: all */
    float top_p;         /* 0: the model's own; 1: all */
    float guidance;      /* 0: the model's own; 1: none */
    const uint8_t *keep; /* as in limn_generate_options */
    const int32_t *kept_codes;
    int steps; /* these as in limn_generate_options */
    float strength;
    const char *sampler, *spacing;
    const float *noise;
    int n_noise;
    const uint8_t *image, *paint;
    int image_width, image_height;
    const uint8_t *image_to;
    int image_to_width, image_to_height;
    const char *prompt_to;
    int between, prior_steps, super_steps;
    float prior_guidance;
} limn_request;

/* options may be NULL. */
LIMN_API limn_generation *limn_generation_open(limn_model *m, const limn_generation_options *options, limn_error *e);
/* Pictures that weren't taken are lost. */
LIMN_API void limn_generation_free(limn_generation **g);
/* Adds a request, whose pictures wait behind those of earlier ones.  *id, from 1 on, names it; id may be NULL.
 * LIMN_USAGE if it can't be drawn. */
LIMN_API bool limn_generation_add(limn_generation *g, const limn_request *q, uint64_t *id, limn_error *e);
/* Begins waiting pictures as far as there is room, and gives all pictures at work up to a line of codes more; it
 * returns as soon as some are finished.  *left (may be NULL): pictures that aren't finished.  After a failure the
 * pictures at work wait again, and the next step begins them anew. */
LIMN_API bool limn_generation_step(limn_generation *g, int *left, limn_error *e);
/* Counts of the pictures that weren't taken; one that can't be taken yet, as others come before it, is working. */
typedef struct limn_generation_status {
    int waiting, working, finished;
    int64_t codes;       /* known so far, of pictures at work and finished */
    double codes_a_pass; /* of a picture, on average, of all that this generation drew: more than 1 with drafts alone */
} limn_generation_status;
/* The counts now; valid until the next call. */
LIMN_API const limn_generation_status *limn_generation_get_status(limn_generation *g);
/* Takes the next picture, if it is finished, in the order in which they were asked for: its request, its number among
 * the seed's pictures, and its codes, int32 [grid_height
 * * grid_width].  False if it isn't.  id and number may be NULL. */
LIMN_API bool limn_generation_take(limn_generation *g, uint64_t *id, int *number, int32_t *codes);
/* The codes so far of a picture that wasn't taken: known ones, kept ones, and -1 for cells to come; or NULL, and then
 * nothing is read from the device.  *done (may be NULL): how many are known. */
LIMN_API bool limn_generation_peek(limn_generation *g, uint64_t id, int number, int32_t *codes, int *done,
                                   limn_error *e);
/* Drops the pictures of a request that weren't taken.  LIMN_USAGE if there are none. */
LIMN_API bool limn_generation_cancel(limn_generation *g, uint64_t id, limn_error *e);

typedef struct limn_score {
    double image_log_likelihood; /* log p(z|y), nats, summed over the image codes */
    double text_log_likelihood;  /* log p(y), nats, summed over the text positions after the first, padding excluded */
    int image_tokens, text_tokens; /* the number of summands of each */
} limn_score;
/* text_ids without padding; codes int32 [grid]; logits: float [grid, K] that predict each image code, or NULL.  Models
 * that fill all cells at once read -1 as a masked cell; the likelihood is that of the other codes, which they see. */
LIMN_API bool limn_score_codes(limn_model *m, const int32_t *text_ids, size_t n_text_ids, const int32_t *codes,
                               float *logits, limn_score *result, limn_error *e);

/* The logits from which the code of cell n_codes, 0 to grid - 1, is drawn, before temperature, top_k and the like:
 * those of the text and codes[n_codes], the codes of the cells before it.  logits: float [K]. */
LIMN_API bool limn_next_logits(limn_model *m, const int32_t *text_ids, size_t n_text_ids, const int32_t *codes,
                               int n_codes, float *logits, limn_error *e);

/* Embeddings by the model's CLIP, of texts or of pictures: float [n, clip_dim], rows of length 1 in one space, so that
 * the product of two rows is the cosine of the angle between them.  A long text loses its end; of a picture, which may
 * have any size, the CLIP sees the centred square.  control may be NULL. */
LIMN_API bool limn_embed_texts(limn_model *m, const char *const *texts, int n, float *embeddings,
                               const limn_control *control, limn_error *e);
LIMN_API bool limn_embed_pixels(limn_model *m, limn_pixel_type type, const void *pixels, int n, int width, int height,
                                float *embeddings, const limn_control *control, limn_error *e);

/* How well pictures go with a text, by the model's CLIP (Radford et al. 2021): scores[i], from -1 to 1, is the cosine
 * of the two embeddings.  Scores of one text rank pictures; scores of different texts, or CLIPs, can't be compared.
 * rgb: u8 [n, height, width, 3], of any size: the CLIP sees the centred square.  A text that is too long is cut. */
LIMN_API bool limn_rank(limn_model *m, const char *text, const uint8_t *rgb, int n, int width, int height,
                        float *scores, limn_error *e);
/* The same with pixels of either type, and a control that may be NULL. */
LIMN_API bool limn_rank_pixels(limn_model *m, const char *text, limn_pixel_type type, const void *pixels, int n,
                               int width, int height, float *scores, const limn_control *control, limn_error *e);

/* ---- files and models of other programs ----------------------------------------------------------------------- */

/* What a file holds: a model of limn's, or what limn_convert may make one of (a safetensors or PyTorch file, an index
 * of shards, a folder).  Tensors' values aren't read, and no device is needed.  Any thread may use any inspection. */
typedef struct limn_inspection limn_inspection;
/* path NULL: the model that is built into the library. */
LIMN_API limn_inspection *limn_inspection_open(const char *path, limn_error *e);
LIMN_API void limn_inspection_free(limn_inspection **i);

/* Texts, here and below, live as long as the inspection. */
typedef struct limn_inspection_info {
    const char *format; /* "gguf", "safetensors", "pytorch" or "folder" */
    bool shards;        /* an index, with the tensors of all the files that it names */
    const char *family; /* by which limn_convert knows it; NULL: it is GGUF, or of none */
    const char *note;   /* why limn_convert wouldn't make a model of it; NULL: it would, or it is of no family */
    size_t keys, tensors;
} limn_inspection_info;
LIMN_API const limn_inspection_info *limn_inspection_get_info(const limn_inspection *i);

typedef enum limn_value_kind {
    LIMN_VALUE_NONE,
    LIMN_VALUE_BOOL,
    LIMN_VALUE_INTEGER,
    LIMN_VALUE_NUMBER,
    LIMN_VALUE_TEXT,
    LIMN_VALUE_OTHER /* a list, or what else there may be */
} limn_value_kind;
/* A key of a GGUF file, a text of a safetensors file's metadata, or what a PyTorch file has beside tensors, by its
 * path: "hparams.dim". */
typedef struct limn_key {
    const char *name, *type; /* type: "u32", "str", "arr[str]", as the format calls it */
    const char *text;        /* the value; long lists are cut */
    limn_value_kind kind;
    bool truth; /* the value, by its kind */
    int64_t integer;
    double number;
} limn_key;
/* In the file's order, n from 0; NULL behind the last. */
LIMN_API const limn_key *limn_inspection_key(const limn_inspection *i, size_t n);

typedef struct limn_tensor {
    const char *name, *type; /* "f32", "f16", "q8_0", … */
    int dims;
    int64_t shape[8]; /* the outermost dimension first */
    uint64_t bytes;
} limn_tensor;
LIMN_API const limn_tensor *limn_inspection_tensor(const limn_inspection *i, size_t n);

/* Zero-initialised: the defaults.  size: sizeof of the struct, or 0 for the fields of version 0.2. */
typedef struct limn_convert_options {
    size_t size;
    const char *const *inputs; /* [n_inputs] paths: files that are one model together, an index of shards, a folder */
    size_t n_inputs;
    const char *output;          /* path of the GGUF file; what is there is replaced once the new one is whole */
    const char *type;            /* of the weights: "f32", "f16", "q8_0" or "q4_0"; NULL: the one they have */
    const char *family;          /* as limn_inspection_info has it; NULL: told by the tensors */
    const char *tokenizer;       /* path of a tokenizer's file or folder; NULL: beside the inputs, where there is one */
    const char *const *settings; /* [n_settings] "NAME=VALUE", those of `limn convert --set` */
    size_t n_settings;
} limn_convert_options;
/* Makes a model of limn's from files of other programs, or of its own with another type of weights.  What was chosen or
 * left out is logged.  No device is needed, and any thread may do it.  control may be NULL; what is done is counted in
 * bytes of the inputs, and a conversion that is stopped leaves the output as it was. */
LIMN_API bool limn_convert(const limn_convert_options *o, const limn_control *control, limn_error *e);

/* ---- tuning --------------------------------------------------------------------------------------------------- */

/* Tries what may be faster on a device than what it takes by itself, and keeps what is in the cache directory: devices
 * that are opened later work so.  What is tried is logged.  seconds: no trial begins later; 0: until all are done,
 * which takes minutes, and on some GPUs an hour.  control may be NULL; it is asked between trials, and what is done is
 * counted in steps; what was found until it stops remains.  While another search is at work on this machine, this one
 * waits, as two would measure each other; the control is asked then too.  Where a device uses the kernels for CPUs, no
 * result changes by a bit; on GPUs sums may be rounded otherwise.
 *
 * The trials run in this process, each on the same device opened once more, since the library starts no processes.  A
 * driver that hangs or crashes with some kernels hangs or crashes the caller; `limn tune` runs each trial in a process
 * of its own, with a limit of time, and what it keeps is the same. */
LIMN_API bool limn_tune(limn_device *d, double seconds, const limn_control *control, limn_error *e);

#ifdef __cplusplus
}
#endif

#include "train.h"
#endif
