/* What the commands that run a model share: the device and the model, pictures and arrays. */
#ifndef CLI_COMMON_H
#define CLI_COMMON_H
#include "cli/files.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "io/image.h"
#include "io/npy.h"

/* Pictures that go to the device in one call: bounds the memory and the time until Ctrl-C is seen. */
enum { BATCH = 8 };

/* A device and the model that a command has opened on it. */
typedef struct opened_model {
    limn_device *device;
    limn_model *model;
    const limn_model_info *info;
    int cells; /* codes of a picture */
} opened_model;

/* The device by --device or LIMN_DEVICE, with --mem-limit, --no-cache and --profile.  Says what it took where the
 * choice was limn's. */
limn_device *command_device(const options *o, err *e);
/* That SPEC, and the same with another one. */
const char *command_device_spec(const options *o);
limn_device *command_device_at(const options *o, const char *spec, err *e);
/* The device and the model of --model, which must have what is asked for; catches interrupts from here on. */
bool command_open(opened_model *s, const options *o, bool codec, bool transformer, err *e);
/* --size WxH, if it is given. */
bool command_size(const options *o, int *width, int *height, err *e);
/* What --lora and --embedding name, as options of a model; released by command_adapt_release, also after a failure. */
bool command_adapt(const options *o, limn_model_options *m, err *e);
void command_adapt_release(limn_model_options *m);
/* *all = what --lora says, for those who look at the picture: a new string, or NULL. */
bool command_adapters(const options *o, char **all, err *e);
/* Opens the model anew for pictures of that size, if it can draw them, and they aren't what it draws. */
bool command_resize(opened_model *s, const options *o, int width, int height, err *e);
/* Prints the table and writes the trace of --profile; does nothing without it, or where this is not rank 0. */
bool command_profile(const opened_model *s, const options *o, err *e);
void command_close(opened_model *s);

/* calloc that reports what it was for. */
void *array_new(size_t n, size_t size, const char *what, err *e);

/* A picture file, fitted to the model's size. */
bool picture_read(image *im, const char *path, const opened_model *s, err *e);
/* codes[n,cells] of pictures of the model's size; logits[n,K,h,w] or NULL. */
bool pictures_encode(const opened_model *s, const image *ims, int n, int32_t *codes, float *logits, err *e);
/* ims[n] = the decoded codes[n,cells]; or pixels[n,3,H,W] in 0..1 as they are.  One of them is NULL. */
bool pictures_decode(const opened_model *s, const int32_t *codes, int n, image *ims, float *pixels, err *e);
void pictures_free(image *ims, int n);

/* codes of the shapes [n,h*w], [h*w], [n,h,w] or [h,w]; *n rows.  masked: -1 is one too. */
bool codes_read(npy *a, int *n, const char *path, const opened_model *s, bool masked, err *e);
/* Token ids [n,T] or [T]. */
bool text_ids_read(npy *a, int *n, const char *path, err *e);
#endif
