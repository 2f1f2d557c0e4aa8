/* Checks that test programs share. */
#ifndef TESTS_CHECKS_H
#define TESTS_CHECKS_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define TEST(name)   cmocka_unit_test(name)

/* Fails with the error's text. */
void good(bool ok, const err *e);
/* Fails if the part isn't in the text. */
void has(const char *text, const char *part);
/* log softmax(logits[n])[target]. */
double log_probability(const float *logits, int n, int target);
/* Fails unless `what` was refused: it wasn't done, the part is in its error, and there is no file `output` (or NULL).
 */
void refused_with(bool done, const err *e, const char *part, const char *what, const char *output);
#endif
