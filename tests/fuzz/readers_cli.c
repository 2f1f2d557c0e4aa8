/* What is given on the command line. */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/keep.h"
#include "cli/prompts.h"
#include "readers.h"

void read_keep(const uint8_t *data, size_t size)
{
    size_t n;
    char *text = fuzz_part(&data, &size, &n);
    limn_model_info info = {.width = 64, .height = 48, .grid_width = 8, .grid_height = 6};
    opened_model s = {.info = &info, .cells = 48};
    uint8_t cells[48];
    err e = {0};
    keep k;
    bool ok = keep_parse(&k, text, &e);
    CHECK(ok == (e.code == 0));
    if (ok && k.kind != KEEP_MASK && keep_cells(cells, &k, NULL, &s, &e))
        for (int i = 0; i < 48; i++)
            CHECK(cells[i] <= 1);
    free(text);
}

void read_options(const uint8_t *data, size_t size)
{
    enum { MOST = 32 };
    size_t n;
    char *text = fuzz_part(&data, &size, &n), *argv[MOST + 1] = {(char *)"limn"};
    int argc = 1, words;
    for (char *line = strtok(text, "\n"); line && argc < MOST; line = strtok(NULL, "\n"))
        argv[argc++] = line;
    err e = {0};
    options o = {0};
    static const command none = {.name = "COMMAND"};
    int word = options_find_command(argc, argv);
    const command *c = word ? command_find((const char *const *)argv + word, argc - word, true, &words, &e) : &none;
    CHECK(!c == (e.code != 0));
    if (c) {
        bool ok = options_parse(&o, c, argc, argv, word ? word : -1, &e);
        CHECK(ok == (e.code == 0));
    }
    options_release(&o);
    free(text);
}

void read_prompts(const uint8_t *data, size_t size)
{
    prompts p = {0};
    err e = {0};
    bool ok = prompts_read(&p, fuzz_file(data, size), &e);
    CHECK(ok == (e.code == 0) && (!ok || p.n > 0));
    for (int i = 0; ok && i < p.n; i++)
        CHECK(*p.texts[i] && !strchr(p.texts[i], '\n'));
    prompts_release(&p);
}
