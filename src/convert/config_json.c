/* Reading the JSON files beside a model's weights. */
#include "convert/config_json.h"

#include <stdio.h>
#include <unistd.h>

#include "io/json_file.h"

int import_json_int(const json_t *root, const char *key, int otherwise)
{
    const json_t *v = json_object_get(root, key);
    json_int_t i = json_integer_value(v);
    return !json_is_integer(v) ? otherwise : i >= 0 && i < INT32_MAX ? (int)i : 0;
}

double import_json_number(const json_t *root, const char *key, double otherwise)
{
    const json_t *v = json_object_get(root, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

bool import_json_in(const char *folder, const char *name, json_t **root, err *e)
{
    char path[4200];
    *root = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (access(path, F_OK) != 0)
        return true;
    *root = json_file_load(path, 0, NULL, e);
    return *root;
}

bool import_json_beside(const import *im, const char *name, json_t **root, err *e)
{
    return import_json_in(im->from->directory, name, root, e);
}
