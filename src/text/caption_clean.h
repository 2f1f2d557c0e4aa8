/* Captions as T5 reads them in models of pictures: cleaned like those of DeepFloyd's IF, as PixArt and LlamaGen took it
 * over (clean_caption, done twice). */
#ifndef TEXT_CAPTION_CLEAN_H
#define TEXT_CAPTION_CLEAN_H
#include "base/err.h"

/* A new string: the text in lower case, without addresses, HTML, names behind @, long numbers, names of files, Chinese
 * characters and most brackets.  Of a very long text the beginning alone.  Invalid UTF-8 is an error that gives the
 * position. */
char *caption_clean(const char *text, err *e);
#endif
