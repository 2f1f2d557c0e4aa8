/* Zip archives (PKWARE's APPNOTE, zip64 included), read from memory: what PyTorch's files are. */
#ifndef IO_ZIP_H
#define IO_ZIP_H
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct zip zip;

/* Reads a file image that stays valid and unchanged while the result lives.  The directory and every local header are
 * checked; stored and deflated entries are known.  NULL with e filled ("NAME: entry: reason"). */
zip *zip_open(const void *data, size_t size, const char *name, err *e);
void zip_free(zip *z);
size_t zip_count(const zip *z);
/* The name of entry i, in the order of names. */
const char *zip_name(const zip *z, size_t i);
/* The entry of that name; false where there is none. */
bool zip_find(const zip *z, const char *name, size_t *i);
/* The bytes of entry i: in place where they are stored, else inflated once, checked, and owned by z. */
bool zip_data(zip *z, size_t i, const uint8_t **data, size_t *size, err *e);
#endif
