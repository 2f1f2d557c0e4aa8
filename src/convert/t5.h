/* Importing T5's encoder (models/transformers/t5.h) for families whose models read texts with it: tensors behind "t5.",
 * as the table of networks names them, in a folder of HuggingFace's transformers. */
#ifndef CONVERT_T5_H
#define CONVERT_T5_H
#include "convert/mapping.h"
#include "models/transformers/t5.h"

/* The rows of a map from "transformer.encoder." and "t5.", whose value {table} is import_t5_table's. */
extern const import_row import_t5_rows[];
extern const size_t import_t5_n_rows;

bool import_has_t5(const source *s);
/* The folder of its files; "shared.weight" or what has its place. */
void import_t5_folder(const import *im, char folder[4200]);
const char *import_t5_table(const import *im);
/* Its sizes, and the tensors of its rows that the source lacks. */
bool import_t5(import *im, t5 *t, err *e);
#endif
