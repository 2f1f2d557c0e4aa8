/* The text of HTML, as BeautifulSoup gives it with Python's html.parser. */
#ifndef TEXT_HTML_H
#define TEXT_HTML_H
#include <stddef.h>
#include <stdint.h>

/* In place: c[n] without tags, comments, scripts and styles, entities as what they stand for.  Returns how many
 * characters are left. */
size_t html_text(int32_t *c, size_t n);
#endif
