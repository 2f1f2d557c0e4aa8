/* Work in processes of its own: what is told comes, however the work ends; and what a report says of a person. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/child.h"
#include "cli/redact.h"
#include "cli/terminal.h"

/* What a child does after it has told one value. */
typedef enum end { END_WELL, END_FAILED, END_EXIT, END_ABORT, END_HANG } end;

static bool does(child *c, void *context, err *e)
{
    const end *how = context;
    child_tell(c, json_pack("{s:i}", "value", 7));
    printf("something\nlast words\n");
    fflush(stdout);
    switch (*how) {
    case END_FAILED:
        return err_set(e, ERR_DEVICE, "there is no device");
    case END_EXIT:
        _exit(5);
    case END_ABORT:
        abort();
    case END_HANG:
        for (;;)
            sleep(1);
    default:
        return true;
    }
}

static void hear(void *context, const json_t *value)
{
    int *sum = context;
    *sum += (int)json_integer_value(json_object_get(value, "value"));
}

static void what_is_told_comes_however_it_ends(void **state)
{
    static const struct {
        end how;
        err_code code;
        const char *why;
    } cases[] = {{END_WELL, ERR_NONE, ""},
                 {END_FAILED, ERR_DEVICE, "there is no device"},
                 {END_EXIT, ERR_FAILED, "exit status 5: last words"},
                 {END_ABORT, ERR_FAILED, "SIGABRT"},
                 {END_HANG, ERR_FAILED, "hung"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char said[CHILD_SAID];
        int sum = 0;
        err e = {0};
        end how = cases[i].how;
        assert_int_equal(child_run(does, &how, 0.5, hear, &sum, said, &e), cases[i].code == ERR_NONE);
        assert_int_equal(sum, 7);
        assert_int_equal(e.code, cases[i].code);
        assert_non_null(strstr(e.text, cases[i].why));
        assert_string_equal(said, "something\nlast words");
    }
}

/* The first line of more than a buffer, and many values at once. */
static bool tells_much(child *c, void *context, err *e)
{
    static char text[100000];
    (void)context;
    (void)e;
    memset(text, 'x', sizeof text - 1);
    child_tell(c, json_pack("{s:i, s:s}", "value", 1, "text", text));
    for (int i = 0; i < 1000; i++)
        child_tell(c, json_pack("{s:i}", "value", 1));
    return true;
}

static void much_may_be_told(void **state)
{
    char said[CHILD_SAID];
    int sum = 0;
    err e = {0};
    (void)state;
    assert_true(child_run(tells_much, NULL, 60, hear, &sum, said, &e));
    assert_int_equal(sum, 1001);
    assert_string_equal(said, "");
}

static void names_are_taken_out_and_words_stay(void **state)
{
    static const struct {
        const char *from, *to;
    } cases[] = {{"/home/wanda/.cache/limn", "~/.cache/limn"},
                 {"sudo usermod -aG render wanda", "sudo usermod -aG render $USER"},
                 {"/scratch/wanda_data:/home/wandas", "/scratch/$USER_data:/home/wandas"},
                 {"wanda's laptop is wandabox.example.", "$USER's laptop is HOSTNAME.example."},
                 {"wandawanda", "wandawanda"},
                 {"", ""}};
    (void)state;
    setenv("HOME", "/home/wanda/", 1);
    setenv("USER", "wanda", 1);
    setenv("HOSTNAME", "wandabox", 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *j = json_pack("{s:[s, i, {s:s}]}", "wanda", cases[i].from, 3, "of", cases[i].from);
        redact(j);
        const json_t *list = json_object_get(j, "wanda");
        assert_string_equal(json_string_value(json_array_get(list, 0)), cases[i].to);
        assert_string_equal(json_string_value(json_object_get(json_array_get(list, 2), "of")), cases[i].to);
        json_decref(j);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_told_comes_however_it_ends),
        cmocka_unit_test(much_may_be_told),
        cmocka_unit_test(names_are_taken_out_and_words_stay),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("child", tests, NULL, NULL);
}
