/* Where the parameters of a new model come from: "theirs -> ours, with what change", as tables.
 *
 *     static const import_row rows[] = {
 *         {"block.{i}.qkv.*", {"layers.{i}.attn.q.*", "layers.{i}.attn.k.*", "layers.{i}.attn.v.*"}},
 *         {"up.{i}.block.{j}.*", {"stages.{count-1-i}.res.{j}.*"}},
 *         {"image_head.weight", {"head.weight"}, .first = "vocabulary"},
 *         {"*", {"*"}},
 *         {NULL, {"layers.{i}.attn.mask"}},
 *     };
 *     const import_map maps[] = {{"transformer.", "model.", IMPORT_ROWS(rows), {{"count", .number = 4}}}, {0}};
 *
 * Ours is the pattern of a parameter's name: {i}, {j} and {k} stand for a whole number, and one * for any text.  Theirs
 * is the name of a tensor: * is the text that was found, and braces hold the numbers that were found, or values that
 * the family has read from the files: sums and products of numbers ("{1+n*i+j}"), or a text, in which braces mean the
 * same again.  Both names are without the prefixes of the map.  A parameter's row is the first that fits, in the first
 * map that has one; so a model with two layouts has two tables, and a network that stands in a model twice has one
 * table in two maps.
 *
 * Convolutions are turned by themselves: PyTorch's are [out, in, height, width], ours [out, height, width, in]. */
#ifndef CONVERT_MAPPING_H
#define CONVERT_MAPPING_H
#include "convert/convert.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers" /* rows end where they have no more to say */

enum { IMPORT_SOURCES = 4, IMPORT_VALUES = 8, IMPORT_NAME = 192 };

/* What changes on the way, as bits. */
enum {
    IMPORT_TRANSPOSED = 1, /* their first dimension is our last one; of a convolution "out" and "in" change places */
    IMPORT_SHAPED = 2,     /* as many numbers in the same order, whatever their dimensions are */
    IMPORT_UNIT = 4,       /* each row becomes as long as 1 */
    IMPORT_OR_ONES = 8,    /* a norm that has no weight there multiplies by 1 */
    IMPORT_SAY = 16,       /* of a row without `ours`: the user is told, since it isn't known that it can be left out */
};

typedef struct import_row {
    const char *ours;                   /* NULL: tensors whose names begin so are left out, on purpose */
    const char *theirs[IMPORT_SOURCES]; /* the rows of several follow each other */
    unsigned change;
    const char *first; /* ours are their rows from this one on, a sum as above; there may be more of them */
    const char *plus;  /* a tensor that is added to each row */
    const char *times; /* a tensor with a number for each of our first dimension, by which what belongs to it is
                          multiplied; implies IMPORT_SHAPED */
} import_row;

#define IMPORT_ROWS(rows) (rows), sizeof(rows) / sizeof *(rows)

/* What a name in braces means: a text, or a number. */
typedef struct import_value {
    const char *name, *text;
    int number;
} import_value;

/* Lists of these end with one that has no rows. */
typedef struct import_map {
    const char *ours, *theirs; /* prefixes */
    const import_row *rows;
    size_t n;
    import_value values[IMPORT_VALUES];
} import_map;

/* Plans every parameter of the table, and leaves out what the maps say. */
void import_tensors(import *im, const import_map *maps, const param_table *params);

/* For reading sizes, under our names: their name ("" where no row fits); the size of its dimension d, an error in im
 * (and 0) where there is no such tensor; whether there is one. */
void import_their_name(const import_map *maps, const char *ours, char out[IMPORT_NAME]);
int import_mapped_size(import *im, const import_map *maps, int d, const char *ours, ...)
    __attribute__((format(printf, 4, 5)));
bool import_mapped_has(const import *im, const import_map *maps, const char *ours, ...)
    __attribute__((format(printf, 3, 4)));
/* How many there are where {i} in the name is 0, 1, …: no more than `most` + 1, which the model's check refuses. */
int import_mapped_count(const import *im, const import_map *maps, const char *ours, int most);
#endif
