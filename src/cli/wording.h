/* The library's words in those of the command line. */
#ifndef CLI_WORDING_H
#define CLI_WORDING_H

/* The library names its settings `memory_limit`, in backticks: here they are options, --mem-limit.  A new text for
 * free(); NULL where there is no memory, or nothing to change. */
char *worded(const char *text);
#endif
