/* JSON files beside a model's weights: config.json and its like. */
#ifndef CONVERT_CONFIG_JSON_H
#define CONVERT_CONFIG_JSON_H
#include <jansson.h>

#include "convert/convert.h"

/* The whole number (0 where it is below 0, or too large for an int), or the number, of a key; `otherwise` where there
 * is none. */
int import_json_int(const json_t *root, const char *key, int otherwise);
double import_json_number(const json_t *root, const char *key, double otherwise);
/* The file in a folder; *root is NULL where there is none.  A damaged one is an error. */
bool import_json_in(const char *folder, const char *name, json_t **root, err *e);
/* The file beside the first one; *root is NULL where there is none.  A damaged one is an error. */
bool import_json_beside(const import *im, const char *name, json_t **root, err *e);
#endif
