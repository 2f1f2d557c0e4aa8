/* The page at /, which draws in a browser. */
#ifndef SERVE_PAGE_H
#define SERVE_PAGE_H
#include "serve/server.h"

typedef struct page_file {
    const char *name, *file; /* "page", "page.html" */
    const char *text;        /* NUL-terminated; bytes excludes the NUL */
    size_t bytes;
} page_file;

extern const page_file page_files[]; /* page.html, page.css, page.js */

void page_get(server *s, exchange *x);
#endif
