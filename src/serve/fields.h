/* Fields of a request, of a JSON object or of a form. */
#ifndef SERVE_FIELDS_H
#define SERVE_FIELDS_H
#include <jansson.h>

#include "serve/server.h"

typedef struct fields {
    exchange *x;
    json_t *root; /* NULL: a form */
} fields;

/* False with *a filled if the body is neither. */
bool fields_read(fields *p, exchange *x, api_error *a);
/* Of a body that is JSON. */
bool fields_parse(fields *p, const char *body, size_t size, api_error *a);
void fields_release(fields *p);

/* Each leaves *value as it is where the field isn't there, or null, and fails if it is of another kind or outside. */
bool fields_text(const fields *p, const char *name, const char **value, api_error *a);
bool fields_number(const fields *p, const char *name, double min, double max, float *value, api_error *a);
bool fields_integer(const fields *p, const char *name, long long min, long long max, int *value, api_error *a);
bool fields_seed(const fields *p, const char *name, uint64_t *value, bool *given, api_error *a);
bool fields_bool(const fields *p, const char *name, bool *value, api_error *a);
/* The value is one of the words, of which the last is NULL: its number. */
bool fields_word(const fields *p, const char *name, const char *const *words, int *value, api_error *a);
bool fields_has(const fields *p, const char *name); /* and it isn't null, or empty in a form */
/* A picture: a file of a form, also as NAME[]; in JSON base64, or a data URL, or a list or an object with one.  *file
 * gets a copy of it, and stays empty where the field isn't there.  What is no PNG, JPEG or WebP, or has too many
 * pixels, fails. */
bool fields_picture(const fields *p, const char *name, text_buffer *file, api_error *a);
/* What stays of an image prompt: as fields_picture, or the command line's texts, such as top:0.5, of which *region gets
 * a copy. */
bool fields_keep(const fields *p, const char *name, text_buffer *file, char **region, api_error *a);
#endif
