/* Chooses a device by the user's words. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "device/device.h"

static bool contains(const char *text, const char *part)
{
    size_t n = strlen(part);
    for (; *text; text++)
        if (strncasecmp(text, part, n) == 0)
            return true;
    return false;
}

/* Whether the whole of s is "N" or "P.D". */
static bool numbers(const char *s, int *a, int *b)
{
    int used = 0;
    *b = -1;
    if (isdigit((unsigned char)*s) && sscanf(s, "%9d%n", a, &used) == 1 && s[used] == 0)
        return true;
    return isdigit((unsigned char)*s) && sscanf(s, "%9d.%9d%n", a, b, &used) == 2 && s[used] == 0;
}

/* One condition of n devices: a number, a type, or part of the device's or its platform's name.  A number that is no
 * device's is part of a name too: "1060". */
static bool matches(const limn_device_info *d, size_t n, const char *word)
{
    int a, b;
    if (numbers(word, &a, &b) && (b >= 0 || (size_t)a < n))
        return b < 0 ? d->index == a : d->platform == a && d->device == b;
    bool gpu = d->type == LIMN_INTEGRATED_GPU || d->type == LIMN_DISCRETE_GPU;
    if (!strcasecmp(word, "gpu"))
        return gpu;
    for (int t = LIMN_CPU; t <= LIMN_ACCELERATOR; t++)
        if (!strcasecmp(word, device_type_name((limn_device_type)t)))
            return d->type == (limn_device_type)t;
    return contains(d->name, word) || contains(d->platform_name, word) || contains(d->vendor, word);
}

static bool matches_all(const limn_device_info *d, size_t count, const char *spec)
{
    char words[256];
    snprintf(words, sizeof words, "%s", spec);
    for (char *save = NULL, *w = strtok_r(words, "&", &save); w; w = strtok_r(NULL, "&", &save)) {
        w += strspn(w, " ");
        for (size_t n = strlen(w); n && w[n - 1] == ' ';)
            w[--n] = 0;
        if (*w && !matches(d, count, w))
            return false;
    }
    return true;
}

/* Higher is preferred by auto: discrete, integrated, accelerator, CPU. */
static int rank(const limn_device_info *d)
{
    static const int by_type[] = {
        [LIMN_DISCRETE_GPU] = 3, [LIMN_INTEGRATED_GPU] = 2, [LIMN_ACCELERATOR] = 1, [LIMN_CPU] = 0};
    return by_type[d->type];
}

/* Returns the number of devices of its type. */
static size_t choose_best(const device_entry *list, size_t n, size_t *chosen, char reason[160])
{
    size_t best = 0, peers = 0;
    for (size_t i = 1; i < n; i++) {
        const limn_device_info *a = &list[best].info, *b = &list[i].info;
        if (rank(b) > rank(a) || (rank(b) == rank(a) && b->gflops > a->gflops))
            best = i;
    }
    for (size_t i = 0; i < n; i++)
        peers += rank(&list[i].info) == rank(&list[best].info);
    const limn_device_info *d = &list[best].info;
    static const char *const kinds[] = {"CPU", "integrated GPU", "discrete GPU", "accelerator"};
    if (n == 1)
        snprintf(reason, 160, "the only device");
    else if (peers == 1)
        snprintf(reason, 160, "the only %s of %zu devices", kinds[d->type], n);
    else
        snprintf(reason, 160, "the %s of %zu %ss", d->gflops > 0 ? "fastest measured" : "first", peers, kinds[d->type]);
    *chosen = best;
    return peers;
}

/* "  1  0.1  cpu  NAME (PLATFORM)" for each entry that counts. */
static void list_candidates(const device_entry *list, size_t n, const char *spec, char *out, size_t size)
{
    size_t used = 0;
    *out = 0;
    for (size_t i = 0; i < n && used + 1 < size; i++) {
        const limn_device_info *d = &list[i].info;
        if (spec && !matches_all(d, n, spec))
            continue;
        used += (size_t)snprintf(out + used, size - used, "\n  %d  %d.%d  %-5s  %s (%s)", d->index, d->platform,
                                 d->device, device_type_name(d->type), d->name, d->platform_name);
    }
}

/* The one of the `found` whose turn it is. */
static void take_turn(const device_entry *list, size_t n, const char *spec, size_t found, int turn, int turns,
                      size_t *chosen, char reason[160])
{
    size_t left = (size_t)turn % found, best = *chosen;
    for (size_t i = 0; i < n; i++)
        if (spec ? matches_all(&list[i].info, n, spec) : rank(&list[i].info) == rank(&list[best].info)) {
            *chosen = i;
            if (left-- == 0)
                break;
        }
    snprintf(reason, 160, "number %zu of %zu, which %d processes %s", (size_t)turn % found + 1, found, turns,
             (size_t)turns > found ? "share" : "take in turn");
}

bool device_select(const device_entry *list, size_t n, const char *spec, int turn, int turns, size_t *chosen,
                   char reason[160], err *e)
{
    if (!spec || !*spec || !strcasecmp(spec, "auto")) {
        size_t peers = choose_best(list, n, chosen, reason);
        if (turns > 1)
            take_turn(list, n, NULL, peers, turn, turns, chosen, reason);
        return true;
    }
    if (strlen(spec) > 200)
        return err_set(e, ERR_USAGE, "--device: a name of more than 200 characters (use a number: limn devices)");
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        if (matches_all(&list[i].info, n, spec)) {
            *chosen = i;
            found++;
        }
    if (found && turns > 1) {
        take_turn(list, n, spec, found, turn, turns, chosen, reason);
        return true;
    }
    if (found == 1) {
        snprintf(reason, 160, "chosen by \"%.100s\"", spec);
        return true;
    }
    char candidates[1500];
    list_candidates(list, n, found ? spec : NULL, candidates, sizeof candidates);
    if (found)
        return err_set(e, ERR_USAGE,
                       "--device %s: %zu devices match (say it by number, or add & and more of the name):%s", spec,
                       found, candidates);
    return err_set(e, ERR_DEVICE, "--device %s: no such device (the devices are:%s)", spec, candidates);
}
